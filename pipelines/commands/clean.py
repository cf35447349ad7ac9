"""The command `clean`: what killed runs left in a working directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.session import fail, readable
from pipelines.locks import locked


def clean(
    workdir: Annotated[Path, typer.Option("--workdir", help="Where runs were killed.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List only, remove nothing.")] = False,
) -> None:
    """Removes what killed runs left: unfinished files, and outputs that were not made again.

    [dim]recsys-ssl clean --workdir build/demo --dry-run[/dim]
    """
    if not os.path.isdir(workdir):  # which raises nothing at a name that is too long
        name = str(workdir) if len(str(workdir)) <= 200 else f"{str(workdir)[:97]}..."
        fail(f"--workdir must be a directory. Received: {name!r}. Check the path.")
    from pipelines.leftovers import cancel_executions, find_leftovers, remove

    with readable(), locked(workdir, "clean"), find_leftovers(workdir) as (leftovers, at_work):
        for leftover in leftovers:
            typer.echo(f"{leftover.num_bytes:>15,}  {leftover.path.relative_to(workdir)}  ({leftover.what})")
            if not dry_run:
                remove(leftover)
        for path in at_work:
            typer.echo(f"{'skipped':>15}  {path.relative_to(workdir)}  (a command is at work there)")
        if not dry_run and (cancelled := cancel_executions(workdir)):
            typer.echo(f"{cancelled:,} executions that had not finished are marked as cancelled")
    verb = "would be removed" if dry_run else "removed"
    total = sum(leftover.num_bytes for leftover in leftovers)
    typer.echo(f"{len(leftovers):,} leftovers, {total:,} bytes {verb}")
