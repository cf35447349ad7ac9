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

from benchmarks.evidence import inference
from benchmarks.evidence.datasets import DATASETS
from benchmarks.evidence.inference import Inference, Statistic
from benchmarks.evidence.run import DETERMINISTIC, SEEDS
from benchmarks.evidence.trials import ARMS, BASELINES, PAPER_BASELINES, PROPOSALS, RECOMMENDED, REGULARIZERS, Trial
from recsys_ssl.evaluation.slices import ITEM_SLICES
from recsys_ssl.evaluation.statistics import adjust_holm

Row = dict[str, Any]

SHARES = {"full": 1.0, "sparse": 0.1}
METRICS = ("recall_at_50", "recall_at_10", "map_at_10")
PRIMARY = "recall_at_50"
SPLITS = ("wikispeedia", (0, 1, 2))

CONTROLS = ("none", *PAPER_BASELINES)
"""The regularizers that self-supervision has to beat: one Holm family with a treatment, per data set and share."""
TREATMENTS = tuple(dict.fromkeys(["cfm", RECOMMENDED]))
VARIANTS = tuple(arm for arm in REGULARIZERS if arm not in (*CONTROLS, *TREATMENTS))
GROUPS = {
    "controls": list(CONTROLS),
    "treatments": list(TREATMENTS),
    "variants": list(VARIANTS),
    "proposals": list(PROPOSALS),
    "baselines": list(BASELINES),
}
CURVES = {"ssl_weight": 0.3, "value_dropout": 0.3}
"""The settings that curves vary, with the defaults of TrainConfig, which settings may leave out."""


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


def summarise(trials: Sequence[Trial], ranks: Path, tasks: Path) -> Row:
    """Computes every table.

    Args:
        ranks: directory of KEY.npz, the ranks of the tests.
        tasks: directory of DATASET-SPLITSEED.npz, which user each rank belongs to.
    """
    evidence = Evidence(trials, ranks, tasks)
    known = {dataset for dataset, *_ in evidence.tests}
    datasets = [dataset for dataset in DATASETS if dataset in known]
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
                    found = [(arm, _compare(evidence, dataset, share, treatment, arm)) for arm in against]
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
                if (found := _compare(evidence, dataset, share, arm, control)) is not None
            }
            for dataset in datasets
        }
        for name, share in SHARES.items()
    }


def splits_of(evidence: Evidence) -> Row:
    """Per split seed of the data set that has several: the recommended arm over none, full data."""
    dataset, seeds = SPLITS
    found = {str(seed): _compare(evidence, dataset, 1.0, RECOMMENDED, "none", seed) for seed in seeds}
    return {"dataset": dataset, "rows": {seed: rows[PRIMARY] for seed, rows in found.items() if rows}}


