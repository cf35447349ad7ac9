"""Runs the trials of the study of images: every arm trains for the same cost.

    python -m benchmarks.images.run --data DIR                                          everything that is missing
    python -m benchmarks.images.run --data DIR --budget-core-seconds 450 --arms contrast
    python -m benchmarks.images.run --data DIR --budget-core-seconds 450 --arms contrast --final-share 0.1

DIR holds the IDX files of Fashion-MNIST, as Debian has them: `apt-get download dataset-fashion-mnist`, then `dpkg -x`.
Learning rates are chosen on validation, three values for every arm, by short trials with one seed; the test is then
read once for each seed. A trial that stands in `benchmarks/results/images/trials.jsonl` is not run again. Two
processes of one thread each; all arms take some three hours of one core.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.images import costs
from benchmarks.images.datasets import read_labelled
from benchmarks.images.trials import (
    ARMS,
    BUDGET,
    FINAL_SHARE,
    FINETUNED,
    LABEL_RATES,
    OBJECTIVES,
    RATES,
    SETTINGS,
    TRIALS,
    TUNE_BUDGET,
    UNTRAINED,
    WORK,
    Trial,
    count_steps,
    read_trials,
    run_trial,
)
from benchmarks.processes import run_all

SEEDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of the IDX files, plain or .gz")
    parser.add_argument("--budget-core-seconds", type=float, default=BUDGET, help="of training, for each test")
    parser.add_argument("--tune-core-seconds", type=float, default=TUNE_BUDGET, help="the same for each learning rate")
    parser.add_argument("--final-share", type=float, default=FINAL_SHARE, help="of the largest learning rate")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--encoders", type=int, help="that fine-tuning begins with, in turn; one for each seed")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=Path, default=TRIALS, help="file that receives a line per trial")
    parser.add_argument("--costs", type=Path, default=costs.COSTS, help="file of what steps cost; made when missing")
    parser.add_argument("--work", type=Path, default=WORK, help="receives vectors and pre-trained weights")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        data = read_labelled(options.data)
        of_steps = costs.measure(data, (*OBJECTIVES, costs.CLASSIFIER), options.costs)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    budgets = (options.budget_core_seconds, options.tune_core_seconds)
    plan = Plan(data.digest, *budgets, of_steps, options.final_share, options.encoders)
    run = partial(run_trial, data=data, work=options.work)
    # Each round runs what the trials before it have made known: a test needs the rates that were chosen.
    while pending := plan.list_pending(read_trials(options.trials), options.arms, options.seeds):
        run_all(pending, run, options.trials, options.workers)
    return 0


class Plan:
    """Which trials a study is made of."""

    def __init__(
        self,
        digest: str,
        budget: float,
        tune_budget: float,
        of_steps: Mapping[str, float],
        final_share: float = FINAL_SHARE,
        encoders: int | None = None,
    ):
        """Takes what names the data, core-seconds of tests and of tuning, and what a step of each kind costs."""
        self._encoders = encoders
        self._digest, self._budget, self._tune_budget, self._of_steps = digest, budget, tune_budget, of_steps
        self._settings = SETTINGS if final_share == FINAL_SHARE else {**SETTINGS, "final_share": final_share}

    def list_pending(self, done: Sequence[Trial], arms: Sequence[str], seeds: int) -> list[Trial]:
        """The trials that can be run now and are not done: tuning first, then all arms of a seed before the next."""
        known = {trial.key for trial in done}
        # Fine-tuning begins with what contrast makes, at the rate that was chosen for it.
        needed = dict.fromkeys([*arms, *(["contrast"] if set(arms) & set(FINETUNED) else [])])
        tuning = [trial for arm in needed for trial in self._tune(done, arm)]
        tests = [trial for seed in range(seeds) for arm in arms for trial in self._test(done, arm, seed)]
        return [trial for trial in [*tuning, *tests] if trial.key not in known]

    def choose_rate(self, done: Sequence[Trial], arm: str) -> float | None:
        """The rate with the best validation, of equals the smallest; None while trials are missing."""
        known = {trial.key: trial for trial in done}
        tried = [known.get(trial.key) for trial in self._tune(done, arm)]
        if not tried or None in tried:
            return None
        best = max(tried, key=lambda trial: (trial.score, -trial.rates[_part(arm)]))
        return best.rates[_part(arm)]

    def _tune(self, done: Sequence[Trial], arm: str) -> Iterator[Trial]:
        if arm in UNTRAINED:
            return
        before = 0.0
        if arm in FINETUNED and not (before := self.choose_rate(done, "contrast") or 0.0):
            return
        for rate in RATES if arm in OBJECTIVES else LABEL_RATES:
            yield self._trial("tune", arm, 0, self._tune_budget, (rate, 0.0) if arm in OBJECTIVES else (before, rate))

    def _test(self, done: Sequence[Trial], arm: str, seed: int) -> Iterator[Trial]:
        if arm in UNTRAINED:
            yield self._trial("test", arm, seed, 0.0, (0.0, 0.0))
        elif rate := self.choose_rate(done, arm):
            before = self.choose_rate(done, "contrast") if arm in FINETUNED else 0.0
            rates = (rate, 0.0) if arm in OBJECTIVES else (before or 0.0, rate)
            yield self._trial("test", arm, seed, self._budget, rates)

    def _trial(self, purpose: str, arm: str, seed: int, budget: float, rates: tuple[float, float]) -> Trial:
        steps = count_steps(arm, budget, self._of_steps)
        settings = self._settings
        if arm in FINETUNED and self._encoders is not None and seed >= self._encoders:
            settings = {**settings, "encoders": self._encoders}
        return Trial(purpose, arm, seed, self._digest, budget, steps, rates, settings)


def _part(arm: str) -> int:
    """Of the two trainings that whose rate is chosen."""
    return 0 if arm in OBJECTIVES else 1


if __name__ == "__main__":
    sys.exit(main())
