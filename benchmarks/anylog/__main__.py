"""Any log: what a stranger has is read, or told of in a line.

python -m benchmarks.anylog cases --cases DIR    every case with its right outcome, as a table
python -m benchmarks.anylog fuzz-logs            1,000 malformed logs
python -m benchmarks.anylog fuzz-specs           1,000 malformed specs
python -m benchmarks.anylog logs                 four kinds of logs, each from file to recommendations
python -m benchmarks.anylog write                the claims of what was run, in benchmarks/results/anylog.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmarks.anylog import results

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Examples = Annotated[int, typer.Option(min=1, help="Inputs to generate.")]
Seed = Annotated[int, typer.Option(help="Of the generator; an input is the same for the same seed.")]


@app.command()
def cases(
    directory: Annotated[Path, typer.Option("--cases", help="Directory with a folder a case.", exists=True)],
    only: Annotated[str, typer.Option(help="Globs over the names of cases, separated by commas.")] = "*",
    jobs: Annotated[int, typer.Option(min=1, help="Cases at a time.")] = 1,
    newest: Annotated[
        Optional[str], typer.Option(help="Python with the newest TensorFlow and Keras, for the case that asks for it.")
    ] = None,
    log: Annotated[Optional[Path], typer.Option(help="Receives a JSON line a case.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Keep the share for the claims and write them.")] = False,
) -> None:
    """Runs every case and compares its outcome with the right one."""
    from benchmarks.anylog.cases import run_cases

    if json_ and only != "*":
        raise typer.BadParameter("the share is one of all cases. Leave --only out.")
    started, found = time.perf_counter(), []
    print("| Case | Right outcome | What came out | ok |\n|---|---|---|---|")
    for result in run_cases(directory, only, jobs, newest):
        found.append(result)
        cells = (result.case, result.right, result.came, "; ".join(result.faults) or "yes")
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |", flush=True)
        if log:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(result._asdict(), ensure_ascii=False) + "\n")
    share = results.share_right(found)
    print(f"\n{share:.1%} of {len(found)} cases are right.")
    if json_:
        seconds = time.perf_counter() - started
        results.keep_cases(found, "python -m benchmarks.anylog cases --cases DIR --json", seconds)
        results.write_claims({})
    sys.exit(share < 1.0)


@app.command()
def fuzz_logs(
    examples: Examples = 1000,
    seed: Seed = 0,
    whole_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of them goes through the whole `ingest`, not its readers alone.")
    ] = 0.1,
    keep: Annotated[Optional[Path], typer.Option(help="Receives the files of those that go wrong, made small.")] = None,
) -> None:
    """Reads generated logs: no trace, no hang, no record lost."""
    from benchmarks.anylog.fuzz_logs import fuzz

    started = time.perf_counter()
    found = fuzz(examples, seed, whole_share, keep)
    _report("fuzz-logs", found, f"--examples {examples} --seed {seed}", started)


@app.command()
def fuzz_specs(examples: Examples = 1000, seed: Seed = 0) -> None:
    """Loads generated specs: no trace, no hang."""
    from benchmarks.anylog.fuzz_specs import fuzz

    started = time.perf_counter()
    _report("fuzz-specs", fuzz(examples, seed), f"--examples {examples} --seed {seed}", started)


@app.command()
def logs(
    data: Annotated[
        Path, typer.Option(help="MovieLens-100K as `recsys-ssl data movielens-100k` leaves it.", exists=True)
    ] = Path("build/data/movielens-100k"),
    workdir: Annotated[Path, typer.Option(help="Receives logs, specs and runs.")] = Path("build/anylog/logs"),
    only: Annotated[str, typer.Option(help="A glob over the kinds.")] = "*",
) -> None:
    """Takes logs of four kinds from file to recommendations by `new-spec` and `run` alone."""
    from benchmarks.anylog.logs import run_logs

    faults = 0
    for name, fault, seconds in run_logs(data, workdir, only):
        print(f"{name:<20} {fault or 'recommends'}  {seconds:.0f} s", flush=True)
        faults += fault is not None
    sys.exit(faults > 0)


@app.command()
def write(
    py311: Annotated[Optional[Path], typer.Option(help="junit file of the tests with the lock of Python 3.11.")] = None,
    py313: Annotated[Optional[Path], typer.Option(help="The same of Python 3.13.")] = None,
) -> None:
    """Writes the claims of what the other commands have found."""
    junits = {name: path for name, path in (("py311", py311), ("py313", py313)) if path}
    for claim in results.write_claims(junits):
        print(f"{claim.id}: {claim.value:.4g}")


def _report(name: str, found: results.FuzzResult, options: str, started: float) -> None:
    seconds = time.perf_counter() - started
    for example in found.examples_of_traces:
        print(example)
    print(f"{found.traces} of {found.inputs:,} inputs went wrong; {seconds:.0f} s")
    results.keep_fuzz(name, found, f"python -m benchmarks.anylog {name} {options}", seconds)
    sys.exit(found.traces > 0)


if __name__ == "__main__":
    app()