def _compare(
    evidence: Evidence, dataset: str, share: float, treatment: str, control: str, split_seed: int = 0
) -> Row | None:
    pair = evidence.pair(dataset, share, treatment, control, split_seed)
    if pair is None:
        return None
    rows = {}
    for name in (*METRICS, *ITEM_SLICES):
        ours, theirs = pair[0][name], pair[1][name]
        if ours is None or theirs is None:
            rows[name] = None
            continue
        difference = inference.subtract(ours, theirs)
        found, relative = inference.infer(difference.value, difference), inference.infer_relative(ours, theirs)
        rows[name] = {
            "seeds": pair[2],
            "users": int(np.count_nonzero(difference.counted)),
            "values": [ours.value, theirs.value],
            "difference": _interval(found),
            "p": _plain(found.p_value),
            "user_error": _plain(found.user_error),
            "seed_error": _plain(found.seed_error),
            "degrees_of_freedom": _plain(found.degrees_of_freedom),
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
    """Per share, data set and arm: the settings of its tests, and how many tuning trials chose them."""
    counts = Counter((t.dataset, t.share, t.arm) for t in trials if t.purpose == "tune" and t.split_seed == 0)
    result: Row = {name: {dataset: {} for dataset in datasets} for name in SHARES}
    for (dataset, split_seed, share, arm), tests in evidence.tests.items():
        names = [name for name, value in SHARES.items() if value == share]
        if split_seed or not names:
            continue
        distinct = []
        for trial in tests.values():
            if trial.settings not in distinct:
                distinct.append(dict(trial.settings))
        result[names[0]][dataset][arm] = {"settings": distinct, "tuning_trials": counts[dataset, share, arm]}
    return result


def missing_of(evidence: Evidence) -> list[Row]:
    """What was expected and is not there: every arm on every data set and share, as many seeds as planned."""
    return [
        {"share": name, "dataset": dataset, "arm": arm, "seeds": found, "expected": expected_seeds(arm, share)}
        for name, share in SHARES.items()
        for arm in ARMS
        for dataset in DATASETS
        if (found := len(evidence.seeds(dataset, share, arm))) < expected_seeds(arm, share)
    ]


def _settings(trial: Trial) -> Row:
    return {**CURVES, **DATASETS[trial.dataset].settings(trial.share), **trial.settings}


# --- Claims -----------------------------------------------------------------------------------------


def claims_of(evidence: Evidence, tables: Row) -> list[Row]:
    """The numbers that README states: `id`, `what`, `value`, `interval`; those without any data are left out."""
    datasets, label, cfm = tables["datasets"], ARMS[RECOMMENDED], ARMS["cfm"]
    test = "Recall@50, paired over users and seeds, Holm-corrected p < 0.05 and positive"
    claims = []

    def count(id: str, share: str, treatment: str, against: Sequence[str], name: str) -> None:
        wins, compared = 0, 0
        for dataset in datasets:
            rows = {
                row["against"]: row
                for row in tables["comparisons"][share][dataset]
                if (row["treatment"], row["family"]) == (treatment, "controls")
            }
            if set(against) <= set(rows):
                compared += 1
                wins += all(beats(rows[arm]) for arm in against)
        if compared:
            training = "all training data" if share == "full" else "10% of the training data"
            what = f"data sets of {compared} where {name}, {training} ({test})"
            claims.append({"id": id, "what": what, "value": wins, "interval": None})

    names = [ARMS[arm] for arm in CONTROLS]
    everything = f"{label} beats each of {', '.join(names)}"
    count("ssl_beats_none_full_datasets", "full", RECOMMENDED, ["none"], f"{label} beats {names[0]}")
    count("ssl_beats_all_baselines_full_datasets", "full", RECOMMENDED, CONTROLS, everything)
    count("ssl_beats_all_baselines_sparse_datasets", "sparse", RECOMMENDED, CONTROLS, everything)
    count("cfm_paper_beats_none_sparse_datasets", "sparse", "cfm", ["none"], f"{cfm} beats {names[0]}")

    over = f"{label} over {names[0]}, relative gain in Recall@50, mean over data sets"
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
        mean, half = inference.interval_over_seeds([t.metrics["all"]["recall_at_10"] for t in tests.values()])
        claims.append(
            {
                "id": "wikispeedia_recall_at_10",
                "what": f"Recall@10 of {label} on wikispeedia, split seed 0, mean over {len(tests)} seeds",
                "value": mean,
                "interval": None if math.isnan(half) else [mean - half, mean + half],
            }
        )
    return claims


def beats(row: Row) -> bool:
    """Whether a comparison of a family is positive and significant at 5% after Holm's correction."""
    return row["difference"][0] > 0 and row["holm"] is not None and row["holm"] < 0.05


def _ratio_of_gains(
    evidence: Evidence, datasets: Sequence[str], treatment: str, top: tuple[float, str], bottom: tuple[float, str]
) -> Row | None:
    """Q = mean over data sets of a relative gain over `none` / that of another, where both are defined.

    The interval is by the delta method, and None where the divisor's own interval holds 0 (Q is then unbounded) or
    an error is unknown. Data sets are fixed and independent; within one, the two gains share users and seeds.
    """
    used, gains = [], []
    for dataset in datasets:
        found = []
        for share, column in (top, bottom):
            pair = evidence.pair(dataset, share, treatment, "none")
            if pair and pair[0][column] is not None and pair[1][column] is not None:
                found.append(inference.relative_gain(pair[0][column], pair[1][column]))
        if len(found) == 2 and None not in found:
            used.append(dataset)
            gains.append(found)
    if not used:
        return None
    above, below = (float(np.mean([pair[i].value for pair in gains])) for i in (0, 1))
    if below == 0.0:
        return None
    size, ratio, interval = len(gains), above / below, None
    divisor = inference.infer(below, *(inference.combine(pair[1].value, (1.0 / size, pair[1])) for pair in gains))
    same_seeds = all(len(pair[0].seeds) == len(pair[1].seeds) for pair in gains)
    if same_seeds and (divisor.low > 0.0 or divisor.high < 0.0):
        weight = 1.0 / (size * below)
        parts = [inference.combine(0.0, (weight, pair[0]), (-ratio * weight, pair[1])) for pair in gains]
        found = inference.infer(ratio, *parts)
        interval = None if math.isnan(found.low) else [found.low, found.high]
    return {"datasets": used, "top": above, "bottom": below, "value": ratio, "interval": interval}


# --- Plain values -----------------------------------------------------------------------------------


def _interval(found: Inference) -> list[float | None]:
    return [_plain(found.value), _plain(found.low), _plain(found.high)]


def _over_seeds(values: Sequence[float | None]) -> list[float | None] | None:
    """[mean, half-width or None]; None where a seed has no pair."""
    if any(value is None for value in values):
        return None
    return [_plain(number) for number in inference.interval_over_seeds(values)]


def _plain(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _nan(number: float | None) -> float:
    return math.nan if number is None else number
