import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import pytest

from recsys_ssl import artifacts


@dataclass(frozen=True)
class Part:
    name: str
    share: float = 0.5
    sizes: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.share <= 1:
            raise ValueError(f"share must be at most 1. Received: {self.share}.")


@dataclass(frozen=True)
class Whole:
    part: Part
    recall: dict[int, float] = field(default_factory=dict)
    note: Optional[str] = None


WHOLE = Whole(Part("ö", 1e-05, (1, 2)), {10: 0.25}, None)


class TestJson:
    def test_a_dataclass_is_written_for_people(self):
        assert artifacts.to_json(WHOLE) == (
            '{\n  "part": {\n    "name": "ö",\n    "share": 1e-05,\n    "sizes": [\n      1,\n      2\n    ]\n  },\n'
            '  "recall": {\n    "10": 0.25\n  },\n  "note": null\n}\n'
        )

    def test_it_comes_back(self):
        assert artifacts.from_json(Whole, artifacts.to_json(WHOLE)) == WHOLE

    def test_lists_and_dicts_of_dataclasses(self):
        parts = (Part("a"), Part("b", 1.0))
        assert artifacts.from_json(tuple[Part, ...], artifacts.to_json(list(parts))) == parts
        assert json.loads(artifacts.to_json({"part": parts[0], "n": 1})) == {
            "part": {"name": "a", "share": 0.5, "sizes": []},
            "n": 1,
        }

    def test_a_number_that_json_has_no_form_for_is_text_and_comes_back(self):
        whole = dataclasses.replace(WHOLE, recall={10: math.inf, 50: -math.inf, 5: math.nan})

        def refuse(name):
            raise ValueError(name)

        text = artifacts.to_json({"a": [whole, (1.5, math.nan)]})
        recall = {"10": "Infinity", "50": "-Infinity", "5": "NaN"}
        read = json.loads(text, parse_constant=refuse)["a"]
        assert (read[0]["recall"], read[1]) == (recall, [1.5, "NaN"])
        assert str(artifacts.from_json(Whole, artifacts.to_json(whole)).recall) == "{10: inf, 50: -inf, 5: nan}"

    def test_what_has_no_json_is_an_error(self):
        with pytest.raises(TypeError):
            artifacts.to_json({"part": object()})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"part": {"name": "a"}, "extra": 1}', "extra"),
            ('{"part": {"name": "a", "extra": 1}}', r"part\.extra"),
            ('{"recall": {}}', "part"),
            ('{"part": {"name": 7}}', r"part\.name"),
            ('{"part": {"name": "a", "share": 2}}', "share must be at most 1"),
            ('{"part"', "JSON"),
            ("", "Field required"),
        ],
        ids=["unknown", "unknown-within", "missing", "type", "own-check", "half", "empty"],
    )
    def test_another_text_is_an_error(self, text, message):
        with pytest.raises(ValueError, match=message):
            artifacts.from_json(Whole, text)


def names(directory):
    return sorted(path.name for path in Path(directory).iterdir())


class TestDamage:
    @pytest.mark.parametrize(
        "error", [ValueError("bad\nmore"), IndexError("bad"), RuntimeError("bad"), EOFError("bad"), OSError("bad")]
    )
    def test_whatever_a_library_raises_names_the_file_in_one_line(self, tmp_path, error):
        with pytest.raises(artifacts.DamagedError) as told, artifacts.reading(tmp_path / "a"):
            raise error
        expected = f"{tmp_path}/a is damaged, or not whole. Received: bad. Delete {tmp_path}/a and run the command that"
        assert str(told.value).startswith(expected)
        assert told.value.__cause__ is error

    @pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device"), ImportError("tf")])
    def test_the_system_s_own_troubles_are_no_damage(self, tmp_path, error):
        with pytest.raises(type(error)), artifacts.reading(tmp_path / "a"):
            raise error

    def test_in_the_artifact_store_the_metadata_go_with_it(self, tmp_path):
        (tmp_path / "tfx" / "Train" / "towers" / "7").mkdir(parents=True)
        (tmp_path / "tfx" / "metadata.db").touch()
        told = pytest.raises(artifacts.DamagedError, match=rf"Delete {tmp_path}/tfx/metadata\.db and run")
        with told, artifacts.reading(tmp_path / "tfx" / "Train" / "towers" / "7"):
            raise ValueError("bad")


