"""What all commands share: options, a quiet terminal, and errors of one message."""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.console import StageLines, quiet
from pipelines.workdir import without_glob

SpecPath = Annotated[Path, typer.Argument(help="Feature spec, a YAML file.", show_default=False)]
DataDir = Annotated[Path, typer.Option("--data", help="Directory where the paths of the spec begin.")]
WorkDir = Annotated[
    Path,
    typer.Option("--workdir", help="Receives everything that the run makes.", callback=lambda path: _as_workdir(path)),
]
Settings = Annotated[
    Optional[list[str]], typer.Option("--set", help="A setting, e.g. train.steps=2000; may be repeated.")
]
BeamArgs = Annotated[
    Optional[list[str]],
    typer.Option("--beam", help="An option of the Beam runner, e.g. --beam=--direct_num_workers=2; may be repeated."),
]


@contextlib.contextmanager
def session(workdir: Path, name: str) -> Iterator[tuple[Console, StageLines]]:
    """A quiet terminal; every failure becomes one message and exit status 1, its trace goes to WORKDIR/logs."""
    log_path = workdir / "logs" / f"{name.split()[0]}.log"
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--workdir must be a directory that can be written to. Received: {str(workdir)!r}: {error.strerror}.")
    message = None
    with quiet(log_path) as (console, lines):
        try:
            yield console, lines
        except (Exception, KeyboardInterrupt) as error:
            logging.getLogger("recsys_ssl").exception("failed")
            message = _explain(error, log_path)
    if message is not None:
        fail(message)


@contextlib.contextmanager
def stage(workdir: Path, name: str) -> Iterator[Callable[..., str]]:
    """A session with one line; yields the function that names places in the working directory."""
    with session(workdir, name) as (_, lines):
        lines.start(name)
        yield lambda *parts: os.path.join(str(workdir), *parts)
        lines.finish()


def _as_workdir(path: Path) -> Path:
    try:
        return without_glob(path)
    except OSError as error:
        why = error.strerror or error
        fail(f"--workdir must be a directory that can be written to. Received: {str(path)!r}: {why}.")


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Errors of one message for a command that needs no quiet terminal."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Prints a message and ends the process with status 1."""
    Console(stderr=True).print(f"[red]error:[/red] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def require_dir(path: Path) -> None:
    """Raises FileNotFoundError when `--data` is no directory."""
    if not path.is_dir():
        raise FileNotFoundError(f"--data must be a directory. Received: {str(path)!r}. Check the path.")


def require_file(path: Path) -> None:
    """Raises ValueError when `--to` is a directory."""
    if path.is_dir():
        raise ValueError(f"--to must be a file. Received: the directory {str(path)!r}. Name a file in it.")


def _explain(error: BaseException, log_path: Path) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted. Run the same command again to go on."
    # Messages of this project say what to do; those of a library need the log.
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    ours = isinstance(error, (FileNotFoundError, ValueError)) and _is_ours(frame.f_code.co_filename)
    return str(error) if ours else f"{type(error).__name__}: {error}\nThe whole story is in {log_path}."


def _is_ours(source: str) -> bool:
    """Whether a source file belongs to `pipelines` or `recsys_ssl`."""
    root = Path(__file__).resolve().parent.parent.parent
    return any(Path(source).resolve().is_relative_to(root / package) for package in ("pipelines", "recsys_ssl"))
