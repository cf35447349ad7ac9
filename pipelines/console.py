"""What a person sees: one line per stage on the terminal, everything else in a log file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from pipelines.progress import PROGRESS

_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "GLOG_minloglevel": "3",
    "PYTHONWARNINGS": "ignore",
}


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
            self._status.update(f"{self._name}  [dim]{escape(self._newest)}[/dim]")

    def finish(self, mark: str = "[green]✓[/green]", note: str = "") -> None:
        if self._status is None:
            return
        self._status.stop()
        self._status = None
        seconds = time.monotonic() - self._started
        self._console.print(
            f"{mark} {self._name:<22} {seconds:7.1f} s  [dim]{escape(note or self._newest)}[/dim]",
            highlight=False,
            no_wrap=True,
            overflow="ellipsis",
        )
        for warning in self._warnings:
            self._console.print(f"[yellow]![/yellow] {escape(warning)}", highlight=False, soft_wrap=True)
        self._warnings.clear()


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
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        warnings.simplefilter("ignore")
        console = Console(file=terminal)
        lines = StageLines(console)
        PROGRESS.addHandler(lines)
        try:
            yield console, lines
        finally:
            lines.finish("[red]✗[/red]")
            PROGRESS.removeHandler(lines)
            root.handlers[:] = handlers
            root.setLevel(level)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):  # the disk may be full
                    stream.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