def test_names_of_what_is_being_written_can_be_told_and_undone(tmp_path):
    unfinished = artifacts.unfinished_name(tmp_path / "a.b")
    assert artifacts.is_unfinished(unfinished)
    assert artifacts.finished_name(unfinished) == str(tmp_path / "a.b")
    for name in ("a.tmp", "a.0a.tmp", f"a.{'0' * 32}"):
        assert not artifacts.is_unfinished(name)
        assert artifacts.finished_name(name) == name


def test_a_file_that_is_missing_is_the_same_error_on_every_file_system(monkeypatch, tmp_path):
    import tensorflow as tf

    class Missing:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            raise tf.errors.NotFoundError(None, None, f"{self.path} not found")

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(tf.io.gfile, "GFile", Missing)
    for path in (tmp_path / "train_settings.json", "gs://bucket/train_settings.json"):
        with pytest.raises(FileNotFoundError, match="train_settings.json"):
            artifacts.read_text(path)


class TestWholeFile:
    def test_a_file_is_written_and_replaced(self, tmp_path):
        path = tmp_path / "new" / "folder" / "a.txt"
        for text in ("first, ö", "second"):
            artifacts.write_text(path, text)
            assert path.read_bytes() == text.encode()
            assert artifacts.read_text(path) == text
        assert names(path.parent) == ["a.txt"]

    def test_a_name_without_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        artifacts.write_bytes("a.bin", b"\0")
        assert names(tmp_path) == ["a.bin"]

    @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt], ids=["error", "interrupt"])
    @pytest.mark.parametrize("older", [None, "older"], ids=["nothing-before", "older-file"])
    def test_after_an_error_all_is_as_before(self, tmp_path, error, older):
        if older:
            (tmp_path / "a.txt").write_text(older)

        def write_half():
            with artifacts.whole_file(tmp_path / "a.txt") as unfinished:
                Path(unfinished).write_text("half")
                raise error("disk full")

        with pytest.raises(error, match="disk full"):
            write_half()
        assert names(tmp_path) == (["a.txt"] if older else [])
        assert not older or (tmp_path / "a.txt").read_text() == older

    def test_an_error_before_the_first_byte_is_told_as_it_was(self, tmp_path):
        with pytest.raises(ZeroDivisionError), artifacts.whole_file(tmp_path / "a.txt"):
            raise ZeroDivisionError
        assert names(tmp_path) == []

    def test_a_file_is_not_there_before_it_is_whole(self, tmp_path):
        with artifacts.whole_file(tmp_path / "a.parquet") as unfinished:
            Path(unfinished).write_text("half")
            # What readers list by its ending is not there either.
            assert not list(tmp_path.glob("*.parquet"))
        assert names(tmp_path) == ["a.parquet"]

    def test_processes_of_one_id_on_two_hosts_have_names_of_their_own(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "getpid", lambda: 17)
        found = {artifacts.unfinished_name(tmp_path / "a") for _ in range(1000)}
        assert len(found) == 1000
        assert {os.path.dirname(name) for name in found} == {str(tmp_path)}

    def test_of_two_writers_at_once_one_file_is_whole(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "getpid", lambda: 17)
        both_are_half_way = threading.Barrier(2)

        def write(letter):
            with artifacts.whole_file(tmp_path / "a.txt") as unfinished, open(unfinished, "w") as file:
                file.write(letter * 10_000)
                both_are_half_way.wait(timeout=60)
                file.write(letter * 10_000)

        in_threads(write, "ab")
        assert (tmp_path / "a.txt").read_text() in ("a" * 20_000, "b" * 20_000)
        assert names(tmp_path) == ["a.txt"]

    def test_on_a_file_system_of_tensorflow(self):
        import tensorflow as tf

        path = "ram://artifacts/folder/a.txt"
        for text in ("first, ö", "second"):
            artifacts.write_text(path, text)
            assert artifacts.read_text(path) == text

        def write_half():
            with artifacts.whole_file(path) as unfinished:
                tf.io.gfile.GFile(unfinished, "w").close()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write_half()
        assert tf.io.gfile.glob("ram://artifacts/folder/*") == [path]
        assert artifacts.read_text(path) == "second"

    @pytest.mark.parametrize("root", [None, "ram://artifacts/deleted"])
    def test_deleting_what_is_there_and_what_is_not(self, tmp_path, root):
        import tensorflow as tf

        path = f"{root or tmp_path}/a.txt"
        artifacts.write_text(path, "text")
        assert tf.io.gfile.exists(path)
        for _ in range(2):
            artifacts.delete_file(path)
            assert not tf.io.gfile.exists(path)

    def test_on_a_file_system_that_is_given(self, tmp_path):
        asked = []

        def note(name, function):
            return lambda *args: (asked.append((name, *args)), function(*args))[1]

        local = artifacts.FileSystem(*map(note, artifacts.FileSystem._fields, artifacts._LOCAL))
        path = str(tmp_path / "to" / "a.txt")
        artifacts.write_text(path, "x", local)
        (_, unfinished) = asked[1]
        assert asked == [
            ("make_dirs", str(tmp_path / "to")),
            ("create", unfinished),
            ("replace", unfinished, path),
        ]
        assert unfinished.startswith(f"{path}.")
        assert unfinished.endswith(".tmp")


