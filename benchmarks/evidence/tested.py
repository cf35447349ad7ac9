"""The trials that were tested, and their ranks as statistics by user."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.evidence import inference
from benchmarks.evidence.inference import Statistic
from benchmarks.evidence.run import DETERMINISTIC
from benchmarks.evidence.trials import PAPER_BASELINES, Trial
from recsys_ssl.evaluation.slices import ITEM_SLICES

METRICS = ("recall_at_50", "recall_at_10", "map_at_10")
PRIMARY = "recall_at_50"

CONTROLS = ("none", *PAPER_BASELINES)
"""The regularizers that self-supervision has to beat: one Holm family with a treatment, per data set and share."""


class Evidence:
    """The trials that were tested, and their ranks as statistics by user."""

    def __init__(self, trials: Sequence[Trial], ranks: Path, tasks: Path):
        self._ranks, self._tasks = ranks, tasks
        self.tests: dict[tuple, dict[int, Trial]] = defaultdict(dict)
        for trial in trials:
            if trial.purpose == "test":
                self.tests[trial.dataset, trial.split_seed, trial.share, trial.arm][trial.seed] = trial
        self._task_cache: dict[tuple, tuple] = {}
        self._cache: dict[tuple, dict[str, Statistic | None]] = {}

    def seeds(self, dataset: str, share: float, arm: str, split_seed: int = 0) -> tuple[int, ...]:
        return tuple(sorted(self.tests.get((dataset, split_seed, share, arm), ())))

    def pairs(self, dataset: str, share: float, arm: str, column: str) -> float:
        """Held-out pairs of a slice, or of all for a metric; mean over seeds, since a share's counts differ."""
        part = column if column in ITEM_SLICES else "all"
        return float(np.mean([t.metrics[part]["pairs"] for t in self.tests[dataset, 0, share, arm].values()]))

    def statistics(
        self, dataset: str, share: float, arm: str, seeds: tuple[int, ...], split_seed: int = 0
    ) -> dict[str, Statistic | None]:
        """The arm's statistics over these seeds: METRICS, and Recall@50 by item slice (None without a pair)."""
        key = (dataset, split_seed, share, arm, seeds)
        if key not in self._cache:
            tests = self.tests[key[:4]]
            sums = [self._sums(tests[seed]) for seed in seeds]
            self._cache[key] = {
                name: inference.measure(*(np.stack(part) for part in zip(*(of_seed[name] for of_seed in sums))))
                for name in sums[0]
            }
        return self._cache[key]

    def pair(
        self, dataset: str, share: float, treatment: str, control: str, split_seed: int = 0
    ) -> tuple[dict[str, Statistic | None], dict[str, Statistic | None], int] | None:
        """Both arms' statistics over their common seeds, and how many; None where no error can be had.

        A deterministic arm at share 1.0 stands beside every seed. Other arms need two seeds in common.
        """
        arms = (treatment, control)
        own = [self.seeds(dataset, share, arm, split_seed) for arm in arms]
        fixed = [share == 1.0 and arm in DETERMINISTIC for arm in arms]
        drawn = [set(seeds) for seeds, same in zip(own, fixed) if not same]
        common = tuple(sorted(set.intersection(*drawn))) if drawn else ()
        if not all(own) or (drawn and len(common) < 2):
            return None
        found = [
            self.statistics(dataset, share, arm, seeds[:1] if same else common, split_seed)
            for arm, seeds, same in zip(arms, own, fixed)
        ]
        return found[0], found[1], max(len(common), 1)

    def _sums(self, trial: Trial) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        offsets, cluster, user, num_users = self._task(trial.dataset, trial.split_seed)
        path = self._ranks / f"{trial.key}.npz"
        if not path.exists():
            raise ValueError(
                f"{path} must hold the ranks of a trial of {trial.arm} on {trial.dataset}. It is missing. "
                "Run python -m benchmarks.evidence.run, or make the tables again with --from-json."
            )
        with np.load(path) as stored:
            ranks, slices = stored["ranks"], stored["slices"]
        if len(ranks) != len(user):
            raise ValueError(f"{path} must hold a rank for each of {len(user)} pairs. Received: {len(ranks)}.")
        by_user = inference.recall_by_user
        sums = {
            "recall_at_50": by_user(ranks, user, num_users, 50),
            "recall_at_10": by_user(ranks, user, num_users, 10),
            "map_at_10": inference.average_precision_by_user(ranks, offsets, cluster, num_users, 10),
        }
        for index, name in enumerate(ITEM_SLICES):
            sums[name] = by_user(ranks, user, num_users, 50, slices == index)
        for name in METRICS:
            again, recorded = sums[name][0].sum() / sums[name][1].sum(), trial.metrics["all"][name]
            if not math.isclose(again, recorded, rel_tol=1e-4, abs_tol=1e-6):
                raise ValueError(f"{path} must give the trial's {name} {recorded}. Received: {again}. Run it again.")
        return sums

    def _task(self, dataset: str, split_seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        if (dataset, split_seed) not in self._task_cache:
            with np.load(self._tasks / f"{dataset}-{split_seed}.npz") as stored:
                offsets, cluster = stored["offsets"], stored["cluster"]
            users, cluster = np.unique(cluster, return_inverse=True)
            user = np.repeat(cluster, np.diff(offsets))
            self._task_cache[dataset, split_seed] = (offsets, cluster, user, len(users))
        return self._task_cache[dataset, split_seed]
