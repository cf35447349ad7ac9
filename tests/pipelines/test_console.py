"""The quiet terminal: what libraries write goes to the log, what stages say stays on the screen."""

import io
import logging
import os
import re
import subprocess
import sys
import warnings

import pytest
from rich.console import Console

from pipelines.console import StageLines, make_console, quiet, show_table
from pipelines.progress import PROGRESS

# Python's streams, file descriptors as C++ uses them, child processes, logging and warnings.
NOISY = """
import logging, os, subprocess, sys, warnings
from pathlib import Path
from pipelines.console import quiet
from pipelines.progress import PROGRESS

print("before")
try:
    with quiet(Path(sys.argv[1])) as (console, lines):
        lines.start("Stage")
        print("python stdout")
        print("python stderr", file=sys.stderr)
        os.write(1, b"descriptor 1\\n")
        os.write(2, b"descriptor 2\\n")
        subprocess.run(["echo", "child"], check=True)
        logging.getLogger("library").warning("a library warns")
        warnings.warn("deprecated")
        PROGRESS.info("half way")
        if sys.argv[2] == "fail":
            raise RuntimeError("broken")
        lines.finish()
        console.print("shown")
except RuntimeError as error:
    print("raised", error)
print("after")
os.write(2, b"error after\\n")
"""
SILENCED = (
    "python stdout",
    "python stderr",
    "descriptor 1",
    "descriptor 2",
    "child",
    "library WARNING a library warns",
)


@pytest.mark.parametrize("ending", ["success", "fail"])
def test_libraries_write_to_the_log_and_the_terminal_comes_back(tmp_path, ending):
    log = tmp_path / "logs" / "run.log"
    log.parent.mkdir()
    log.write_text("an earlier run\n")
    process = subprocess.run(
        [sys.executable, "-c", NOISY, str(log), ending], capture_output=True, text=True, encoding="utf-8", check=True
    )
    mark = "✗" if ending == "fail" else "✓"
    last = "raised broken" if ending == "fail" else "shown"
    seconds = r" +\d+\.\d s  "
    assert re.fullmatch(f"before\n{mark} Stage{seconds}half way\n{last}\nafter\n", process.stdout)
    assert process.stderr == "error after\n"

    logged = log.read_text(encoding="utf-8")
    assert logged.startswith("an earlier run\n")
    assert [text for text in SILENCED if logged.count(text) != 1] == []
    assert "half way" in logged
    assert "deprecated" not in logged


@pytest.mark.parametrize("fail", [False, True], ids=["success", "exception"])
def test_descriptors_logging_and_warnings_are_restored(tmp_path, fail):
    root = logging.getLogger()
    filters = warnings.filters[:]
    before = (root.handlers[:], root.level, PROGRESS.handlers[:], os.listdir("/proc/self/fd"))
    targets = [os.fstat(descriptor).st_ino for descriptor in (1, 2)]
    raised = None
    try:
        with quiet(tmp_path / "a.log"):
            assert [os.fstat(descriptor).st_ino for descriptor in (1, 2)] == [os.stat(tmp_path / "a.log").st_ino] * 2
            if fail:
                raise ValueError("x")
    except ValueError as error:
        raised = str(error)
    assert raised == ("x" if fail else None)
    assert (root.handlers, root.level, PROGRESS.handlers, os.listdir("/proc/self/fd")) == before
    assert [os.fstat(descriptor).st_ino for descriptor in (1, 2)] == targets
    assert warnings.filters == filters