def in_threads(function, arguments):
    errors = []

    def call(argument):
        try:
            function(argument)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=[argument]) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert errors == []


FILES = [f"{i}.txt" for i in range(5)]


def fill(directory, text):
    for name in FILES:
        Path(directory, name).write_text(text)


def read(directory):
    """The one text of the files of a whole directory."""
    assert names(directory) == FILES
    (text,) = {Path(directory, name).read_text() for name in FILES}
    return text


@pytest.fixture(params=["as here", "by renaming twice"])
def exchange(request, monkeypatch):
    """Linux lets two directories change places; elsewhere the old one goes first."""
    if request.param == "by renaming twice":
        monkeypatch.setattr(artifacts, "_exchange", lambda left, right: False)


def test_linux_lets_two_directories_change_places(tmp_path):
    left, right = tmp_path / "left", tmp_path / "right"
    for directory in (left, right):
        directory.mkdir()
        fill(directory, directory.name)
    exchanged = artifacts._exchange(left, right)
    assert exchanged == sys.platform.startswith("linux")
    assert (read(left), read(right)) == (("right", "left") if exchanged else ("left", "right"))


@pytest.mark.usefixtures("exchange")
class TestWholeDirectory:
    def test_a_directory_is_written_and_replaced_as_a_whole(self, tmp_path):
        path = tmp_path / "new" / "model"
        for text in ("first", "second"):
            with artifacts.whole_directory(path) as unfinished:
                assert names(unfinished) == []
                fill(unfinished, text)
            assert read(path) == text
            (path / "left over").touch()
        assert names(path.parent) == ["model"]

    def test_an_empty_directory_is_filled(self, tmp_path):
        (tmp_path / "model").mkdir()
        with artifacts.whole_directory(str(tmp_path / "model")) as unfinished:
            fill(unfinished, "x")
        assert read(tmp_path / "model") == "x"
        assert names(tmp_path) == ["model"]

    @pytest.mark.parametrize("older", [None, "older"], ids=["nothing-before", "older-directory"])
    @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt], ids=["error", "interrupt"])
    def test_after_an_error_all_is_as_before(self, tmp_path, error, older):
        path = tmp_path / "model"
        if older:
            path.mkdir()
            fill(path, older)

        def write_half():
            with artifacts.whole_directory(path) as unfinished:
                Path(unfinished, FILES[0]).write_text("half")
                raise error("disk full")

        with pytest.raises(error, match="disk full"):
            write_half()
        assert names(tmp_path) == (["model"] if older else [])
        assert not older or read(path) == older

    def test_a_file_in_its_place_stays(self, tmp_path):
        (tmp_path / "model").write_text("mine")
        for path in (tmp_path / "model", tmp_path / "model" / "towers"):
            told = pytest.raises(NotADirectoryError, match=f"^{tmp_path}/model must be a directory. Received: a file")
            with told, artifacts.whole_directory(path):
                pytest.fail("told before the work")
        assert (tmp_path / "model").read_text() == "mine"
        assert names(tmp_path) == ["model"]

    def test_a_link_in_its_place_stays(self, tmp_path):
        (tmp_path / "model").symlink_to(tmp_path)
        with pytest.raises(NotADirectoryError, match="Received: a link"), artifacts.whole_directory(tmp_path / "model"):
            pytest.fail("told before the work")
        assert (tmp_path / "model").is_symlink()

    @pytest.mark.parametrize("older", [False, True], ids=["nothing-before", "older-directory"])
    def test_of_writers_at_once_one_directory_is_whole(self, tmp_path, monkeypatch, older):
        monkeypatch.setattr(os, "getpid", lambda: 17)
        path = tmp_path / "model"
        if older:
            path.mkdir()
            fill(path, "older")
        all_are_half_way = threading.Barrier(4)

        def write(text):
            for _ in range(20):
                with artifacts.whole_directory(path) as unfinished:
                    fill(unfinished, text)
                    all_are_half_way.wait(timeout=60)

        in_threads(write, "abcd")
        assert read(path) in "abcd"
        assert names(tmp_path) == ["model"]

    def test_the_older_may_be_kept(self, tmp_path):
        path = tmp_path / "data"
        for text in ("first", "second"):
            with artifacts.whole_directory(path, keep_older=True) as unfinished:
                fill(unfinished, text)
        assert read(path) == "first"
        assert names(tmp_path) == ["data"]


