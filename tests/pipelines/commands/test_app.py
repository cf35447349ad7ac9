"""The command line: help, the commands that need no TensorFlow, and errors as one message with exit status 1.

Stages on real input are in tests/e2e.
"""

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from rich.console import Console

from pipelines.commands import app as module
from pipelines.commands import data as data_command
from pipelines.commands import failures, results
from recsys_ssl.datasets.sources import DATASETS
from recsys_ssl.spec_files import SpecError, json_schema, load_spec

COMMANDS = sorted(typer.main.get_command(module.app).commands)
SPECS = sorted((Path(__file__).parents[3] / "feature_specs").glob("*.yaml"))
SPEC = """
version: 1
name: films
events:
  paths: [events*.csv]
  query_id: user
  item_id: film
  timestamp: {column: time}
items:
  table: {paths: [films.csv]}
  id: film
  features:
    - {name: film, kind: id}
    - {name: genre, column: "a [b] genre", kind: categorical}
queries:
  id: user
  features:
    - {name: user, kind: id}
"""


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # nothing wraps
    monkeypatch.setenv("TERM", "dumb")  # nor has colours


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "films.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def data(tmp_path):
    """A directory with the files of the spec."""
    directory = tmp_path / "data"
    directory.mkdir()
    for part in (1, 2):
        rows = [f"u{n % 3},f{n % 4},{1_600_000_000 + 60 * n}" for n in range(20)]
        (directory / f"events-{part}.csv").write_text("\n".join(["user,film,time", *rows]) + "\n")
    films = [f"f{n},g{n % 2}" for n in range(4)]
    (directory / "films.csv").write_text("\n".join(["film,a [b] genre", *films]) + "\n")
    return directory


def check_error(result, *parts, status=1):
    """One message, the exit status, no trace."""
    assert result.status == status
    assert "Traceback" not in result.output
    assert result.output.count("error: ") == 1
    missing = [part for part in parts if part not in result.output]
    assert missing == [], result.output


