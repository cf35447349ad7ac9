"""A synthetic study: trials with ranks whose arms find pairs with known probabilities."""

import dataclasses

import numpy as np

from benchmarks.evidence import run, summary
from benchmarks.evidence.trials import RECOMMENDED, Trial
from recsys_ssl.evaluation.metrics import average_precision
from recsys_ssl.evaluation.slices import ITEM_SLICES

SEEDS = range(5)
PLAIN = ("feature_dropout", "spread_out", "dropout_only")
"""Regularisers that find no more than `none`."""
NUM_USERS, PAIRS_OF_A_USER = 80, 10
OFFSETS = np.arange(NUM_USERS * 2 + 1) * (PAIRS_OF_A_USER // 2)
CLUSTER = np.repeat(np.arange(NUM_USERS) + 100, 2)
# Chance that a pair of the arm is among the first 50, by arm; what is not here has 0.4.
RATES = {RECOMMENDED: 0.6, "cfm": 0.5, "popular": 0.2}


class Study:
    """Synthetic trials with their ranks; every arm has pairs that it finds with its own known probability."""

    def __init__(self, root):
        self.ranks, self.tasks = root / "ranks", root / "tasks"
        self.ranks.mkdir()
        self.tasks.mkdir()
        self.trials = []
        for name in ("frappe-0", "movielens-small-0", "movielens-100k-0", "wikispeedia-0", "wikispeedia-1"):
            np.savez(self.tasks / f"{name}.npz", offsets=OFFSETS, cluster=CLUSTER)

    def add(self, dataset, arm, share=1.0, seeds=SEEDS, split_seed=0, purpose="test", rate=None, **facts):
        for seed in seeds:
            trial = Trial(purpose, dataset, arm, share, seed, split_seed, seconds=2.0, **facts)
            rng = np.random.default_rng([len(self.trials), seed])
            found = rng.random(OFFSETS[-1]) < (RATES.get(arm, 0.4) if rate is None else rate)
            ranks = np.where(found, rng.integers(1, 51, OFFSETS[-1]), rng.integers(51, 500, OFFSETS[-1]))
            slices = np.arange(OFFSETS[-1]) % 3  # none is cold
            metrics = {"all": describe(ranks)} | {
                name: describe(ranks[slices == index], False) for index, name in enumerate(ITEM_SLICES)
            }
            np.savez(self.ranks / f"{trial.key}.npz", ranks=ranks.astype(np.float32), slices=slices.astype(np.int8))
            if purpose != "test":
                metrics = None
            self.trials.append(dataclasses.replace(trial, metrics=metrics, validation_recall_at_50=0.3 + 0.01 * seed))

    def load_ranks(self, dataset, arm, seed, share=1.0):
        facts = ("test", dataset, arm, seed, share)
        (key,) = (t.key for t in self.trials if (t.purpose, t.dataset, t.arm, t.seed, t.share) == facts)
        return np.load(self.ranks / f"{key}.npz")

    def tune(self, arm, score, dataset="frappe", share=1.0):
        """All trials of an arm's search, the best of which has the score."""
        done = tune(arm, score, dataset, share)
        self.trials += [dataclasses.replace(trial, seconds=2.0) for trial in done]
        return len(done)

    def summarise(self):
        return summary.summarise(self.trials, self.ranks, self.tasks)


def describe(ranks, whole=True):
    found = {f"recall_at_{k}": round(float((ranks <= k).mean()), 6) if len(ranks) else None for k in (10, 50)}
    if whole:
        precision, rankings = average_precision(ranks, OFFSETS, 10)
        found |= {"map_at_10": round(float(precision.sum() / rankings.sum()), 6), "map_at_50": 0.0}
        found |= {"user_recall_at_20": 0.1, "ndcg_at_20": 0.1, "item_recall_at_50": 0.1}
    return {**found, "pairs": len(ranks)}


def tune(arm, score, dataset="frappe", share=1.0):
    """All trials of an arm's search, the best of which has the score."""
    done, missing = [], [None]
    while missing:
        _, missing = run.search(done, dataset, share, arm)
        answers = [score - 0.01 * len(done) - 0.001 * place for place in range(len(missing))]
        done += [dataclasses.replace(t, validation_recall_at_50=a) for t, a in zip(missing, answers)]
    return done
