"""All numbers of the evidence tables, from trials and ranks, as one JSON-able dict.

Every trial of an arm answers the same task, so arms are compared pair by pair, see `benchmarks.evidence.inference`.
What lacks seeds is kept, and listed in `missing`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.claims import claims_of
from benchmarks.evidence.datasets import QUERIES_ARE_ITEMS, STUDIED
from benchmarks.evidence.picks import pick_peer, pick_regularizer, pick_towers
from benchmarks.evidence.run import DETERMINISTIC, SEEDS
from benchmarks.evidence.tested import METRICS, PRIMARY, Evidence
from benchmarks.evidence.trials import ARMS, BASELINES, PLAIN, PROPOSALS, RECOMMENDED, REGULARIZERS, Trial, is_of
from recsys_ssl.evaluation import crossed
from recsys_ssl.evaluation.crossed import Inference
from recsys_ssl.evaluation.slices import ITEM_SLICES
from recsys_ssl.evaluation.statistics import adjust_holm

Row = dict[str, Any]

SHARES = {"full": 1.0, "sparse": 0.1}

GROUPS = {"towers": list(REGULARIZERS), "baselines": list(BASELINES), "proposals": list(PROPOSALS)}
SHOWN = (*METRICS, "user_recall_at_20", "ndcg_at_20", "item_recall_at_50")


def summarise(trials: Sequence[Trial], ranks: Path, tasks: Path) -> Row:
    """Computes every table.

    Args:
        ranks: directory of KEY.npz, the ranks of the tests.
        tasks: directory of DATASET-SPLITSEED.npz, which user each rank belongs to.
    """
    evidence = Evidence(trials, ranks, tasks)
    known = {dataset for dataset, *_ in evidence.tests}
    datasets = [dataset for dataset in STUDIED if dataset in known]
    tables: Row = {
        "recommended": RECOMMENDED,
        "labels": dict(ARMS),
        "groups": GROUPS,
        "datasets": datasets,
        "cells": {
            name: {dataset: cells_of(evidence, dataset, share) for dataset in datasets}
            for name, share in SHARES.items()
        },
        "best": {
            name: {dataset: best_of(trials, evidence, dataset, share) for dataset in datasets}
            for name, share in SHARES.items()
        },
        "gains": compare_all(evidence, datasets, "none", [arm for arm in REGULARIZERS if arm not in PLAIN]),
        "proposals": compare_all(evidence, datasets, "none", PROPOSALS),
        "towers": towers_of(trials),
        "tuned": tuned_of(trials, evidence, datasets),
        "missing": missing_of(evidence),
        "seconds": sum(trial.seconds for trial in trials),
    }
    tables["claims"] = claims_of(evidence, tables)
    return tables


# --- Values and comparisons -------------------------------------------------------------------------


def cells_of(evidence: Evidence, dataset: str, share: float) -> Row:
    """Per arm: metrics and slices as [mean, half-width of the t-interval over seeds or None], and the seeds."""
    cells = {}
    for (name, split_seed, of_share, arm), tests in evidence.tests.items():
        if (name, split_seed, of_share) != (dataset, 0, share):
            continue
        found = [trial.metrics for trial in tests.values()]
        cells[arm] = {
            "seeds": len(found),
            "expected": expected_seeds(arm, share),
            **{metric: _over_seeds([metrics["all"][metric] for metrics in found]) for metric in SHOWN},
            "pairs": found[0]["all"]["pairs"],
            "slices": {
                part: {
                    "recall_at_50": _over_seeds([metrics[part]["recall_at_50"] for metrics in found]),
                    "pairs": float(np.mean([metrics[part]["pairs"] for metrics in found])),
                }
                for part in ITEM_SLICES
            },
        }
    return cells


def expected_seeds(arm: str, share: float) -> int:
    return 1 if share == 1.0 and arm in DETERMINISTIC else len(SEEDS)


def best_of(trials: Sequence[Trial], evidence: Evidence, dataset: str, share: float) -> Row:
    """What validation picks on a log, and how these compare in the test.

    Returns:
        `towers`, `regularizer`, `peer`: an arm each, None while its rivals are not tuned; `gain`, the regularizer over
        `none`, and `lead`, the towers over the peer, as `compare_arms` has the primary metric, None until tested;
        `against`: baseline -> the same of the towers over it, with `holm` over the baselines.
    """
    towers, peer = pick_towers(trials, dataset, share), pick_peer(trials, dataset, share)
    picked = pick_regularizer(trials, dataset, share)

    def compare(ours: str | None, theirs: str | None) -> Row | None:
        rows = compare_arms(evidence, dataset, share, ours, theirs) if ours and theirs else None
        return rows[PRIMARY] if rows else None

    against = {arm: row for arm in BASELINES if (row := compare(towers, arm)) is not None}
    _correct(list(against.values()))
    return {
        "towers": towers,
        "regularizer": picked,
        "peer": peer,
        "gain": compare(picked, "none"),
        "lead": compare(towers, peer),
        "against": against,
    }


def compare_all(evidence: Evidence, datasets: Sequence[str], control: str, treatments: Sequence[str]) -> Row:
    """Per share, data set and treatment: METRICS and slices against the control.

    At the primary metric, `holm` is p corrected for the treatments of a data set and share.
    """
    result: Row = {name: {} for name in SHARES}
    for name, share in SHARES.items():
        for dataset in datasets:
            found = {arm: compare_arms(evidence, dataset, share, arm, control) for arm in treatments}
            rows = {arm: of_all for arm, of_all in found.items() if of_all is not None}
            _correct([of_all[PRIMARY] for of_all in rows.values()])
            result[name][dataset] = rows
    return result


def _correct(rows: Sequence[Row]) -> None:
    for row, holm in zip(rows, adjust_holm(np.array([_nan(row["p"]) for row in rows], np.float64))):
        row["holm"] = _plain(holm)


def compare_arms(
    evidence: Evidence, dataset: str, share: float, treatment: str, control: str, split_seed: int = 0
) -> Row | None:
    """METRICS and slices of one arm against another; None where an error cannot be had.

    Returns:
        Name -> `values` of both, `difference` [value, low, high] and its `p`; None where a slice has no pair.
    """
    pair = evidence.pair(dataset, share, treatment, control, split_seed)
    if pair is None:
        return None
    rows = {}
    for name in (*METRICS, *ITEM_SLICES):
        ours, theirs = pair[0][name], pair[1][name]
        if ours is None or theirs is None:
            rows[name] = None
            continue
        difference = crossed.subtract(ours, theirs)
        found, relative = crossed.infer(difference.value, difference), crossed.infer_relative(ours, theirs)
        rows[name] = {
            "seeds": pair[2],
            "users": int(np.count_nonzero(difference.counted)),
            "values": [ours.value, theirs.value],
            "difference": _interval(found),
            "p": _plain(found.p_value),
            "user_error": _plain(found.query_error),
            "seed_error": _plain(found.seed_error),
            "relative": None if relative is None else _interval(relative),
        }
    return rows


# --- Settings ---------------------------------------------------------------------------------------


def towers_of(trials: Sequence[Trial]) -> Row:
    """Per share, log of links and regularizer: validation Recall@50 by the towers of the views, all else as it was."""
    result: Row = {}
    for name, share in SHARES.items():
        for dataset in QUERIES_ARE_ITEMS:
            rows = result.setdefault(name, {})[dataset] = {}
            for trial in trials:
                of_cell = (trial.purpose, trial.dataset, trial.share) == ("tune", dataset, share)
                if of_cell and set(trial.settings) == {"ssl.towers"}:
                    rows.setdefault(trial.arm, {})[trial.settings["ssl.towers"]] = trial.validation_recall_at_50
    return result


def tuned_of(trials: Sequence[Trial], evidence: Evidence, datasets: Sequence[str]) -> Row:
    """Per share, data set and arm: the settings of its tests, how many tuning trials chose them, and their seconds."""
    counts: Counter = Counter()
    seconds: Counter = Counter()
    for trial in trials:
        if trial.purpose == "tune" and trial.split_seed == 0:
            counts[trial.dataset, trial.share, trial.arm] += 1
            seconds[trial.dataset, trial.share, trial.arm] += trial.seconds
    result: Row = {name: {dataset: {} for dataset in datasets} for name in SHARES}
    for (dataset, split_seed, share, arm), tests in evidence.tests.items():
        names = [name for name, value in SHARES.items() if value == share]
        if split_seed or not names or dataset not in datasets:
            continue
        distinct = []
        for trial in tests.values():
            if trial.settings not in distinct:
                distinct.append(dict(trial.settings))
        result[names[0]][dataset][arm] = {
            "settings": distinct,
            "tuning_trials": counts[dataset, share, arm],
            "tuning_seconds": seconds[dataset, share, arm],
        }
    return result


def missing_of(evidence: Evidence) -> list[Row]:
    """What was expected and is not there: every arm on every data set and share, as many seeds as planned."""
    return [
        {"share": name, "dataset": dataset, "arm": arm, "seeds": found, "expected": expected_seeds(arm, share)}
        for name, share in SHARES.items()
        for arm in ARMS
        for dataset in STUDIED
        if is_of(arm, dataset)
        if (found := len(evidence.seeds(dataset, share, arm))) < expected_seeds(arm, share)
    ]


# --- Plain values -----------------------------------------------------------------------------------


def _interval(found: Inference) -> list[float | None]:
    return [_plain(found.value), _plain(found.low), _plain(found.high)]


def _over_seeds(values: Sequence[float | None]) -> list[float | None] | None:
    """[mean, half-width or None]; None where a seed has no pair."""
    if any(value is None for value in values):
        return None
    return [_plain(number) for number in crossed.interval_over_seeds(values)]


def _plain(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _nan(number: float | None) -> float:
    return math.nan if number is None else number