class TestHelp:
    def test_every_command_of_the_readme_exists(self):
        stages = {"ingest", "transform", "correlate", "train", "index", "evaluate"}
        encoders = {"pretrain", "embed", "finetune", "predict"}
        systems = {"prepare-patterns", "reconstruct", "cluster", "probe", "tune", "tune-finetune"}
        others = {"run", "clean", "data", "new-spec", "validate-spec", "spec-schema", "report", "recommend", "serve"}
        live = {"index add", "index change", "index remove"}
        assert others | stages | encoders | systems | live == set(COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_says_what_it_does_and_shows_an_example(self, cli, command):
        result = cli(*command.split(), "--help")
        assert result.status == 0
        assert f"Usage: recsys-ssl {command}" in result.output or f"Usage: root {command}" in result.output
        assert f"recsys-ssl {command} " in result.output.split("Usage:")[1].split("\n", 1)[1]
        assert "[dim]" not in result.output

    @pytest.mark.parametrize("command", COMMANDS)
    def test_its_example_is_a_valid_command_line(self, command):
        """The example's options exist and no argument is missing: click parses it, nothing runs."""
        click_command = typer.main.get_command(module.app).commands[command]
        example = shlex.split(click_command.help.split("[dim]")[1].split("[/dim]")[0].split(">")[0])
        words = ["recsys-ssl", *command.split()]
        assert example[: len(words)] == words
        click_command.make_context(command, example[len(words) :])

    def test_without_a_command_the_list_is_shown(self, cli):
        result = cli()
        assert [command for command in COMMANDS if command not in result.output] == []

    def test_a_process_of_its_own_needs_no_tensorflow_for_help(self):
        heavy = "{'tensorflow', 'tfx', 'apache_beam'}"
        script = (
            "import sys; from pipelines.commands.app import app\n"
            f"try: app(['--help'])\nfinally: print(set(sys.modules) & {heavy})"
        )
        process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert process.stdout.splitlines()[-1] == "set()"
        assert process.stderr == ""


class TestNewSpec:
    def test_writes_a_spec_that_validates_and_says_what_comes_next(self, cli, data, tmp_path):
        out = tmp_path / "new spec.yaml"
        result = cli("new-spec", data, "--out", out, "--name", "films")
        assert result.status == 0
        assert load_spec(out).name == "films"
        assert f"recsys-ssl validate-spec '{out}' --data {data}\n" in result.output
        assert f"recsys-ssl run '{out}' --data {data} --workdir build/films\n" in result.output
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]
        assert ["events.query_id", "user", "by its name"] in rows
        again = cli("validate-spec", out, "--data", data)
        assert again.status == 0
        assert "0 would be rejected, 40 positives" in again.output

    def test_every_guess_has_a_comment(self, cli, data, tmp_path):
        cli("new-spec", data, "--out", tmp_path / "new.yaml")
        lines = (tmp_path / "new.yaml").read_text().splitlines()
        assert "  query_id: user  # by its name" in lines
        assert next(line for line in lines if line.startswith("  timestamp: ")).endswith("# 1600000000 is then in 2020")

    def test_a_spec_is_never_overwritten(self, cli, data, spec):
        check_error(cli("new-spec", data, "--out", spec), f"--out must be a new file. Received: '{spec}'")
        assert spec.read_text() == SPEC

    def test_a_directory_that_is_not_there_is_named(self, cli, data, tmp_path):
        out = tmp_path / "none" / "new.yaml"
        result = cli("new-spec", data, "--out", out)
        check_error(result, f"--out must be in a directory that is there. Received: '{out}'. Make '{out.parent}' first")

    def test_what_cannot_be_guessed_is_asked_for(self, cli, tmp_path):
        (tmp_path / "log.csv").write_text("a,b,item\n" + "".join(f"x{n % 3},y{n % 4},i{n % 5}\n" for n in range(60)))
        check_error(
            cli("new-spec", tmp_path / "log.csv", "--out", tmp_path / "new.yaml"),
            "log.csv: no column says",
            "--query COLUMN",
        )
        assert not (tmp_path / "new.yaml").exists()

    def test_a_draft_that_does_not_load_is_not_written(self, cli, data, tmp_path, monkeypatch):
        monkeypatch.setattr("recsys_ssl.guessing.draft.to_yaml", lambda entries, heading: "version: 1\nevent: {}\n")
        out = tmp_path / "new.yaml"
        check_error(cli("new-spec", data, "--out", out), f"{out} is not written: ", "line:2: event: unknown key")
        assert not out.exists()


