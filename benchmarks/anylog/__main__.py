"""Any log: what a stranger has, read or told of.

python -m benchmarks.anylog cases --cases DIR --json      every case with its right outcome
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmarks.anylog import results

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Json = Annotated[bool, typer.Option("--json", help="Record the claims in benchmarks/results/anylog.json.")]


@app.callback()
def _several() -> None:
    """Keeps the names of commands."""


@app.command()
def cases(
    directory: Annotated[Path, typer.Option("--cases", help="Directory with a folder a case.", exists=True)],
    only: Annotated[str, typer.Option(help="Globs over the names of cases, separated by commas.")] = "*",
    jobs: Annotated[int, typer.Option(min=1, help="Cases at a time.")] = 1,
    newest: Annotated[
        Optional[str], typer.Option(help="Python with the newest TensorFlow and Keras, for the case of that name.")
    ] = None,
    log: Annotated[Optional[Path], typer.Option(help="JSON lines of the results, one a case.")] = None,
    json_: Json = False,
) -> None:
    """Runs every case and compares its outcome with the right one."""
    from benchmarks.anylog.cases import run_cases

    started, found = time.perf_counter(), []
    print("| Case | Right outcome | What came out | ok |\n|---|---|---|---|")
    for result in run_cases(directory, only, jobs, newest):
        found.append(result)
        verdict = "; ".join(result.faults) or "yes"
        cells = (result.case, result.right, result.came, verdict)
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |", flush=True)
        if log:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(result._asdict(), ensure_ascii=False) + "\n")
    share = results.share_right(found)
    print(f"\n{share:.1%} of {len(found)} cases are right.")
    if json_:
        results.claim_cases(found, time.perf_counter() - started)
    sys.exit(share < 1.0)


if __name__ == "__main__":
    app()
