"""Runs committed tests of the evidence again and compares what comes out, digit by digit.

python -m benchmarks.reproduce                                       two logs, all their data and a tenth, one seed
python -m benchmarks.reproduce --datasets debian --arms none --seeds 3

The data sets must lie in `build/data/NAME` (`recsys-ssl data NAME --to build/data/NAME`). A test is identical when its
validation Recall@50, its best and its last step and all of its metrics are those of the committed line, whose numbers
have six digits. Draws are functions of the seed, and each test runs on one thread as it did then. OpenBLAS, which
solves the least squares of iALS, would choose its kernels by the CPU and sum in another order on one with AVX-512, so
the tests run on those of AVX2 wherever they run.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import RESULTS, record
from benchmarks.evidence.datasets import DATASETS, prepare
from benchmarks.evidence.run import SEEDS, SHARES, drop_replaced
from benchmarks.evidence.trials import ARMS, RECOMMENDED, TRIALS, Trial, read_trials, run_trial
from benchmarks.processes import run_each

COMMAND = "python -m benchmarks.reproduce"
OUTCOME = ("validation_recall_at_50", "best_step", "last_step", "metrics")
"""What is compared; seconds are the machine's."""


def main(arguments: Sequence[str] | None = None, trials: Path = TRIALS, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=["wikispeedia", "frappe"])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["none", RECOMMENDED, "cfm", "ials"])
    parser.add_argument("--shares", nargs="+", type=float, choices=SHARES, default=list(SHARES))
    parser.add_argument("--seeds", type=int, choices=range(1, len(SEEDS) + 1), default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    committed = select(read_trials(trials), options.datasets, options.arms, options.shares, options.seeds)
    if not committed:
        print(f"{trials} must hold tests of these arms. Received none. Name other --arms.", file=sys.stderr)
        return 1
    for name in options.datasets:
        prepare(name)

    os.environ["OPENBLAS_CORETYPE"] = "Haswell"
    differing = 0
    pending = [forget(trial) for trial in committed.values()]
    for progress, found in run_each(pending, run_trial, options.workers):
        differences = list(compare(committed[found.key], found))
        differing += bool(differences)
        verdict = f"DIFFERENT: {'; '.join(differences)}" if differences else "identical"
        print(f"{progress}  {found.dataset} {found.share:g} {found.arm} seed {found.seed}: {verdict}", flush=True)
    print(f"{len(committed) - differing} of {len(committed)} are identical")
    record(
        "house",
        id="trials_identical",
        what=f"share of {len(committed)} committed tests that come out the same to the last digit when run again: "
        f"{', '.join(options.arms)} on {' and '.join(options.datasets)}",
        value=1 - differing / len(committed),
        command=" ".join([COMMAND, *(sys.argv[1:] if arguments is None else arguments)]),
        seconds=time.monotonic() - started,
        results=results,
    )
    return int(differing > 0)


def select(
    trials: Sequence[Trial], datasets: Sequence[str], arms: Sequence[str], shares: Sequence[float], seeds: int
) -> dict[str, Trial]:
    """Key -> test on the first split of these data sets, arms and shares, of the first `seeds` seeds."""
    return {
        trial.key: trial
        for trial in drop_replaced(trials)
        if trial.purpose == "test"
        and trial.split_seed == 0
        and trial.dataset in datasets
        and trial.arm in arms
        and trial.share in shares
        and trial.seed < seeds
    }


def forget(trial: Trial) -> Trial:
    """The trial as it was before it was run."""
    defaults = {field.name: field.default for field in dataclasses.fields(Trial)}
    return dataclasses.replace(trial, seconds=0.0, **{name: defaults[name] for name in OUTCOME})


def compare(committed: Trial, found: Trial) -> Iterator[str]:
    """What differs, each as a text; figures that the committed trial did not have are not compared."""
    before, now = (dict(_flatten({name: getattr(trial, name) for name in OUTCOME})) for trial in (committed, found))
    for name in sorted(before):
        if before[name] != now.get(name):
            yield f"{name} {before[name]}, now {now.get(name)}"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


if __name__ == "__main__":
    sys.exit(main())