class TestValidateSpec:
    @pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
    def test_shipped_specs_are_valid(self, cli, path):
        result = cli("validate-spec", path)
        assert result.status == 0
        assert f"{path.stem}: valid" in result.output

    def test_says_what_the_spec_means(self, cli, spec):
        result = cli("validate-spec", spec)
        assert result.status == 0
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]
        assert rows == [
            ["query", "user", "id", "user"],
            ["item", "film", "id", "film"],
            ["item", "genre", "categorical", "a [b] genre"],
        ]

    def test_reads_the_first_records_of_every_file(self, cli, spec, data):
        result = cli("validate-spec", spec, "--data", data)
        assert result.status == 0
        assert "events, 2 file(s): events-1.csv, events-2.csv\n" in result.output
        assert "of all 40 records 0 would be rejected, 40 positives\n" in result.output
        assert "items, 1 file(s): films.csv\n" in result.output

    def test_a_process_of_its_own_says_nothing_of_libraries(self, spec, data):
        """In this one they are imported already."""
        command = [sys.executable, "-m", "pipelines.commands.app", "validate-spec", str(spec), "--data", str(data)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.stderr == ""
        assert process.returncode == 0
        assert "of all 40 records" in process.stdout

    def test_names_the_line_of_the_spec_that_rejects_records(self, cli, spec, data):
        (data / "events-2.csv").write_text("user,film,time\n" + "u1,f1,yesterday\n" * 3)
        result = cli("validate-spec", spec, "--data", data)
        assert result.status == 0
        place = f"first: events-2.csv:2: 'yesterday'; see {spec}:8: events.timestamp\n"
        assert " 3  timestamp is not a number" in result.output
        assert place in result.output
        assert "caution: 13.0% of events would be rejected" in result.output

    def test_ends_with_status_1_when_most_would_be_rejected(self, cli, spec, data):
        spec.write_text(SPEC.replace("{column: time}", "{column: time, unit: iso8601}"))
        check_error(cli("validate-spec", spec, "--data", data), "most of a side would be rejected")

    def test_a_file_that_is_missing_is_an_error(self, cli, spec, data):
        (data / "films.csv").unlink()
        check_error(
            cli("validate-spec", spec, "--data", data), f"no file matches 'films.csv' in '{data}'", f"{spec}:10: "
        )

    @pytest.mark.parametrize(
        ("old", "new", "parts"),
        [
            (
                "  query_id: user",
                "  query: user",
                ["films.yaml:4: events.query_id: ", "films.yaml:6: events.query: unknown key"],
            ),
            ("kind: categorical", "kind: categoric", ["films.yaml:14: ", "'categoric'", "'categorical'"]),
            ("kind: categorical", "kind: molecule, size: 3", ["films.yaml:14: ", "items.features.1.size: unknown key"]),
            ("name: films", "name: films\nname2: [x, [/b]]", ["films.yaml:4: name2: unknown key. Check its spelling"]),
            ("items:", "items: [", ["films.yaml:", "this is not valid YAML", "Mend the syntax"]),
        ],
        ids=["typo in key", "typo in kind", "key of no kind", "unknown key", "broken YAML"],
    )
    def test_a_fault_is_told_with_its_line(self, cli, spec, old, new, parts):
        spec.write_text(SPEC.replace(old, new))
        check_error(cli("validate-spec", spec), *parts)

    def test_a_message_with_brackets_is_shown_whole(self, cli, spec):
        spec.write_text(SPEC.replace("  query_id", "  header: false\n  query_id"))
        check_error(cli("validate-spec", spec), "Set columns: [name, ...].")

    def test_a_spec_that_is_not_there(self, cli, tmp_path):
        check_error(cli("validate-spec", tmp_path / "none.yaml"), "none.yaml: the spec cannot be read")

    def test_the_schema_for_editors_is_the_shipped_one(self, cli):
        result = cli("spec-schema")
        assert result.status == 0
        assert result.output == json_schema() == (SPECS[0].parent / "schema.json").read_text(encoding="utf-8")


class TestData:
    def test_an_unknown_name_lists_the_known(self, cli, tmp_path):
        check_error(cli("data", "netflix", "--to", tmp_path), "Received: 'netflix'", *DATASETS)
        assert list(tmp_path.iterdir()) == []

    def test_a_source_that_is_not_there(self, cli, tmp_path):
        check_error(
            cli("data", "frappe", "--to", tmp_path / "a", "--source", tmp_path / "b"), "--source must be a directory"
        )

    def test_a_target_that_is_a_file(self, cli, tmp_path):
        (tmp_path / "file").touch()
        check_error(cli("data", "frappe", "--to", tmp_path / "file", "--source", tmp_path), str(tmp_path / "file"))


class TestErrors:
    def test_a_missing_data_directory(self, cli, spec, tmp_path):
        for command in ("run", "ingest"):
            result = cli(command, spec, "--data", tmp_path / "none", "--workdir", tmp_path / "work")
            check_error(result, "--data must be a directory", str(tmp_path / "none"))

    def test_a_working_directory_that_is_a_file(self, cli, spec, tmp_path):
        result = cli("ingest", spec, "--data", tmp_path, "--workdir", spec)
        check_error(result, "--workdir must be a directory", str(spec))

    @pytest.mark.parametrize(
        ("command", "below"), [("ingest", ""), ("ingest", "none/"), ("report", ""), ("clean", ""), ("clean", "none/")]
    )
    def test_a_working_directory_whose_name_is_too_long(self, cli, spec, tmp_path, command, below):
        arguments = [spec, "--data", tmp_path] if command == "ingest" else []
        result = cli(command, *arguments, "--workdir", f"{tmp_path}/{below}{'w' * 300}")
        check_error(result, "--workdir must be a directory")
        assert "w" * 100 not in result.output
        assert len(result.output.strip().splitlines()) == 1

    def test_a_lock_that_is_a_directory(self, cli, spec, tmp_path):
        (tmp_path / "work" / "lock").mkdir(parents=True)
        result = cli("ingest", spec, "--data", tmp_path, "--workdir", tmp_path / "work")
        check_error(result, f"{tmp_path / 'work' / 'lock'} must be a file, which commands lock. Received: a directory.")

    @pytest.mark.parametrize("command", ["train", "index"])
    def test_an_unknown_arm(self, cli, spec, tmp_path, command):
        result = cli(command, spec, "--workdir", tmp_path, "--arm", "placebo")
        check_error(
            result,
            "--arm must be control or treatment, or for a further seed one of them with .2 to .20 behind it. "
            "Received: 'placebo'.",
        )

    def test_an_unknown_setting(self, cli, spec, tmp_path):
        result = cli("ingest", spec, "--data", tmp_path, "--workdir", tmp_path, "--set", "ingest.partitions=3")
        check_error(result, "unknown setting ingest.partitions. Use one of: num_partitions, rows_per_batch.")
        assert "✗ ingest" in result.output
        # The trace is in the log.
        assert "Traceback" in (tmp_path / "logs" / "ingest.log").read_text()

    @pytest.mark.parametrize("command", ["train", "evaluate", "index", "correlate", "transform", "recommend"])
    def test_a_stage_whose_input_is_not_there_yet(self, cli, spec, tmp_path, command):
        result = cli(command, spec, "--workdir", tmp_path / "work")
        check_error(result, f"{tmp_path}/work")
        assert re.search(r"Run `recsys-ssl \w+.*` first|Finish `recsys-ssl run`", result.output)

    def test_a_report_that_is_not_there_yet(self, cli, tmp_path):
        result = cli("report", "--workdir", tmp_path)
        check_error(
            result, f"no {tmp_path}/report/report.json. Finish `recsys-ssl run` or `recsys-ssl evaluate` first."
        )

    def test_what_no_message_foresaw_points_to_the_log(self, cli, spec, tmp_path, monkeypatch):
        def load_spec(path):
            raise RuntimeError("out of [paper]")

        monkeypatch.setattr(results, "load_spec", load_spec)
        result = cli("recommend", spec, "--workdir", tmp_path)
        check_error(result, "RuntimeError: out of [paper]", f"The whole story is in {tmp_path}/logs/recommend.log.")

    def test_an_interrupted_command_says_how_to_go_on(self, cli, spec, tmp_path, monkeypatch):
        def load_spec(path):
            raise KeyboardInterrupt

        monkeypatch.setattr(results, "load_spec", load_spec)
        check_error(cli("recommend", spec, "--workdir", tmp_path), "Run the same command again to go on.", status=130)


def test_the_report_table_holds_every_number_and_text_with_brackets(tmp_path):
    tmp_path /= "work [b]"
    report = {
        "floor": [{"metric": "recall_at_10", "popularity": 0.125}],
        "metrics": [
            {"metric": "recall_at_10", "label": "Recall@10", "control": 0.25, "treatment": 0.5, "difference": 0.25,
             "interval": [-0.125, 0.375], "adjusted_p": 0.0625},
            {"metric": "mrr", "label": "MRR", "control": None, "treatment": 0.75, "difference": None,
             "interval": None, "adjusted_p": None},
        ],
        "verdict": {"word": "hold", "reasons": ["Because [of] this.", "And [/that]."]},
    }  # fmt: skip
    (tmp_path / "report").mkdir(parents=True)
    (tmp_path / "report" / "report.json").write_text(json.dumps(report))
    (tmp_path / "pushed" / "films" / "17").mkdir(parents=True)
    (tmp_path / "tfx").mkdir()
    console = Console(file=io.StringIO(), width=200, color_system=None)
    results.show_report(console, tmp_path)
    shown = console.file.getvalue()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert rows == [
        ["Recall@10", "0.1250", "0.2500", "0.5000", "+0.2500", "-0.1250 +0.3750", "0.062"],
        ["MRR", "–", "–", "0.7500", "–", "–", "–"],
    ]
    assert "hold: Because [of] this. And [/that]." in shown
    assert f"{'report.json':<26} {tmp_path}/report/report.json" in shown
    assert f"{'pushed model':<26} {tmp_path}/pushed/films/17" in shown


def test_own_counts_have_a_column_where_they_are_a_floor(tmp_path):
    facts = {"metric": "mrr", "label": "MRR", "control": 0.25, "treatment": 0.5, "difference": 0.25}
    report = {
        "floor": [{"metric": "mrr", "popularity": 0.125}],
        "own_floor": [{"metric": "mrr", "own_counts": 0.0625}],
        "metrics": [{**facts, "interval": None, "adjusted_p": None}],
        "verdict": {"word": "hold", "reasons": ["Because."]},
    }
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(report))
    console = Console(file=io.StringIO(), width=200, color_system=None)
    results.show_report(console, tmp_path)
    shown = console.file.getvalue()
    assert re.search("metric +popular +own counts +control +treatment", shown.replace("┃", " "))
    assert re.search("MRR +0.1250 +0.0625 +0.2500 +0.5000", shown.replace("│", " "))


