"""A row of a report: one metric of two arms on the same queries, with its interval, or with why it has none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_ssl.evaluation import crossed, metrics, statistics
from recsys_ssl.evaluation.decision import EvaluationConfig, Row
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.statistics import Support

# Below these an interval covers the truth too seldom, see `python -m benchmarks.coverage`, so that none is shown. The
# first two follow from the held-out pairs alone, whatever the arms make of them.
MIN_EFFECTIVE = 60
"""Least `Support.effective`."""
MOST_SHARE = 0.05
"""Most `Support.largest_share`."""
MIN_DIFFERING = 5
"""Least `Support.differing`."""


def paired_rows(
    task: RankingTask,
    names: Sequence[str],
    control: Sequence[Sequence[metrics.Ratio]],
    treatment: Sequence[Sequence[metrics.Ratio]],
    config: EvaluationConfig,
) -> list[Row]:
    """Compares two arms metric by metric, over queries, and over training seeds where there are several.

    Args:
        names: [num_metrics].
        control, treatment: [num_seeds][num_metrics] ratios; the denominators are the same in all. An arm that depends
            on no seed has one, beside any number of the other.
    """

    denominators = _by_query(task, names, control[0])[1]
    # Clusters outside the slice weigh nothing in any draw, so they are left out of the draws.
    inside = denominators.any(axis=1)
    denominators = denominators[inside]
    of_control, of_treatment = (
        np.stack([_by_query(task, names, of_seed)[0][inside] for of_seed in arm]) for arm in (control, treatment)
    )
    support = statistics.measure_support(of_treatment.mean(axis=0) - of_control.mean(axis=0), denominators)
    if max(len(control), len(treatment)) > 1:
        found = _over_seeds(of_control, of_treatment, denominators, support, config)
    else:
        found = _over_queries(of_control[0], of_treatment[0], denominators, config)
    rows = []
    for i, (name, facts) in enumerate(zip(names, found, strict=True)):
        refusal = explain_refusal(support, i)
        if refusal is not None:
            facts |= dict.fromkeys(("interval", "relative_interval", "p", "standard_error"))
        rows.append(
            {
                "metric": name,
                "label": metrics.label_of(name),
                "queries": len(denominators),
                "effective_queries": float(support.effective[i]),
                "largest_share": float(support.largest_share[i]),
                "no_interval": refusal,
                "n": int(denominators[:, i].sum()),
                **facts,
            }
        )
    return rows


def explain_weights(effective: float, largest_share: float) -> str | None:
    """Why queries of such weights give no interval, whatever the arms; None where they do. See `Support`."""
    if effective < MIN_EFFECTIVE:
        return f"the queries weigh as much as {effective:.0f} equal ones, and an interval needs {MIN_EFFECTIVE}"
    if largest_share > MOST_SHARE:
        return f"one query holds {largest_share:.1%} of the weight, and an interval allows {MOST_SHARE:.0%}"
    return None


def explain_refusal(support: Support, column: int) -> str | None:
    """Why a comparison that rests on so little has no interval; None where it has one."""
    refusal = explain_weights(float(support.effective[column]), float(support.largest_share[column]))
    if refusal is None and support.differing[column] < MIN_DIFFERING:
        differing = f"{support.differing[column]:.0f}"
        return f"the arms differ in as much as {differing} queries, and an interval needs {MIN_DIFFERING}"
    return refusal


def _by_query(task: RankingTask, names: Sequence[str], ratios: Sequence[metrics.Ratio]) -> np.ndarray:
    """[2, num_clusters, num_metrics] numerators and denominators; a query of a mean over queries weighs 1 or 0."""
    columns = np.stack([[metrics.sum_by_cluster(task, part) for part in ratio] for ratio in ratios], axis=-1)
    each = [i for i, name in enumerate(names) if name in metrics.PER_QUERY]
    weights = columns[1][:, each]
    columns[0][:, each] /= np.where(weights > 0.0, weights, 1.0)
    columns[1][:, each] = weights > 0.0
    return columns


def _over_queries(
    control: np.ndarray, treatment: np.ndarray, denominators: np.ndarray, config: EvaluationConfig
) -> list[dict[str, Any]]:
    """Of one seed each: everything is [num_queries, num_metrics]."""
    result = statistics.compare_paired(
        control, treatment, denominators, config.bootstrap_samples, config.confidence, config.seed
    )
    return [
        {
            "control": _number(result.control[i]),
            "treatment": _number(result.treatment[i]),
            "difference": _number(result.difference[i]),
            "interval": _bounds(result.interval[:, i]),
            "relative": _number(result.relative[i]),
            "relative_interval": _bounds(result.relative_interval[:, i]),
            "p": _number(result.p_value[i]),
            "standard_error": _number(result.standard_error[i]),
            "seed_differences": None,
            "seed_share": None,
        }
        for i in range(denominators.shape[1])
    ]


def _over_seeds(
    control: np.ndarray, treatment: np.ndarray, denominators: np.ndarray, support: Support, config: EvaluationConfig
) -> list[dict[str, Any]]:
    """Of several seeds: arms [num_seeds or 1, num_queries, num_metrics]; see `crossed`."""
    return [
        compare_over_seeds(
            control[:, :, i],
            treatment[:, :, i],
            denominators[:, i],
            float(min(support.effective[i], support.differing[i])),
            config.confidence,
        )
        for i in range(denominators.shape[1])
    ]


def compare_over_seeds(
    control: np.ndarray, treatment: np.ndarray, denominators: np.ndarray, effective: float, confidence: float
) -> dict[str, Any]:
    """Of one metric: arms [num_seeds or 1, num_queries], denominators [num_queries]."""
    theirs, ours = (crossed.measure(arm, np.broadcast_to(denominators, arm.shape)) for arm in (control, treatment))
    if theirs is None or ours is None:
        names = ("control", "treatment", "difference", "interval", "relative", "relative_interval", "p")
        return dict.fromkeys((*names, "standard_error", "seed_differences", "seed_share"))
    theirs, ours = (dataclasses.replace(arm, effective=effective) for arm in (theirs, ours))
    difference = crossed.subtract(ours, theirs)
    found = crossed.infer(difference.value, difference, confidence=confidence)
    lift = crossed.infer_relative(ours, theirs, confidence)
    error = math.hypot(found.query_error, found.seed_error)
    return {
        "control": theirs.value,
        "treatment": ours.value,
        "difference": difference.value,
        "interval": _bounds(np.array([found.low, found.high])),
        "relative": ours.value / theirs.value - 1.0 if theirs.value else None,
        "relative_interval": None if lift is None else _bounds(np.array([lift.low, lift.high])),
        "p": _number(found.p_value),
        "standard_error": _number(error),
        "seed_differences": (difference.value + difference.seeds).tolist(),
        "seed_share": (found.seed_error / error) ** 2 if error > 0.0 else None,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _bounds(values: np.ndarray) -> list[float] | None:
    return values.tolist() if np.isfinite(values).all() else None
