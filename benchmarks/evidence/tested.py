"""The trials that were tested, and their ranks as statistics by user."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.evidence.run import DETERMINISTIC
from benchmarks.evidence.trials import Trial
from recsys_ssl.evaluation import crossed, metrics
from recsys_ssl.evaluation.crossed import Statistic
from recsys_ssl.evaluation.slices import ITEM_SLICES

METRICS = ("recall_at_50", "recall_at_10", "map_at_10")
"""What arms are compared in, pair by pair."""
PRIMARY = "recall_at_50"

Sums = tuple[np.ndarray, np.ndarray]
"""Numerator and denominator of a metric by user, each [num_users] float64."""


class Queries(NamedTuple):
    """Which ranks and rankings of a test belong to which user."""

    offsets: np.ndarray
    """[num_rankings + 1] int64, the pairs of each ranking."""
    cluster: np.ndarray
    """[num_rankings] int64 user."""
    user: np.ndarray
    """[num_pairs] int64 user."""
    num_users: int


class Evidence:
    """The trials that were tested, and their ranks as statistics by user."""

    def __init__(self, trials: Sequence[Trial], ranks: Path, tasks: Path):
        self._ranks, self._tasks = ranks, tasks
        self.tests: dict[tuple, dict[int, Trial]] = defaultdict(dict)
        for trial in trials:
            if trial.purpose == "test":
                self.tests[trial.dataset, trial.split_seed, trial.share, trial.arm][trial.seed] = trial
        self._task_cache: dict[tuple, Queries] = {}
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
                name: crossed.measure(*(np.stack(part) for part in zip(*(of_seed[name] for of_seed in sums))))
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

    def _sums(self, trial: Trial) -> dict[str, Sums]:
        queries = self._task(trial.dataset, trial.split_seed)
        path = self._ranks / f"{trial.key}.npz"
        if not path.exists():
            raise ValueError(
                f"{path} must hold the ranks of a trial of {trial.arm} on {trial.dataset}. It is missing. "
                "Run python -m benchmarks.evidence.run, or make the tables again with --from-json."
            )
        return sum_by_user(path, queries, trial.metrics["all"])

    def _task(self, dataset: str, split_seed: int) -> Queries:
        if (dataset, split_seed) not in self._task_cache:
            self._task_cache[dataset, split_seed] = read_queries(self._tasks / f"{dataset}-{split_seed}.npz")
        return self._task_cache[dataset, split_seed]


def read_queries(path: Path) -> Queries:
    """What `judge_ranks` wrote to `task_path`."""
    with np.load(path) as stored:
        offsets, cluster = stored["offsets"], stored["cluster"]
    users, cluster = np.unique(cluster, return_inverse=True)
    return Queries(offsets, cluster, np.repeat(cluster, np.diff(offsets)), len(users))


def sum_by_user(path: Path, queries: Queries, recorded: Mapping[str, float]) -> dict[str, Sums]:
    """Numerators and denominators of METRICS, and of Recall@50 by item slice, for `crossed.measure`.

    Args:
        path: the ranks of a test, as `judge_ranks` wrote them.
        recorded: metric -> value of the test; the ranks must give it again.

    Raises:
        ValueError: the ranks are those of another task or test.
    """
    with np.load(path) as stored:
        ranks, slices = stored["ranks"], stored["slices"]
    user, num_users = queries.user, queries.num_users
    if len(ranks) != len(user):
        raise ValueError(f"{path} must hold a rank for each of {len(user)} pairs. Received: {len(ranks)}.")
    sums = {
        "recall_at_50": recall_by_user(ranks, user, num_users, 50),
        "recall_at_10": recall_by_user(ranks, user, num_users, 10),
        "map_at_10": average_precision_by_user(ranks, queries.offsets, queries.cluster, num_users, 10),
    }
    for index, name in enumerate(ITEM_SLICES):
        sums[name] = recall_by_user(ranks, user, num_users, 50, slices == index)
    for name in METRICS:
        again = sums[name][0].sum() / sums[name][1].sum()
        if not math.isclose(again, recorded[name], rel_tol=1e-4, abs_tol=1e-6):
            raise ValueError(f"{path} must give the trial's {name} {recorded[name]}. Received: {again}. Run it again.")
    return sums


def recall_by_user(
    ranks: np.ndarray, user: np.ndarray, num_users: int, k: int, inside: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the hits and the pairs of each user, each [num_users]; Recall@k is the ratio of their sums.

    Args:
        ranks: [num_pairs] float, 1 is best.
        user: [num_pairs] int in [0, num_users).
        inside: [num_pairs] bool, the pairs that count (an item slice); None for all.
    """
    counts = np.ones(len(ranks)) if inside is None else inside.astype(np.float64)
    hits = np.bincount(user, counts * (ranks <= k), minlength=num_users)
    return hits, np.bincount(user, counts, minlength=num_users)


def average_precision_by_user(
    ranks: np.ndarray, offsets: np.ndarray, cluster: np.ndarray, num_users: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sum of AP@k and the rankings of each user, each [num_users]; MAP@k is the ratio of their sums.

    Args:
        ranks: [num_pairs] float in CSR form, see `recsys_ssl.evaluation.metrics`.
        offsets: [num_rankings + 1] int.
        cluster: [num_rankings] int user in [0, num_users).
    """
    precision, rankings = metrics.average_precision(ranks, offsets, k)
    return np.bincount(cluster, precision, minlength=num_users), np.bincount(cluster, rankings, minlength=num_users)