def test_cautions_stand_below_the_verdict(tmp_path):
    verdict = {"word": "hold", "reasons": ["Because."]}
    report = {"floor": [], "metrics": [], "verdict": verdict, "cautions": ["Of [all] these.", "And those."]}
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(report))
    console = Console(file=io.StringIO(), width=200, color_system=None)
    results.show_report(console, tmp_path)
    lines = console.file.getvalue().splitlines()
    at = lines.index("hold: Because.")
    assert lines[at + 1 : at + 3] == ["caution: Of [all] these.", "caution: And those."]


def recommended(**changes):
    facts = {"query_id": "u1", "chosen_titles": ["One"], "item_ids": ["f2"], "titles": ["Two"], "scores": [0.5]}
    return SimpleNamespace(**{**facts, "is_known": True, **changes})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "query u1 chose before: One"),
        ({"chosen_titles": []}, "query u1 chose before: nothing"),
        ({"is_known": False}, "query u1 is not in the log: what is shown is for a query that chose nothing yet"),
        ({"item_ids": [], "titles": [], "scores": []}, "no recommendation: it has chosen every item of the catalogue"),
        ({"query_id": "u\x1b]0;x\x07", "chosen_titles": ["A\x1b[2J"]}, r"query u\x1b]0;x\x07 chose before: A\x1b[2J"),
        ({"item_ids": ["i[red]"], "titles": ["B\x9b31m \u202e[/b]"]}, r"│ 0.500 │ i[red] │ B\x9b31m \u202e[/b] │"),
    ],
    ids=["known", "new", "unknown", "nothing left", "controls", "markup"],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_recommendations_are_shown_with_what_is_known_of_the_query(changes, line, terminal):
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)
    results.show_recommended(console, recommended(**changes))
    shown = re.sub(r"\x1b\[\d*m", "", console.file.getvalue())
    assert line in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_a_message_with_text_of_a_log_gives_the_terminal_no_command(cli, monkeypatch):
    def load_spec(path):
        raise SpecError("of two lines:\nfirst: log.csv:3: \x1b]0;pwned\x07\x9b \u202e")

    monkeypatch.setattr(data_command, "load_spec", load_spec)
    result = cli("validate-spec", "any.yaml")
    check_error(result, "of two lines:\n", r"\x1b]0;pwned\x07\x9b \u202e")
    assert not re.search("[\x1b\x07\x9b\u202e]", result.output)


def test_a_librarys_error_names_its_kind_and_the_log_and_ours_stands_alone(tmp_path):
    from pipelines.config import parse_overrides
    from recsys_ssl.settings import ConfigError

    with pytest.raises(ValueError) as foreign:
        json.loads("{")
    with pytest.raises(ConfigError) as own:
        parse_overrides(["nonsense"])
    log = tmp_path / "run.log"
    shown, _ = failures.explain(foreign.value, log)
    assert shown.startswith("JSONDecodeError: ")
    assert shown.endswith(f"The whole story is in {log}.")
    assert failures.explain(own.value, log) == (str(own.value), 1)
