"""A first feature spec, guessed from files; nothing of TensorFlow or Beam is loaded."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines.commands.session import fail, readable
from pipelines.console import make_console, plain, show_table


def new_spec(
    files: Annotated[
        list[str], typer.Argument(help="A log and its tables: files, globs or directories.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Receives the spec.")] = Path("spec.yaml"),
    name: Annotated[
        Optional[str], typer.Option("--name", help="Of the data set; that of its directory if absent.")
    ] = None,
    query: Annotated[Optional[str], typer.Option("--query", help="Column of who chooses, e.g. the user.")] = None,
    item: Annotated[Optional[str], typer.Option("--item", help="Column of what is chosen.")] = None,
    time: Annotated[Optional[str], typer.Option("--time", help="Column of the time.")] = None,
    label: Annotated[Optional[str], typer.Option("--label", help="Column of a rating or of event types.")] = None,
) -> None:
    """Guesses a first feature spec from files, with a comment at every guess.

    It reads the first records of a file and some of the middle, never the whole. Options win over guesses.

    [dim]recsys-ssl new-spec ratings.dat movies.dat users.dat --out films.yaml[/dim]
    """
    from recsys_ssl.guessing.draft import draft_spec
    from recsys_ssl.guessing.roles import Options

    if out.exists():
        fail(f"--out must be a new file. Received: {str(out)!r}, which exists. Name another one or remove it.")
    if not out.parent.is_dir():
        fail(f"--out must be in a directory that is there. Received: {str(out)!r}. Make {str(out.parent)!r} first.")
    with readable():
        draft = draft_spec(files, Options(query, item, time, label), name)
        _check_loads(draft.text, out)
        out.write_text(draft.text, encoding="utf-8")
    console, columns = make_console(), ("key", "guess", "why")
    show_table(console, f"{out}: guessed", columns, draft.guesses, texts=columns)
    for file, why in draft.unused.items():
        console.print(plain(f"not used: {file}: {why}"), highlight=False, soft_wrap=True)
    inside = Path(draft.data_dir).is_relative_to(Path.cwd())
    data = shlex.quote(os.path.relpath(draft.data_dir) if inside else draft.data_dir)
    spec = shlex.quote(str(out))
    console.print("Read the comments of the spec, then:", highlight=False)
    for command in (
        f"recsys-ssl validate-spec {spec} --data {data}",
        f"recsys-ssl run {spec} --data {data} --workdir build/{draft.name}",
    ):
        console.print(plain(f"  {command}"), highlight=False, soft_wrap=True)


def _check_loads(text: str, out: Path) -> None:
    """Raises ValueError for a draft that is no spec, which no file is to hold."""
    from recsys_ssl.spec_files import SpecError, load_spec

    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / out.name
        draft.write_text(text, encoding="utf-8")
        try:
            load_spec(draft)
        except SpecError as error:
            told = str(error).replace(str(draft), "line")
            raise ValueError(
                f"{out} is not written: what was guessed is no valid spec. Name the columns by --query, --item, --time "
                f"and --label, or write the spec by hand: docs/own_data/spec.md.\n{told}"
            ) from error
