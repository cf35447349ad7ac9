"""The numbers that README states, from the tables and, for ratios of gains, from the ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.evidence.tested import PRIMARY, Evidence
from benchmarks.evidence.trials import ARMS, RECOMMENDED
from recsys_ssl.evaluation import crossed

Row = dict[str, Any]

LEAST_PAIRS = 100


def claims_of(evidence: Evidence, tables: Row) -> list[Row]:
    """The numbers that README states: `id`, `what`, `value`, `interval`; those without any data are left out."""
    datasets, label = tables["datasets"], ARMS[RECOMMENDED]
    claims = []

    def count(id: str, share: str, what: str, rows: Sequence[Row | None], test: Callable[[Row], bool]) -> None:
        tested = [row for row in rows if row is not None]
        if tested:
            training = "all training data" if share == "full" else "10% of the training data"
            what = f"logs of {len(tested)} where {what}, {training}"
            claims.append({"id": id, "what": what, "value": sum(map(test, tested)), "interval": None})

    beats = "in test Recall@50, p < 0.05 after Holm's correction for the regularisers of a log"
    for share in ("full", "sparse"):
        gains = [tables["gains"][share][dataset] for dataset in datasets]
        best = [tables["best"][share][dataset]["regularizer"] for dataset in datasets]
        rows = [(of.get(arm) or {}).get(PRIMARY) for of, arm in zip(gains, best)]
        name = f"the regulariser that validation picks beats {ARMS['none']} {beats}"
        count(f"regulariser_beats_none_{share}_logs", share, name, rows, is_gain)
        rows = [(of.get("cfm") or {}).get(PRIMARY) for of in gains]
        count(f"cfm_beats_none_{share}_logs", share, f"{ARMS['cfm']} beats {ARMS['none']} {beats}", rows, is_gain)

    over = f"{label} over {ARMS['none']}, relative gain in Recall@50, mean over data sets"
    sparse_full = ((0.1, PRIMARY), (1.0, PRIMARY))
    tail_head = ((1.0, "tail"), (1.0, "head"))
    for id, (top, bottom), what in (
        ("gain_sparse_over_full", sparse_full, f"{over}: at 10% of the training data over that at all"),
        ("gain_tail_over_head", tail_head, f"{over}, all training data: on tail items over that on head items"),
    ):
        found = _ratio_of_gains(evidence, datasets, RECOMMENDED, top, bottom)
        if not found:
            continue
        used = ", ".join(found["datasets"])
        parts = id.removeprefix("gain_").split("_over_")
        for part, gain in zip(parts, (found["top"], found["bottom"])):
            claims.append({"id": f"gain_{part}", "what": f"{over} ({used}): {part}", "value": gain, "interval": None})
        # Over a loss, a ratio would say nothing.
        if found["bottom"] > 0.0:
            what = f"{what} ({used}; {100 * found['top']:+.1f}% over {100 * found['bottom']:+.1f}%)"
            claims.append({"id": id, "what": what, "value": found["value"], "interval": found["interval"]})

    tests = evidence.tests.get(("wikispeedia", 0, 1.0, RECOMMENDED), {})
    if tests:
        mean, half = crossed.interval_over_seeds([t.metrics["all"]["recall_at_10"] for t in tests.values()])
        claims.append(
            {
                "id": "wikispeedia_recall_at_10",
                "what": f"Recall@10 of {label} on wikispeedia, split seed 0, mean over {len(tests)} seeds",
                "value": mean,
                "interval": None if math.isnan(half) else [mean - half, mean + half],
            }
        )
    return claims


def is_gain(row: Row) -> bool:
    """Whether a comparison is positive and significant at 5% after Holm's correction."""
    return row["difference"][0] > 0 and row["holm"] is not None and row["holm"] < 0.05


def _ratio_of_gains(
    evidence: Evidence, datasets: Sequence[str], treatment: str, top: tuple[float, str], bottom: tuple[float, str]
) -> Row | None:
    """Q = mean over data sets of a relative gain over `none` / that of another, where both are defined.

    A slice of fewer than LEAST_PAIRS held-out pairs has no relative gain to speak of and leaves its data set out.

    The interval is by the delta method, and None where the divisor's own interval holds 0 (Q is then unbounded) or
    an error is unknown. Data sets are fixed and independent; within one, the two gains share users and seeds.
    """
    used, gains = [], []
    for dataset in datasets:
        found = []
        for share, column in (top, bottom):
            pair = evidence.pair(dataset, share, treatment, "none")
            if (
                pair
                and evidence.pairs(dataset, share, treatment, column) >= LEAST_PAIRS
                and pair[0][column] is not None
                and pair[1][column] is not None
            ):
                found.append(crossed.relative_gain(pair[0][column], pair[1][column]))
        if len(found) == 2 and None not in found:
            used.append(dataset)
            gains.append(found)
    if not used:
        return None
    above, below = (float(np.mean([pair[i].value for pair in gains])) for i in (0, 1))
    if below == 0.0:
        return None
    size, ratio, interval = len(gains), above / below, None
    divisor = crossed.infer(below, *(crossed.combine(pair[1].value, (1.0 / size, pair[1])) for pair in gains))
    same_seeds = all(len(pair[0].seeds) == len(pair[1].seeds) for pair in gains)
    if same_seeds and (divisor.low > 0.0 or divisor.high < 0.0):
        weight = 1.0 / (size * below)
        parts = [crossed.combine(0.0, (weight, pair[0]), (-ratio * weight, pair[1])) for pair in gains]
        inferred = crossed.infer(ratio, *parts)
        interval = None if math.isnan(inferred.low) else [inferred.low, inferred.high]
    return {"datasets": used, "top": above, "bottom": below, "value": ratio, "interval": interval}