class TestStageLines:
    @pytest.fixture
    def lines(self):
        return StageLines(Console(file=io.StringIO(), width=200, color_system=None))

    @staticmethod
    def printed(lines):
        return re.sub(r" +\d+\.\d s  ", " | ", lines._console.file.getvalue())

    def test_a_line_ends_with_the_newest_message(self, lines):
        lines.start("One")
        for message in ("first", "second"):
            lines.handle(logging.makeLogRecord({"msg": message}))
        lines.finish()
        lines.start("Two")
        lines.finish("=", "from the cache")
        lines.start("Three")
        lines.finish()
        assert self.printed(lines) == "✓ One | second\n= Two | from the cache\n✓ Three | \n"

    def test_finishing_what_was_not_started_prints_nothing(self, lines):
        lines.finish()
        lines.start("One")
        lines.finish()
        lines.finish("✗")
        assert self.printed(lines) == "✓ One | \n"

    def test_square_brackets_in_a_message_are_no_markup(self, lines):
        lines.start("One")
        lines.handle(logging.makeLogRecord({"msg": "columns [red]a[/red], [/b] and [name, ...]"}))
        lines.finish()
        assert self.printed(lines) == "✓ One | columns [red]a[/red], [/b] and [name, ...]\n"

    def test_a_long_message_is_wrapped_at_blanks_and_never_cut(self):
        lines = StageLines(Console(file=io.StringIO(), width=40, color_system=None))
        lines.start("IngestLogs")
        lines.handle(logging.makeLogRecord({"msg": "24,000 events, 857 queries, 2,000 items; train 6,400, eval 800"}))
        lines.finish()
        shown = lines._console.file.getvalue()
        assert "…" not in shown
        assert max(map(len, shown.splitlines())) <= 40
        words = shown.replace(";", "").split()
        assert [n for n in ("24,000", "857", "2,000", "6,400,", "800") if n not in words] == []

    def test_text_of_a_log_gives_the_terminal_no_command(self):
        lines = StageLines(Console(file=io.StringIO(), width=200, color_system=None))
        lines.start("One")
        lines.handle(logging.makeLogRecord({"msg": "type \x1b]0;pwned\x07 ignored\nonce"}))
        lines.handle(logging.makeLogRecord({"msg": "kind \x9b31m\nsecond line \u202e", "levelno": logging.WARNING}))
        lines.finish()
        first, *rest = self.printed(lines).splitlines()
        assert first == r"✓ One | type \x1b]0;pwned\x07 ignored\nonce"
        assert rest == [r"! kind \x9b31m", r"second line \u202e"]


COLUMNS = ("metric", "control", "95% interval")
ROWS = [("Recall@10", "0.1590", "-0.0215 +0.0057"), ("MRR of a [long] name", "12,345,678", "–")]


@pytest.mark.parametrize("width", [100_000, 80, 60, 48, 40, 20])
def test_a_table_shows_its_numbers_whole_at_any_width(width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show_table(console, "A table", COLUMNS, ROWS, texts=("metric",))
    shown = console.file.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    numbers = ("0.1590", "-0.0215", "+0.0057", "12,345,678", "–")
    words = re.split(r"[ │\n]+", shown.replace(", ", " "))
    assert [number for number in numbers if number not in [word.rstrip(",") for word in words]] == []
    assert ("│" in shown) == (width >= 48)


@pytest.mark.parametrize("columns", [None, "40"])
def test_what_is_piped_is_as_wide_as_what_it_holds(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns) if columns else monkeypatch.delenv("COLUMNS", raising=False)
    console = make_console(io.StringIO())
    console.print("word " * 100)
    show_table(console, "A table", COLUMNS, [(*ROWS[0][:2], "x" * 300)])
    line, _, _, _, _, row, _ = console.file.getvalue().splitlines()
    assert line.split() == ["word"] * 100
    assert "x" * 300 in row
    assert len(row) < 340


def test_a_cell_is_neither_markup_nor_a_command():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    show_table(console, "[b]\x1b[2J", ("a",), [("x [red]y[/red] \x1b]8;;http://evil\x07",)], texts=("a",))
    shown = console.file.getvalue()
    assert r"x [red]y[/red] \x1b]8;;http://evil\x07" in shown
    assert r"[b]\x1b[2J" in shown
    assert "\x1b" not in re.sub(r"\x1b\[\d*m", "", shown)


def test_a_warning_stays_below_the_line_of_its_stage():
    terminal = io.StringIO()
    lines = StageLines(Console(file=terminal, width=60))
    text = "all [times] lie in 1970 " + "and so on " * 10
    for stage in ("First", "Second"):
        lines.start(stage)
        lines.handle(logging.makeLogRecord({"msg": "half way"}))
        if stage == "First":
            lines.handle(logging.makeLogRecord({"msg": text, "levelno": logging.WARNING}))
        lines.finish()
    first, warning, second = terminal.getvalue().splitlines()
    assert re.fullmatch(r"✓ First .* half way *", first)
    assert warning == f"! {text}"
    assert re.fullmatch(r"✓ Second .* half way *", second)


def test_options_that_beam_does_not_know_are_told_once(tmp_path):
    script = """
import sys
from pathlib import Path
from pipelines.console import quiet

with quiet(Path(sys.argv[1])) as (console, lines):
    from apache_beam.options.pipeline_options import PipelineOptions

    for stage in ("First", "Second"):
        lines.start(stage)
        PipelineOptions(["--direct_num_wrkers=2", "--direct_num_workers=2"]).get_all_options()
        lines.finish()
"""
    finished = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "log"], capture_output=True, text=True, check=True
    )
    assert finished.stdout.count("Discarding unparseable args: ['--direct_num_wrkers=2']") == 1
