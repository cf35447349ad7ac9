"""Two arms on the same rankings: differences with intervals, slices and the popularity floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recsys_ssl.evaluation import metrics, slices, statistics
from recsys_ssl.evaluation.decision import EvaluationConfig, Row, decide, list_guardrails, row_of
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked

# Percentile intervals of fewer clusters cover too little; such rows show their values without an interval.
MIN_QUERIES = 30

CURVE_KS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200)
_LISTED = 10


def compare(
    task: RankingTask,
    control: Ranked,
    treatment: Ranked,
    popularity: Ranked,
    train_counts: np.ndarray,
    checks: Sequence[Row],
    config: EvaluationConfig,
    own_counts: Ranked | None = None,
) -> Row:
    """Compares two arms and decides.

    Args:
        control, treatment, popularity: what each arm made of `task`.
        train_counts: [num_items] int training positives, for the item slices.
        checks: validity checks made before, each with `name`, `passed` (None: not applicable) and `detail`.
        config: the rule.
        own_counts: what the queries' own counts made of `task`, a second floor; None where what was chosen is masked.

    Returns:
        JSON-able: `verdict`, `metrics`, `floor`, `own_floor`, `slices`, `slice_metrics`, `coverage`, `exposure`,
        `recall_curve`, `power`, `guardrails`, `checks`, `counts`. An undefined number is None.
    """
    item_slice = slices.item_slices(train_counts)
    metric_rows = _metric_rows(task, control, treatment, config)
    floor = _floor_rows("popularity", task, popularity, treatment, config)
    own_floor = [] if own_counts is None else _floor_rows("own_counts", task, own_counts, treatment, config)
    slice_rows = _item_slice_rows(task, control, treatment, item_slice, config)
    for dimension, values in task.slices.items():
        slice_rows += _query_slice_rows(task, control, treatment, dimension, values, config)
    _adjust(metric_rows, statistics.adjust_holm)
    _adjust(slice_rows, statistics.adjust_benjamini_hochberg)
    for row in slice_rows:
        row["significant"] = row["adjusted_p"] is not None and row["adjusted_p"] < 1.0 - config.confidence

    arms = {"control": control, "treatment": treatment, "popularity": popularity}
    if own_counts is not None:
        arms["own_counts"] = own_counts
    covered = {name: metrics.coverage(arm.top_rows, task.num_items, _LISTED) for name, arm in arms.items()}
    exposure = _exposure(task, arms, item_slice)
    ks = np.array([k for k in CURVE_KS if k <= task.num_items])
    checks = [*checks, _check_k(task, config), _check_queries(task)]
    return {
        "verdict": decide(metric_rows, floor, checks, config, own_floor),
        "metrics": metric_rows,
        "floor": floor,
        "own_floor": own_floor,
        "slices": slice_rows,
        "slice_metrics": [metrics.name_recall(k) for k in _slice_ks(task, config)],
        "coverage": {"k": _LISTED, **covered},
        "exposure": exposure,
        "recall_curve": {
            "k": ks.tolist(),
            **{name: metrics.recall_curve(arm.ranks, ks).tolist() for name, arm in arms.items()},
        },
        "power": _power(row_of(metric_rows, config.primary), config),
        "guardrails": list_guardrails(metric_rows, slice_rows, covered, exposure, config),
        "checks": checks,
        "counts": {
            "queries": task.num_clusters,
            "rankings": task.num_rankings,
            "pairs": task.num_pairs,
            "items": task.num_items,
            "trained_items": int(np.count_nonzero(train_counts)),
            "masked": len(task.masked_rows),
            "repeats": task.num_repeats,
        },
    }


# --- Rows -------------------------------------------------------------------------------------------


def _metric_rows(task: RankingTask, control: Ranked, treatment: Ranked, config: EvaluationConfig) -> list[Row]:
    everything = np.ones(task.num_rankings, bool)
    return _ranking_rows(task, control, treatment, everything, config)


def _floor_rows(name: str, task: RankingTask, floor: Ranked, treatment: Ranked, config: EvaluationConfig) -> list[Row]:
    """The floor takes the place of the control, under its own name; only values, difference and interval are kept."""
    kept = ("metric", "label", "queries", "n", "treatment", "difference", "interval", "relative", "relative_interval")
    rows = _metric_rows(task, floor, treatment, config)
    return [{name: row["control"], **{key: row[key] for key in kept}} for row in rows]


def _query_slice_rows(
    task: RankingTask,
    control: Ranked,
    treatment: Ranked,
    dimension: str,
    values: np.ndarray,
    config: EvaluationConfig,
) -> list[Row]:
    rows = []
    index, names = slices.query_groups(values)
    for group, name in enumerate(names):
        inside = index == group
        facts = {"dimension": dimension, "slice": name, "share": float(inside.mean()), "of": "rankings"}
        rows += [{**facts, **row} for row in _ranking_rows(task, control, treatment, inside, config)]
    return rows


def _item_slice_rows(
    task: RankingTask, control: Ranked, treatment: Ranked, item_slice: np.ndarray, config: EvaluationConfig
) -> list[Row]:
    """Recall over the held-out pairs whose item is in the slice."""
    rows, ks = [], _slice_ks(task, config)
    slice_of_pair = item_slice[task.positive_rows]
    for index, name in enumerate(slices.ITEM_SLICES):
        inside = slice_of_pair == index
        if not inside.any():
            continue
        lengths = np.bincount(task.ranking_of_pair[inside], minlength=task.num_rankings)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        of_control, of_treatment = (
            [metrics.recall(arm.ranks[inside], offsets, k) for k in ks] for arm in (control, treatment)
        )
        facts = {"dimension": "item frequency", "slice": name, "share": float(inside.mean()), "of": "pairs"}
        paired = _paired_rows(task, [metrics.name_recall(k) for k in ks], of_control, of_treatment, config)
        rows += [{**facts, **row} for row in paired]
    return rows


def _slice_ks(task: RankingTask, config: EvaluationConfig) -> list[int]:
    """The k of the recalls of all slices: the catalogue's, 10 where it is not larger, a fitting pooled primary's."""
    k, primary = metrics.choose_reported_k(task.num_items), metrics.POOLED_K.get(config.primary, 0)
    return sorted({k, min(10, k), primary if 0 < primary <= metrics.MOST_K_SHARE * task.mean_eligible else k})


def _ranking_rows(
    task: RankingTask, control: Ranked, treatment: Ranked, inside: np.ndarray, config: EvaluationConfig
) -> list[Row]:
    """One row per metric over the rankings [num_rankings] bool `inside`."""
    of_catalogue = metrics.list_metrics(task.num_items)

    def ratios(arm: Ranked) -> list[metrics.Ratio]:
        whole = (ratio(arm.ranks, task.positive_offsets) for ratio in of_catalogue.values())
        return [(numerators * inside, denominators * inside) for numerators, denominators in whole]

    return _paired_rows(task, tuple(of_catalogue), ratios(control), ratios(treatment), config)


def _paired_rows(
    task: RankingTask,
    names: Sequence[str],
    control: Sequence[metrics.Ratio],
    treatment: Sequence[metrics.Ratio],
    config: EvaluationConfig,
) -> list[Row]:
    def columns(ratios: Sequence[metrics.Ratio], part: int) -> np.ndarray:
        return np.stack([metrics.sum_by_cluster(task, ratio[part]) for ratio in ratios], axis=1)

    denominators = columns(control, 1)
    # Clusters outside the slice weigh nothing in any draw, so they are left out of the draws.
    inside = denominators.any(axis=1)
    result = statistics.compare_paired(
        columns(control, 0)[inside],
        columns(treatment, 0)[inside],
        denominators[inside],
        config.bootstrap_samples,
        config.confidence,
        config.seed,
    )
    num_queries = int(np.count_nonzero(inside))
    enough = num_queries >= MIN_QUERIES
    return [
        {
            "metric": name,
            "label": metrics.label_of(name),
            "queries": num_queries,
            "n": int(denominators[:, i].sum()),
            "control": _number(result.control[i]),
            "treatment": _number(result.treatment[i]),
            "difference": _number(result.difference[i]),
            "interval": _bounds(result.interval[:, i]) if enough else None,
            "relative": _number(result.relative[i]),
            "relative_interval": _bounds(result.relative_interval[:, i]) if enough else None,
            "p": _number(result.p_value[i]) if enough else None,
            "standard_error": _number(result.standard_error[i]) if enough else None,
        }
        for i, name in enumerate(names)
    ]


def _adjust(rows: list[Row], adjust: Callable[[np.ndarray], np.ndarray]) -> None:
    p_values = np.array([math.nan if row["p"] is None else row["p"] for row in rows])
    for row, adjusted in zip(rows, adjust(p_values)):
        row["adjusted_p"] = _number(adjusted)


def _exposure(task: RankingTask, arms: Mapping[str, Ranked], item_slice: np.ndarray) -> Row:
    """What share of each arm's first ten falls into each item slice, beside catalogue and held-out pairs."""
    shares = {
        "catalogue": slices.share_by_slice(np.arange(task.num_items), item_slice),
        "held_out": slices.share_by_slice(task.positive_rows, item_slice),
        **{name: slices.share_by_slice(arm.top_rows[:, :_LISTED], item_slice) for name, arm in arms.items()},
    }
    return {"slices": list(slices.ITEM_SLICES), **{name: share.tolist() for name, share in shares.items()}}


