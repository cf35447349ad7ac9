"""Which files a path means, and columns that the name of a file holds."""

import json
import os

import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

from recsys_ssl.logs import sources
from recsys_ssl.logs.batches import LogError
from recsys_ssl.logs.paths import find_files
from recsys_ssl.logs.sources import check_batch, find_sources, list_versions, read_source
from recsys_ssl.spec import ContentFeature, FeatureSpec


def spec_of(*paths):
    return FeatureSpec.model_validate(
        {
            "name": "test",
            "events": {"paths": list(paths), "query_id": "q", "item_id": "i"},
            "items": {"id": "i", "features": [{"name": "i", "kind": "id"}]},
            "queries": {"id": "q", "features": [{"name": "q", "kind": "id"}]},
            "split": {"kind": "random"},
        }
    )


def find(folder, *paths):
    return [found.name for found in find_files(paths, str(folder), "events.paths")]


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("q,i\n1,2\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, "log/0.csv", "log/a/1.csv", "log/a/b/2.csv", "other/3.csv")


ALL = ["log/0.csv", "log/a/1.csv", "log/a/b/2.csv"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["log/**/*.csv"], ALL),
        (["**/*.csv"], [*ALL, "other/3.csv"]),
        (["log/**.csv"], ALL),
        (["log/**/b/**/*.csv", "log/*.csv"], ["log/0.csv", "log/a/b/2.csv"]),
        (["log/**/**/[12].csv"], ["log/a/1.csv", "log/a/b/2.csv"]),
        (["log/[!0].csv", "log/?.csv"], None),
        (["log/[^0].csv", "log/?.csv"], None),
        (["log"], ALL),
        (["./log//"], ALL),
        (["."], [*ALL, "other/3.csv"]),
        (["lo*"], ALL),
        (["log/a", "log/a/1.csv"], ["log/a/1.csv", "log/a/b/2.csv"]),
        (["log/0.csv/x"], None),
        (["missing/*"], None),
    ],
    ids=str,
)
def test_files_directories_and_globs(folder, paths, names):
    if names is None:
        with pytest.raises(LogError, match="events.paths: no file matches"):
            find(folder, *paths)
    else:
        assert find(folder, *paths) == names


SIDE_FILES = ["log/_SUCCESS", "log/.part-0.csv.crc", "log/_temporary/0/part-0.csv", "log/.git/x.csv", "_x.csv"]


@pytest.mark.parametrize("path", ["log", "log/*", "log/**", "**/*.csv", "*/*.csv", "l*"])
def test_side_files_are_left_out(tmp_path, path):
    write(tmp_path, *SIDE_FILES, "log/part-0.csv")
    assert find(tmp_path, path) == ["log/part-0.csv"]


@pytest.mark.parametrize("path", ["log/_*", "log/_temporary", "log/.part*", "_x.csv", "**/_SUCCESS"])
def test_side_files_that_the_path_spells_are_read(tmp_path, path):
    write(tmp_path, *SIDE_FILES)
    assert set(find(tmp_path, path)) <= set(SIDE_FILES)


def test_when_only_side_files_match_that_is_told(tmp_path):
    write(tmp_path, "log/_part-0.csv")
    with pytest.raises(LogError, match="no file matches 'log' .*'log/_part-0.csv' is left out"):
        find(tmp_path, "log")


@pytest.mark.parametrize("name", ["a [1] b", "a*b", "a?", "{a}", "a#b", "d:ata", "[!x]"])
def test_a_data_directory_may_hold_any_character(tmp_path, name):
    write(tmp_path, "a 1 b/x.csv", "aXb/x.csv", "y/x.csv")
    folder = write(tmp_path / name, "x.csv", "log/y.csv")
    assert [find(folder, path) for path in ("x.csv", "*.csv", "**/*.csv")] == [
        ["x.csv"],
        ["x.csv"],
        ["log/y.csv", "x.csv"],
    ]


def test_a_name_that_is_there_is_no_glob(tmp_path):
    write(tmp_path, "log [1].csv", "log 1.csv")
    assert find(tmp_path, "log [1].csv") == ["log [1].csv"]
    assert find(tmp_path, "log [12].csv") == ["log 1.csv"]


def test_links_are_followed_but_not_round_and_round(tmp_path):
    folder = write(tmp_path / "data", "log/0.csv")
    write(tmp_path, "elsewhere/1.csv")
    (folder / "log" / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "log" / "up").symlink_to(folder)
    assert find(folder, "log") == ["log/0.csv", "log/linked/1.csv"]


def test_what_is_no_file_is_named(tmp_path):
    write(tmp_path, "log/0.csv")
    (tmp_path / "log" / "gone.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(LogError, match="log/gone.csv: this link leads to no file"):
        find(tmp_path, "log")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogError, match="pipe: this is no file but a pipe"):
        find(tmp_path, "pipe")
    with pytest.raises(LogError, match=r"events.paths: `\*\*` stands for directories. Received: 'a\*\*b'"):
        find(tmp_path, "a**b")


def test_no_glob_takes_long(tmp_path):
    write(tmp_path, "a" * 200)
    for path in ("*a" * 30 + "b", "**/" * 30 + "b", "[z-a]" * 30):  # with going back, years
        with pytest.raises(LogError, match="no file matches"):
            find(tmp_path, path)


