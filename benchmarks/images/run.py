"""Runs the trials of the study of images: every arm trains for the same number of core-seconds.

    python -m benchmarks.images.run --data DIR --budget-core-seconds 720 --seeds 3

DIR holds the IDX files of Fashion-MNIST, as Debian has them: `apt-get download dataset-fashion-mnist`, then `dpkg -x`.
A trial that stands in `benchmarks/results/images/trials.jsonl` is not run again. 13 arms of three seeds take about 30
times the budget (three arms train nothing), and a minute or two each for probes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import records
from benchmarks.images.datasets import LabelledImages, read_labelled
from benchmarks.images.trials import ARMS, TRIALS, UNTRAINED, Trial, read_trials, run_trial

SEEDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of the IDX files, plain or .gz")
    parser.add_argument("--budget-core-seconds", type=float, default=720.0, help="of training, for each trial")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--probe-size", type=int, default=10_000, help="training records that probes see")
    parser.add_argument("--trials", type=Path, default=TRIALS, help="file that receives a line per trial")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        data = read_labelled(options.data)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    pending = list_pending(
        read_trials(options.trials), options.arms, options.seeds, options.budget_core_seconds, options.probe_size, data
    )
    options.trials.parent.mkdir(parents=True, exist_ok=True)
    records.end_last_line(options.trials)
    for number, trial in enumerate(pending, start=1):
        done = run_trial(trial, data)
        with options.trials.open("a", encoding="utf-8") as file:
            file.write(done.to_json() + "\n")
        print(f"{number}/{len(pending)}  {done.describe()}", flush=True)
    return 0


def list_pending(
    done: Sequence[Trial], arms: Sequence[str], seeds: int, budget: float, probe_size: int, data: LabelledImages
) -> list[Trial]:
    """The trials that are not done, all arms of a seed before the next; untrained arms have no budget."""
    known, digest = {trial.key for trial in done}, data.digest
    planned = [
        Trial(arm, seed, digest, 0.0 if arm in UNTRAINED else budget, probe_size)
        for seed in range(seeds)
        for arm in arms
    ]
    return [trial for trial in planned if trial.key not in known]


if __name__ == "__main__":
    sys.exit(main())
