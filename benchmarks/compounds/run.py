"""Runs the trials of the study: tunes every item tower with the same budget, then tests it with three seeds.

python -m benchmarks.compounds.run --model WORKDIR/encoder     everything that is missing
python -m benchmarks.compounds.run --arms id ecfp              arms without a pre-trained encoder

Two processes of one thread each. A trial that stands in `benchmarks/results/compounds/trials.jsonl` is not run again;
one that was killed goes on at its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compounds.datasets import DATA, WORK, prepare
from benchmarks.compounds.trials import ARMS, TRIALS, Trial, describe_encoder, read_trials, run_trial
from benchmarks.evidence.run import search_by_coordinate
from benchmarks.processes import run_all

SEEDS = 3
Encoders = Mapping[str, Mapping[str, Any]]
"""`scratch` and `pretrained` -> what `Trial.encoder` says of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="directory of the pre-trained encoder; its sizes are those of all")
    parser.add_argument("--data", type=Path, default=DATA, help="directory of activities.csv and compounds.csv")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=Path, default=TRIALS, help="file that receives a line per trial")
    parser.add_argument("--work", type=Path, default=WORK, help="receives encoded data, checkpoints and ranks")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with_encoder = [arm for arm in options.arms if ARMS[arm].encoder is not None]
    if with_encoder and options.model is None:
        names = ", ".join(with_encoder)
        print(f"{names} must have a pre-trained encoder. Received none. Pass --model, or name --arms.", file=sys.stderr)
        return 1
    try:
        encoders = describe_encoder(options.model) if with_encoder else {}
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    run = partial(run_trial, model=options.model, work=options.work)
    # Each round runs what the trials before it have made known: a search step needs the best so far.
    while pending := list_pending(read_trials(options.trials), options.arms, options.seeds, encoders):
        prepare(options.data, options.work)
        run_all(pending, run, options.trials, options.workers)
    return 0


def list_pending(done: Sequence[Trial], arms: Sequence[str], seeds: int, encoders: Encoders) -> list[Trial]:
    """The trials that can be run now: the next step of an arm's search, or its tests once the search is over.

    The arms that train an encoder are first: no process then waits long for the last trial of another.
    """
    known = {trial.key for trial in done}
    slow_first = sorted(arms, key=lambda arm: not ARMS[arm].trains_encoder)
    planned = [trial for arm in slow_first for trial in _plan(done, arm, seeds, encoders)]
    return [trial for trial in planned if trial.key not in known]


def _plan(done: Sequence[Trial], arm: str, seeds: int, encoders: Encoders) -> Iterator[Trial]:
    encoder = encoders[ARMS[arm].encoder] if ARMS[arm].encoder else {}
    found = {trial.key: trial.validation_recall_at_50 for trial in done}
    best, missing = search_by_coordinate(
        found, ARMS[arm].search, lambda settings: Trial("tune", arm, settings=settings, encoder=encoder)
    )
    if missing:
        yield from missing
        return
    for seed in range(seeds):
        yield Trial("test", arm, seed, best, encoder)


if __name__ == "__main__":
    sys.exit(main())