def test_the_cache_sees_the_files_that_are_read(folder):
    spec = spec_of("log")
    before = list_versions(spec, str(folder))
    assert [name for name, _, _ in before] == [source.name for source in find_sources(spec, str(folder), 10)["events"]]
    write(folder, "log/_SUCCESS", "other/4.csv")
    assert list_versions(spec, str(folder)) == before
    write(folder, "log/a/5.csv")
    assert len(list_versions(spec, str(folder))) == len(before) + 1


def test_the_cache_sees_files_that_content_lies_in(folder, monkeypatch):
    table = {"paths": ["items.csv"]}
    items = {"table": table, "id": "i", "features": [{"name": "i", "kind": "id"}, {"name": "s", "kind": "molecule"}]}
    spec = FeatureSpec.model_validate({**json.loads(spec_of("log").to_json()), "items": items})
    write(folder, "items.csv", "pictures/1.png", "pictures/deep/2.png")
    without = list_versions(spec, str(folder))
    monkeypatch.setattr(ContentFeature, "file_paths", ("pictures",))
    seen = [list_versions(spec, str(folder))]
    assert len(seen[0]) == len(without) + 1
    os.utime(folder / "pictures" / "1.png", (5, 5))
    seen.append(list_versions(spec, str(folder)))
    write(folder, "pictures/3.png")
    seen.append(list_versions(spec, str(folder)))
    assert len({str(versions) for versions in seen}) == 3
    monkeypatch.setattr(ContentFeature, "file_paths", ("none",))
    with pytest.raises(LogError, match="items.features.s: no file matches 'none'"):
        list_versions(spec, str(folder))


# --- Other file systems ------------------------------------------------------------------------------


class MemoryFileSystem(FileSystem):
    """Holds names only; as object stores, it has no directories."""

    NAMES = (
        "mem://b/d[1]/log/0.csv",
        "mem://b/d[1]/log/day=1/1.csv",
        "mem://b/d[1]/log/_SUCCESS",
        "mem://b/d1/log/2.csv",
    )

    @classmethod
    def scheme(cls):
        return "mem"

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        return (FileMetadata(name, 8, 1.5) for name in self.NAMES if name.startswith(dir_or_prefix))

    def exists(self, path):
        return path in self.NAMES

    def metadata(self, path):
        if path not in self.NAMES:
            raise BeamIOError(path)
        return FileMetadata(path, 8, 1.5)

    def _unused(self, *args, **kwargs):
        raise NotImplementedError

    split = mkdirs = create = open = copy = rename = size = last_updated = checksum = delete = _unused


@pytest.mark.parametrize("path", ["log", "log/", "log/**/*.csv", "**", "l*/*"])
def test_file_systems_of_beam_match_alike(path):
    assert find("mem://b/d[1]", path) == ["log/0.csv", "log/day=1/1.csv"]
    assert find("mem://b/d[1]/", path) == ["log/0.csv", "log/day=1/1.csv"]


def test_a_file_of_another_file_system_keeps_its_path_size_and_time():
    (found,) = find_files(["log/0.csv"], "mem://b/d[1]", "events.paths")
    assert found == ("mem://b/d[1]/log/0.csv", "log/0.csv", 8, 1.5)
    with pytest.raises(LogError, match="no file matches"):
        find("mem://b/d[1]", "log/3.csv")


# --- Fields that JSON leaves out ------------------------------------------------------------------------


def write_json(folder, **files):
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_prices(folder, rows_per_batch=2):
    spec = FeatureSpec.model_validate(
        {
            **spec_of("*.jsonl").model_dump(),
            "events": {
                "paths": ["*.jsonl"],
                "format": "jsonl",
                "query_id": "q",
                "item_id": "i",
                "features": [{"name": "price", "kind": "numeric"}],
            },
        }
    )
    found = find_sources(spec, str(folder), rows_per_batch)["events"]
    return [
        price
        for source in found
        for batch in read_source(source, "events", spec, rows_per_batch)
        for price in check_batch(batch, source, "events", spec).table["price"].to_pylist()
    ]


BARE, PRICED = {"q": 1, "i": 2}, {"q": 1, "i": 2, "price": 3}


@pytest.mark.parametrize(
    ("first", "second", "prices"),
    [
        ([BARE], [PRICED], [[], [3.0]]),
        ([PRICED], [BARE], [[3.0], []]),
        ([BARE] * 3 + [PRICED], [BARE], [[], [], [], [3.0], []]),  # beyond the first batch
        ([BARE], [{**BARE, "price": None}], [[], []]),
        ([BARE], [5, 5, PRICED], [[], [3.0]]),
    ],
)
def test_a_field_that_a_json_file_leaves_out_is_null(tmp_path, first, second, prices):
    write_json(tmp_path, a=first, b=second)
    assert read_prices(tmp_path) == prices


def test_a_field_that_no_json_file_has_is_an_error(tmp_path):
    write_json(tmp_path, a=[BARE] * 3, b=[BARE])
    with pytest.raises(LogError, match=r"a.jsonl: events.features.price needs column 'price'. The file has: 'i', 'q'"):
        read_prices(tmp_path)


def test_a_field_that_json_leaves_out_is_searched_in_so_many_records(tmp_path, monkeypatch):
    write_json(tmp_path, a=[BARE] * 4 + [PRICED])
    assert read_prices(tmp_path)[-1] == [3.0]
    monkeypatch.setattr(sources, "_MOST_SEARCHED", 4)
    with pytest.raises(LogError, match="needs column 'price'"):
        read_prices(tmp_path)
