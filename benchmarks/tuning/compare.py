"""Samplers compared at equal budgets: means, intervals, and tests that are paired by the seed of the search."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from recsys_ssl.evaluation.statistics import adjust_holm

BASELINE = "random"


def list_budgets(trials: int) -> list[int]:
    """8, 16, 32, ... and all."""
    doubled = itertools.takewhile(lambda budget: budget < trials, (8 << i for i in range(30)))
    return [*doubled, trials]


def compare(bests: Mapping[str, np.ndarray], budgets: Sequence[float], larger_is_better: bool) -> list[dict[str, Any]]:
    """A row for each sampler and budget.

    Args:
        bests: sampler -> [repetitions, num_budgets], the best score within each budget; row i is of seed i.

    Returns:
        mean and its 95% interval (of Student's t) of the best score; the gain over random search, positive where the
        sampler is better, with interval, p of a paired t-test and p by Holm over all rows but those of random search.
    """
    rows = []
    for (place, budget), (sampler, found) in itertools.product(enumerate(budgets), bests.items()):
        at = found[:, place]
        row = {"sampler": sampler, "budget": budget, "mean": float(at.mean()), "interval": find_interval(at)}
        if sampler != BASELINE:
            gain = (at - bests[BASELINE][:, place]) * (1 if larger_is_better else -1)
            row |= find_gain(gain)
        rows.append(row)
    correct(rows)
    return rows


def correct(rows: Sequence[dict[str, Any]]) -> None:
    """Gives each row with a `p` its `holm`."""
    compared = [row for row in rows if "p" in row]
    for row, adjusted in zip(compared, adjust_holm(np.array([row["p"] for row in compared]))):
        row["holm"] = float(adjusted)


def find_interval(values: np.ndarray) -> tuple[float, float]:
    """95% bounds of the mean, of Student's t."""
    mean, error = float(values.mean()), float(stats.sem(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - half, mean + half


def find_gain(gains: np.ndarray) -> dict[str, Any]:
    """Of paired differences: `gain`, their mean; `gain_interval`; and `p` of a t-test."""
    return {"gain": float(gains.mean()), "gain_interval": find_interval(gains), "p": _p_value(gains)}


def _p_value(differences: np.ndarray) -> float:
    """Of a paired t-test; 1 where nothing differs, 0 where all differ by the same."""
    if np.ptp(differences) == 0.0:
        return float(differences[0] == 0.0)
    return float(stats.ttest_1samp(differences, 0.0).pvalue)