def _power(row: Row, config: EvaluationConfig) -> Row:
    if row["standard_error"] is None:
        return {"metric": row["metric"], "minimum_detectable_effect": None, "relative": None}
    effect = float(statistics.minimum_detectable_effect(np.asarray(row["standard_error"]), config.confidence))
    relative = effect / row["control"] if row["control"] else None
    return {"metric": row["metric"], "minimum_detectable_effect": effect, "relative": relative}


def _check_queries(task: RankingTask) -> Row:
    return {
        "name": "Enough queries",
        "passed": task.num_clusters >= MIN_QUERIES,
        "detail": f"{task.num_clusters:,} queries; an interval needs at least {MIN_QUERIES}.",
    }


def _check_k(task: RankingTask, config: EvaluationConfig) -> Row:
    """A recall as the primary metric must look at few of the items; the other metrics weigh places, whatever the k."""
    name, label, k = "Primary metric fits the catalogue", metrics.label_of(config.primary), _recall_k(config.primary)
    if not k:
        return {"name": name, "passed": True, "detail": f"{label} depends on the places of the held-out items."}
    most = metrics.MOST_K_SHARE * task.mean_eligible
    detail = (
        f"{label} looks at {min(1.0, k / task.mean_eligible):.1%} of the {task.mean_eligible:,.0f} items that a "
        f"ranking has on average; a recall tells models apart up to {metrics.MOST_K_SHARE:.0%}."
    )
    row: Row = {"name": name, "passed": k <= most, "detail": detail}
    if k > most:
        fitting = ", ".join(metric for metric in metrics.METRICS if _recall_k(metric) <= most)
        row["cure"] = f"Set evaluation.primary to one of {fitting}, before you look at the figures."
        row["detail"] += f" {row['cure']}"
    return row


def _recall_k(metric: str) -> int:
    return metrics.RECALL_K.get(metric, 0)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _bounds(values: np.ndarray) -> list[float] | None:
    return values.tolist() if np.isfinite(values).all() else None
