"""All numbers of the evidence tables, from trials and ranks, as one JSON-able dict.

Every trial of an arm answers the same task, so arms are compared pair by pair, see `benchmarks.evidence.inference`.
What lacks seeds is kept, and listed in `missing`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.claims import claims_of
from benchmarks.evidence.datasets import DATASETS, STUDIED
from benchmarks.evidence.run import DETERMINISTIC, SEEDS, SPLITS
from benchmarks.evidence.tested import CONTROLS, METRICS, PRIMARY, Evidence
from benchmarks.evidence.trials import ARMS, BASELINES, PROPOSALS, RECOMMENDED, REGULARIZERS, Trial, is_of
from recsys_ssl.evaluation import crossed
from recsys_ssl.evaluation.crossed import Inference
from recsys_ssl.evaluation.slices import ITEM_SLICES
from recsys_ssl.evaluation.statistics import adjust_holm

Row = dict[str, Any]

SHARES = {"full": 1.0, "sparse": 0.1}

TREATMENTS = tuple(dict.fromkeys(["cfm", RECOMMENDED]))
VARIANTS = tuple(arm for arm in REGULARIZERS if arm not in (*CONTROLS, *TREATMENTS))
GROUPS = {
    "controls": list(CONTROLS),
    "treatments": list(TREATMENTS),
    "variants": list(VARIANTS),
    "proposals": list(PROPOSALS),
    "baselines": list(BASELINES),
}
CURVES = {"ssl.weight": 0.3, "ssl.value_dropout": 0.3, "ssl.batch_size": 512}
"""The settings that curves vary, with the defaults of TrainConfig, which settings may leave out."""


def summarise(trials: Sequence[Trial], ranks: Path, tasks: Path) -> Row:
    """Computes every table.

    Args:
        ranks: directory of KEY.npz, the ranks of the tests.
        tasks: directory of DATASET-SPLITSEED.npz, which user each rank belongs to.
    """
    evidence = Evidence(trials, ranks, tasks)
    known = {dataset for dataset, *_ in evidence.tests}
    datasets = [dataset for dataset in STUDIED if dataset in known]
    regularizers = [arm for arm in REGULARIZERS if arm != "none"]
    tables = {
        "recommended": RECOMMENDED,
        "labels": dict(ARMS),
        "groups": GROUPS,
        "datasets": datasets,
        "cells": {
            name: {dataset: cells_of(evidence, dataset, share) for dataset in datasets}
            for name, share in SHARES.items()
        },
        "comparisons": compare_families(evidence, datasets),
        "gains": compare_all(evidence, datasets, "none", regularizers),
        "proposals": compare_all(evidence, datasets, "none", PROPOSALS),
        "curves": curves_of(trials, datasets),
        "splits": splits_of(evidence),
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
            **{metric: _over_seeds([metrics["all"][metric] for metrics in found]) for metric in METRICS},
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


def compare_families(evidence: Evidence, datasets: Sequence[str]) -> Row:
    """Per share and data set: each of TREATMENTS against all other arms at the primary metric.

    `holm` is corrected within a family: a treatment against CONTROLS (`controls`) or against all else (`others`).
    """
    result: Row = {}
    for share_name, share in SHARES.items():
        for dataset in datasets:
            rows = result.setdefault(share_name, {})[dataset] = []
            for treatment in TREATMENTS:
                others = [arm for arm in ARMS if arm not in (treatment, *CONTROLS)]
                for family, against in (("controls", CONTROLS), ("others", others)):
                    found = [(arm, compare_arms(evidence, dataset, share, treatment, arm)) for arm in against]
                    family_rows = [
                        {"treatment": treatment, "against": arm, "family": family, **of_all[PRIMARY]}
                        for arm, of_all in found
                        if of_all
                    ]
                    adjusted = adjust_holm(np.array([_nan(row["p"]) for row in family_rows], np.float64))
                    for row, holm in zip(family_rows, adjusted):
                        row["holm"] = _plain(holm)
                    rows += family_rows
    return result


def compare_all(evidence: Evidence, datasets: Sequence[str], control: str, treatments: Sequence[str]) -> Row:
    """Per share, data set and treatment: METRICS and slices against the control, without correction."""
    return {
        name: {
            dataset: {
                arm: found
                for arm in treatments
                if (found := compare_arms(evidence, dataset, share, arm, control)) is not None
            }
            for dataset in datasets
        }
        for name, share in SHARES.items()
    }


def splits_of(evidence: Evidence) -> Row:
    """Per split seed of the data set that has several: the recommended arm over none, full data."""
    dataset, seeds = SPLITS
    found = {str(seed): compare_arms(evidence, dataset, 1.0, RECOMMENDED, "none", seed) for seed in seeds}
    return {"dataset": dataset, "rows": {seed: rows[PRIMARY] for seed, rows in found.items() if rows}}


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


def curves_of(trials: Sequence[Trial], datasets: Sequence[str]) -> list[Row]:
    """Validation Recall@50 over each of CURVES with all else as tuned; the tuned point comes from the tests.

    A curve trial belongs to the curve of a setting when the tests of its arm have all its other settings.
    """
    groups: dict[tuple, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.purpose in ("curve", "test") and trial.split_seed == 0 and trial.dataset in datasets:
            groups[trial.dataset, trial.share, trial.arm].append(trial)
    curves = []
    for (dataset, share, arm), members in groups.items():
        varied = [trial for trial in members if trial.purpose == "curve"]
        tested = [trial for trial in members if trial.purpose == "test"]
        control = [t.validation_recall_at_50 for t in groups.get((dataset, share, "none"), []) if t.purpose == "test"]
        for setting in CURVES:
            kept = {name: of for name, of in _settings((tested or varied)[0]).items() if name != setting}
            points: dict[float, dict[int, float | None]] = {}
            for own in (varied, tested):  # where both have a point, that of the curve stands: all have its seeds
                found: dict[float, dict[int, float | None]] = defaultdict(dict)
                for trial in own:
                    chosen = _settings(trial)
                    value = float(chosen.pop(setting))
                    if chosen == kept:
                        found[value][trial.seed] = trial.validation_recall_at_50
                points = {**found, **points}
            if varied and len(points) > 1:
                curves.append(
                    {
                        "dataset": dataset,
                        "share": share,
                        "arm": arm,
                        "setting": setting,
                        "tuned": _settings(tested[0])[setting] if tested else None,
                        "none": _over_seeds(control) if control else None,
                        "points": [
                            {"x": x, "seeds": len(points[x]), "value": _over_seeds(list(points[x].values()))}
                            for x in sorted(points)
                        ],
                    }
                )
    return sorted(curves, key=lambda c: (list(CURVES).index(c["setting"]), datasets.index(c["dataset"]), -c["share"]))


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
        if split_seed or not names:
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


def _settings(trial: Trial) -> Row:
    return {**CURVES, **DATASETS[trial.dataset].settings(trial.share), **trial.settings}


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
