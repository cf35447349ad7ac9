"""Two arms on the same rankings: differences with intervals, slices and the popularity floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recsys_ssl.evaluation import metrics, slices, statistics
from recsys_ssl.evaluation.decision import EvaluationConfig, Row, decide, list_guardrails, row_of
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked
from recsys_ssl.evaluation.rows import explain_weights, paired_rows

CURVE_KS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200)
LISTED = 10
"""Length of the lists that coverage and exposure look at."""


def compare(
    task: RankingTask,
    control: Sequence[Ranked],
    treatment: Sequence[Ranked],
    popularity: Ranked,
    train_counts: np.ndarray,
    checks: Sequence[Row],
    config: EvaluationConfig,
    own_counts: Ranked | None = None,
) -> Row:
    """Compares two arms and decides.

    Args:
        control, treatment: what each arm made of `task`, once for each training seed.
        popularity: what most-popular made of it.
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

    arms = {"control": control, "treatment": treatment, "popularity": [popularity]}
    if own_counts is not None:
        arms["own_counts"] = [own_counts]
    covered = {
        name: float(np.mean([metrics.coverage(ranked.top_rows, task.num_items, LISTED) for ranked in arm]))
        for name, arm in arms.items()
    }
    exposure = _exposure(task, arms, item_slice)
    ks = np.array([k for k in CURVE_KS if k <= task.num_items])
    checks = [*checks, _check_k(task, config), _check_queries(task, metric_rows, config)]
    return {
        "verdict": decide(metric_rows, floor, checks, config, own_floor),
        "metrics": metric_rows,
        "floor": floor,
        "own_floor": own_floor,
        "slices": slice_rows,
        "slice_metrics": [metrics.name_recall(k) for k in _slice_ks(task, config)],
        "coverage": {"k": LISTED, **covered},
        "exposure": exposure,
        "recall_curve": {
            "k": ks.tolist(),
            **{
                name: np.mean([metrics.recall_curve(ranked.ranks, ks) for ranked in arm], axis=0).tolist()
                for name, arm in arms.items()
            },
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


def _metric_rows(
    task: RankingTask, control: Sequence[Ranked], treatment: Sequence[Ranked], config: EvaluationConfig
) -> list[Row]:
    everything = np.ones(task.num_rankings, bool)
    return _ranking_rows(task, control, treatment, everything, config)


def _floor_rows(
    name: str, task: RankingTask, floor: Ranked, treatment: Sequence[Ranked], config: EvaluationConfig
) -> list[Row]:
    """The floor takes the place of the control, under its own name; only values, difference and interval are kept."""
    kept = (
        *("metric", "label", "queries", "n", "treatment", "difference", "interval", "relative", "relative_interval"),
        "no_interval",
    )
    rows = _metric_rows(task, [floor], treatment, config)
    return [{name: row["control"], **{key: row[key] for key in kept}} for row in rows]


def _query_slice_rows(
    task: RankingTask,
    control: Sequence[Ranked],
    treatment: Sequence[Ranked],
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
    task: RankingTask,
    control: Sequence[Ranked],
    treatment: Sequence[Ranked],
    item_slice: np.ndarray,
    config: EvaluationConfig,
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
            [[metrics.recall(ranked.ranks[inside], offsets, k) for k in ks] for ranked in arm]
            for arm in (control, treatment)
        )
        facts = {"dimension": "item frequency", "slice": name, "share": float(inside.mean()), "of": "pairs"}
        paired = paired_rows(task, [metrics.name_recall(k) for k in ks], of_control, of_treatment, config)
        rows += [{**facts, **row} for row in paired]
    return rows


def _slice_ks(task: RankingTask, config: EvaluationConfig) -> list[int]:
    """The k of the recalls of all slices: the catalogue's, 10 where it is not larger, a fitting pooled primary's."""
    k, primary = metrics.choose_reported_k(task.num_items), metrics.POOLED_K.get(config.primary, 0)
    return sorted({k, min(10, k), primary if 0 < primary <= metrics.MOST_K_SHARE * task.mean_eligible else k})


def _ranking_rows(
    task: RankingTask,
    control: Sequence[Ranked],
    treatment: Sequence[Ranked],
    inside: np.ndarray,
    config: EvaluationConfig,
) -> list[Row]:
    """One row per metric over the rankings [num_rankings] bool `inside`."""
    of_catalogue = metrics.list_metrics(task.num_items)

    def ratios(ranked: Ranked) -> list[metrics.Ratio]:
        whole = (ratio(ranked.ranks, task.positive_offsets) for ratio in of_catalogue.values())
        return [(numerators * inside, denominators * inside) for numerators, denominators in whole]

    of_control, of_treatment = ([ratios(ranked) for ranked in arm] for arm in (control, treatment))
    return paired_rows(task, tuple(of_catalogue), of_control, of_treatment, config)


def _adjust(rows: list[Row], adjust: Callable[[np.ndarray], np.ndarray]) -> None:
    p_values = np.array([math.nan if row["p"] is None else row["p"] for row in rows])
    for row, adjusted in zip(rows, adjust(p_values)):
        row["adjusted_p"] = None if math.isnan(adjusted) else float(adjusted)


def _exposure(task: RankingTask, arms: Mapping[str, Sequence[Ranked]], item_slice: np.ndarray) -> Row:
    """What share of each arm's first ten falls into each item slice, beside catalogue and held-out pairs."""
    shares = {
        "catalogue": slices.share_by_slice(np.arange(task.num_items), item_slice),
        "held_out": slices.share_by_slice(task.positive_rows, item_slice),
        **{
            name: np.mean([slices.share_by_slice(ranked.top_rows[:, :LISTED], item_slice) for ranked in arm], axis=0)
            for name, arm in arms.items()
        },
    }
    return {"slices": list(slices.ITEM_SLICES), **{name: share.tolist() for name, share in shares.items()}}


def _power(row: Row, config: EvaluationConfig) -> Row:
    if row["standard_error"] is None:
        return {"metric": row["metric"], "minimum_detectable_effect": None, "relative": None}
    effect = float(statistics.minimum_detectable_effect(np.asarray(row["standard_error"]), config.confidence))
    relative = effect / row["control"] if row["control"] else None
    return {"metric": row["metric"], "minimum_detectable_effect": effect, "relative": relative}


def _check_queries(task: RankingTask, metric_rows: list[Row], config: EvaluationConfig) -> Row:
    """Whether the queries allow an interval of the primary metric; that follows from the held-out pairs alone."""
    refused = {row["metric"]: explain_weights(row["effective_queries"], row["largest_share"]) for row in metric_rows}
    primary, refusal = row_of(metric_rows, config.primary), refused[config.primary]
    detail = (
        f"{task.num_clusters:,} queries; by their weights in {metrics.label_of(config.primary)} they are worth "
        f"{primary['effective_queries']:,.0f} equal ones, and one holds {primary['largest_share']:.1%} at most."
    )
    row: Row = {"name": "Enough queries", "passed": refusal is None, "detail": detail}
    if refusal is not None:
        most = metrics.MOST_K_SHARE * task.mean_eligible
        fitting = [name for name in metrics.METRICS if refused[name] is None and _recall_k(name) <= most]
        more = "Hold out more queries"
        row["cure"] = (
            f"{more}, or set evaluation.primary to one of {', '.join(fitting)}, before you look at the figures."
            if fitting
            else f"{more}: no metric of this split has enough."
        )
        row["detail"] += f" {refusal[0].upper()}{refusal[1:]}. {row['cure']}"
    return row


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
