"""What all commands share: options, a quiet terminal, and errors of one message."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import typer
from rich.console import Console

from pipelines.commands.failures import explain, explain_plainly
from pipelines.commands.signals import Ended, describe_end, ends_on_signals
from pipelines.console import StageLines, plain, quiet
from pipelines.locks import locked
from pipelines.workdir import without_glob

SpecPath = Annotated[Path, typer.Argument(help="Feature spec, a YAML file.", show_default=False)]
DataDir = Annotated[Path, typer.Option("--data", help="Directory where the paths of the spec begin.")]
WorkDir = Annotated[
    Path,
    typer.Option("--workdir", help="Receives everything that the run makes.", callback=lambda path: _as_workdir(path)),
]
Settings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        help="A setting, e.g. train.steps=2000, or @FILE with one a line, as `tune` writes it; may be repeated.",
        callback=lambda given: _read_settings(given),
    ),
]
BeamArgs = Annotated[
    Optional[list[str]],
    typer.Option("--beam", help="An option of the Beam runner, e.g. --beam=--direct_num_workers=2; may be repeated."),
]


@contextlib.contextmanager
def session(
    workdir: Path, name: str, is_alone: bool = False, part: str | None = None
) -> Iterator[tuple[Console, StageLines]]:
    """A quiet terminal; every failure becomes one message and exit status 1, its trace goes to WORKDIR/logs.

    Ctrl-C and SIGTERM end it, with the statuses 130 and 143.

    Args:
        is_alone: whether no other such command may work in the directory.
        part: see `locks.locked`.
    """
    log_path, failure = workdir / "logs" / f"{name.split()[0]}.log", None
    try:
        with ends_on_signals(), contextlib.ExitStack() as stack:
            _make_dir(log_path.parent, workdir)
            if is_alone:
                stack.enter_context(locked(workdir, name, part))
            console, lines = stack.enter_context(quiet(log_path))
            try:
                yield console, lines
            except (Exception, KeyboardInterrupt):
                logging.getLogger("recsys_ssl").exception("failed")
                raise
    except (Exception, KeyboardInterrupt) as error:
        failure = explain(error, log_path)
    if failure is not None:
        fail(*failure)


def _make_dir(path: Path, workdir: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
            raise
        raise ValueError(_no_workdir(workdir, error)) from None


def _no_workdir(workdir: Path, error: OSError) -> str:
    why = str(error.strerror or error)
    for path in (workdir, *workdir.parents):
        # Unlike Path's, these functions raise nothing at a name that is too long.
        if os.path.islink(path) and not os.path.exists(path):
            why = f"{path} is a link to what is not there"
    name = str(workdir) if error.errno != errno.ENAMETOOLONG else f"{str(workdir)[:97]}..."
    return f"--workdir must be a directory that can be written to. Received: {name!r}: {why}."


@contextlib.contextmanager
def stage(workdir: Path, name: str, part: str | None = None) -> Iterator[Callable[..., str]]:
    """A session with one line; yields the function that names places in the working directory."""
    with session(workdir, name, is_alone=True, part=part) as (_, lines):
        lines.start(name)
        yield lambda *parts: os.path.join(str(workdir), *parts)
        lines.finish()


def _as_workdir(path: Path) -> Path:
    if re.match(r"[a-z][a-z0-9+.-]*:/", str(path)):
        fail(f"--workdir must be a directory of this machine. Received: {str(path)!r}. Mount it, or copy it later.")
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.lstat()
        return without_glob(path)
    except OSError as error:
        fail(_no_workdir(path, error))


def _read_settings(given: Optional[list[str]]) -> list[str]:
    """The settings, with the lines of a file in the place of its name; lines that begin with # say nothing."""
    found = []
    for setting in given or []:
        if not setting.startswith("@"):
            found.append(setting)
            continue
        try:
            lines = Path(setting[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "no text"
            fail(f"--set @FILE must name a file with a setting a line. Received: {setting!r}: {why}. Check the path.")
        found += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return found


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Errors of one message for a command that needs no quiet terminal."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(explain_plainly(error) or str(error))


def tells_its_end(command: Callable[..., None]) -> Callable[..., None]:
    """A command that says in one line that a signal ended it, whether or not it has a session."""

    @functools.wraps(command)
    def run(*args, **kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Ended as ended:
            fail(describe_end(ended.status), ended.status)

    return run


def fail(message: str, status: int = 1) -> NoReturn:
    """Prints a message and ends the process."""
    Console(stderr=True).print(f"[red]error:[/red] {plain(message, keep=chr(10))}", highlight=False, soft_wrap=True)
    raise typer.Exit(status)


def require_dir(path: Path) -> None:
    """Raises FileNotFoundError when `--data` is no directory."""
    if not path.is_dir():
        raise FileNotFoundError(f"--data must be a directory. Received: {str(path)!r}. Check the path.")


def require_file(path: Path, data: Path) -> None:
    """Raises ValueError when `--to` is a directory, or the file `--data` that is read."""
    if path.exists() and data.exists() and path.samefile(data):
        raise ValueError(f"--to must be another file than --data. Received: {str(path)!r} for both. Name a new file.")
    if path.is_dir():
        raise ValueError(f"--to must be a file. Received: the directory {str(path)!r}. Name a file in it.")