WRITER = """
import os, sys, time
from pathlib import Path
from recsys_ssl import artifacts

os.getpid = lambda: 17
path, generation, times, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
for number in range(times):
    with artifacts.whole_directory(path) as unfinished:
        for i in range(5):
            (unfinished / f"{i}.txt").write_text(f"{generation} {number}")
            if not i:
                print("half", flush=True)
            time.sleep(pause)
"""


def start_writer(path, generation, times, pause=0.0):
    arguments = [sys.executable, "-c", WRITER, str(path), generation, str(times), str(pause)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_half_way_leaves_the_old_directory(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    fill(path, "older")
    with start_writer(path, "new", times=1, pause=60) as child:
        assert child.stdout.readline() == "half\n"
        assert read(path) == "older"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert read(path) == "older"
    with artifacts.whole_directory(path) as unfinished:
        fill(unfinished, "new")
    assert read(path) == "new"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux exchanges two names")
@pytest.mark.parametrize("seed", range(5))
def test_a_process_that_is_killed_at_any_time_leaves_a_whole_directory(tmp_path, seed):
    path = tmp_path / "model"
    with artifacts.whole_directory(path) as unfinished:
        fill(unfinished, "older")
    with start_writer(path, "new", times=1_000_000) as child:
        assert child.stdout.readline() == "half\n"
        time.sleep(random.Random(seed).uniform(0.0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.stdout.read()
    assert read(path).split()[0] in ("older", "new")


def test_two_processes_at_once_leave_one_whole_directory(tmp_path):
    children = [start_writer(tmp_path / "model", generation, times=50) for generation in "ab"]
    for child in children:
        child.communicate(timeout=120)
        assert child.returncode == 0
    assert read(tmp_path / "model") in ("a 49", "b 49")
    assert names(tmp_path) == ["model"]


def test_a_worker_that_writes_to_the_local_disk_loads_neither_tensorflow_nor_beam(tmp_path):
    code = (
        "import sys\n"
        "from recsys_ssl import artifacts\n"
        f"artifacts.write_text({str(tmp_path / 'a.txt')!r}, 'x')\n"
        "sys.exit(bool({'tensorflow', 'apache_beam'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- Fields ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{}", "null", "[]", "3", '"kind"', '{"kind": "x"}', '{"kind": ', ""])
def test_a_file_without_its_fields_is_damaged(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(artifacts.DamagedError, match=r"a\.json is damaged, .*\. Delete ") as told:
        artifacts.read_fields(tmp_path / "a.json", ("kind", "task"))
    assert "\n" not in str(told.value)
    (tmp_path / "a.json").write_text('{"kind": "x", "task": null, "more": 1}')
    assert artifacts.read_fields(tmp_path / "a.json", ("kind", "task")) == {"kind": "x", "task": None, "more": 1}
