"""What a person sees: one line per stage on the terminal, everything else in a log file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Optional, TextIO

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from pipelines.progress import PROGRESS
from pipelines.workdir import own_names
from recsys_ssl.text import make_visible

_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "GLOG_minloglevel": "3",
    "PYTHONWARNINGS": "ignore",
}

_BEAM_OPTIONS = logging.getLogger("apache_beam.options.pipeline_options")
"""Which warns of options that it does not know."""
_UNBOUNDED = 100_000
"""Columns of what is no terminal: lines and tables are as wide as what they hold."""
_LEAST_TEXT = 8
"""Columns that a column of text keeps at least."""


def make_console(stream: Optional[IO[str]] = None) -> Console:
    """A console on a stream, standard output when None. What is piped is neither wrapped nor cut, whatever COLUMNS."""
    console = Console(file=stream)
    return console if console.is_terminal else Console(file=stream, width=_UNBOUNDED)


def plain(text: str, keep: str = "") -> str:
    """Text of a log, a file or an error as rich prints it: no markup, no command to the terminal, no name of a link."""
    return escape(make_visible(own_names(text), keep))


def show_table(
    console: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    texts: Sequence[str] = (),
    compact: bool = False,
) -> None:
    """Shows a table; where a terminal is too narrow for its numbers, a paragraph a row. Numbers are never cut.

    Args:
        columns: names of the columns.
        rows: cells as plain text.
        texts: the columns that hold text, which may be folded; the others hold numbers.
        compact: no blank at the end of a cell.
    """
    padding = (0, 0 if compact else 1, 0, 1)
    table = Table(title=plain(title), title_justify="left", padding=padding)
    needed = 1
    for place, name in enumerate(columns):
        is_text = name in texts
        table.add_column(name, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
        width = max([len(name), *(len(row[place]) for row in rows)])
        needed += (min(width, _LEAST_TEXT) if is_text else width) + padding[1] + padding[3] + 1
    if needed <= console.width:
        for row in rows:
            table.add_row(*(plain(cell) for cell in row))
        console.print(table)
        return
    console.print(plain(title), highlight=False)
    for row in rows:
        facts = ", ".join(f"{name} {cell}" for name, cell in zip(columns[1:], row[1:], strict=True))
        console.print(plain(f"{row[0]}: {facts}"), highlight=False)


class _LogLines(logging.StreamHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (a method of logging)
        """Says nothing: standard error is this same log, and later the terminal."""


class StageLines(logging.Handler):
    """Turns stage starts, progress and ends into one terminal line each."""

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self._console = console
        self._status: Status | None = None
        self._name, self._started, self._newest = "", 0.0, ""
        self._warnings: list[str] = []

    def start(self, name: str) -> None:
        self._name, self._started, self._newest = name, time.monotonic(), ""
        self._status = self._console.status(f"{name} …")
        self._status.start()

    def emit(self, record: logging.LogRecord) -> None:
        if (record.levelno or 0) >= logging.WARNING:  # stays, below the stage's line
            self._warnings.append(record.getMessage())
            return
        self._newest = record.getMessage()
        if self._status is not None:
            self._status.update(f"{self._name}  [dim]{plain(self._newest)}[/dim]")

    def finish(self, mark: str = "[green]✓[/green]", note: str = "") -> None:
        if self._status is None:
            return
        self._status.stop()
        self._status = None
        seconds = time.monotonic() - self._started
        line = f"{mark} {self._name:<22} {seconds:7.1f} s  [dim]{plain(note or self._newest)}[/dim]"
        self._console.print(line, highlight=False)
        for warning in self._warnings:
            self._console.print(f"[yellow]![/yellow] {plain(warning, keep=chr(10))}", highlight=False, soft_wrap=True)
        self._warnings.clear()


class _Once(logging.Filter):
    """Lets each message pass once: every Beam job says the same of its options."""

    def __init__(self):
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        is_new = record.getMessage() not in self._seen
        self._seen.add(record.getMessage())
        return is_new


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[TextIO]:
    log = open(path, "a", encoding="utf-8")  # noqa: SIM115  (closed below, which may fail)
    try:
        yield log
    finally:
        with contextlib.suppress(OSError):  # what the disk has no room for must not hide why a command failed
            log.close()


@contextlib.contextmanager
def quiet(log_path: Path) -> Iterator[tuple[Console, StageLines]]:
    """Sends all output of libraries to a file, down to what C++ writes, and yields the real terminal.

    File descriptors, logging and warnings are as before afterwards, whatever happens.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(_QUIET)
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        _open_log(log_path) as log,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as terminal,
        warnings.catch_warnings(),
    ):
        saved = os.dup(1), os.dup(2)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        handler = _LogLines(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        warnings.simplefilter("ignore")
        console = make_console(terminal)
        lines = StageLines(console)
        once = _Once()
        PROGRESS.addHandler(lines)
        _BEAM_OPTIONS.addFilter(once)
        _BEAM_OPTIONS.addHandler(lines)
        try:
            yield console, lines
        finally:
            lines.finish("[red]✗[/red]")
            PROGRESS.removeHandler(lines)
            _BEAM_OPTIONS.removeHandler(lines)
            _BEAM_OPTIONS.removeFilter(once)
            root.handlers[:] = handlers
            root.setLevel(level)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):  # the disk may be full
                    stream.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
