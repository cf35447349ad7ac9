"""The numbers of the tables, from trials and ranks: metrics of the arms, and their differences paired by target."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compounds.trials import ARMS, Trial
from benchmarks.evidence.tested import METRICS, PRIMARY, read_queries, sum_by_user
from recsys_ssl.evaluation import crossed
from recsys_ssl.evaluation.crossed import Statistic

CONTROLS = ("id", "grover_scratch")
REFERENCES = (*CONTROLS, "ecfp")
"""What the arms with a pre-trained encoder are compared to."""
PRETRAINED = tuple(arm for arm, facts in ARMS.items() if facts.encoder == "pretrained")
CANDIDATES = tuple(arm for arm in PRETRAINED if ARMS[arm].features == ARMS["grover_scratch"].features)
"""Of these the claim takes the best on validation: they read what the encoder from scratch reads, and no substructures,
so that a gain over it is that of pre-training."""

Row = dict[str, Any]


def summarise(trials: Sequence[Trial], work: Path) -> Row:
    """Every number of the tables and of the claims.

    Args:
        work: directory in which the tests left their ranks.

    Raises:
        ValueError: nothing was tested, or ranks are missing.
    """
    tests: dict[str, dict[int, Trial]] = defaultdict(dict)
    for trial in trials:
        if trial.purpose == "test":
            tests[trial.arm][trial.seed] = trial
    if not tests:
        raise ValueError("tables must have tests. Received none. Run python -m benchmarks.compounds.run --model DIR.")
    _check_encoders(tests)
    queries = read_queries(work / "task.npz")

    def measure(arm: str, seeds: Sequence[int]) -> dict[str, Statistic | None]:
        sums = [sum_by_user(_ranks_of(tests[arm][seed], work), queries, tests[arm][seed].metrics["all"])
                for seed in seeds]  # fmt: skip
        stacked = {name: zip(*(of_seed[name] for of_seed in sums)) for name in METRICS}
        return {name: crossed.measure(*map(np.stack, parts)) for name, parts in stacked.items()}

    def compare(treatment: str, control: str) -> Row | None:
        seeds = sorted(set(tests.get(treatment, ())) & set(tests.get(control, ())))
        if len(seeds) < 2:
            return None
        ours, theirs = measure(treatment, seeds), measure(control, seeds)
        differences = {name: crossed.subtract(ours[name], theirs[name]) for name in METRICS}
        found = {name: crossed.infer(difference.value, difference) for name, difference in differences.items()}
        return {name: {"difference": [_plain(of.value), _plain(of.low), _plain(of.high)]} for name, of in found.items()}

    any_test = next(iter(next(iter(tests.values())).values()))
    comparisons = {
        treatment: {
            control: found for control in REFERENCES if control in tests and (found := compare(treatment, control))
        }
        for treatment in PRETRAINED
        if treatment in tests
    }
    arms = {arm: _describe(tests[arm], trials) for arm in ARMS if arm in tests}
    tables = {
        "labels": {arm: facts.label for arm, facts in ARMS.items()},
        "references": list(REFERENCES),
        "arms": arms,
        "comparisons": comparisons,
        "pairs": any_test.metrics["all"]["pairs"],
        "queries": queries.num_users,
        "items": any_test.num_items,
        "seconds": sum(trial.seconds for trial in trials),
    }
    return {**tables, "claims": claims_of(tables)}


def claims_of(tables: Row) -> list[Row]:
    """The numbers that README states: `id`, `what`, `value`, `interval`; none before all of their arms are tested."""
    arms, comparisons = tables["arms"], tables["comparisons"]
    if not all(arm in arms for arm in (*CONTROLS, *CANDIDATES)):
        return []
    best = max(CANDIDATES, key=lambda arm: arms[arm]["validation"])
    control = max(CONTROLS, key=lambda arm: arms[arm][PRIMARY][0])
    if control not in comparisons[best]:
        return []
    value, low, high = comparisons[best][control][PRIMARY]["difference"]
    if low is None:
        return []
    labels = tables["labels"]
    what = (
        f"Recall@50 on compounds without an event in training: {labels[best]} (chosen on validation) less "
        f"{labels[control]} (the better of {' and '.join(labels[arm] for arm in CONTROLS)} on the test)"
    )
    bound = f"{what}: lower end of the 95% interval over targets and seeds"
    return [
        {"id": "cold_compound_gain", "what": what, "value": value, "interval": [low, high]},
        {"id": "cold_compound_gain_lower_bound", "what": bound, "value": low, "interval": None},
    ]


def _describe(tests: Mapping[int, Trial], trials: Sequence[Trial]) -> Row:
    """An arm's metrics as [mean, half-width of the t-interval over seeds or None], and how it came to its settings."""
    one = next(iter(tests.values()))
    tuned = [t for t in trials if (t.purpose, t.arm, t.encoder) == ("tune", one.arm, one.encoder)]
    metrics = {
        name: [_plain(x) for x in crossed.interval_over_seeds([t.metrics["all"][name] for t in tests.values()])]
        for name in METRICS
    }
    return {
        **metrics,
        "seeds": len(tests),
        "validation": max(trial.validation_recall_at_50 for trial in tuned),
        "settings": dict(one.settings),
        "tuning_trials": len(tuned),
        "seconds": sum(trial.seconds for trial in (*tests.values(), *tuned)),
    }


def _check_encoders(tests: Mapping[str, Mapping[int, Trial]]) -> None:
    for kind in ("scratch", "pretrained"):
        of_kind = [t.encoder for arm, own in tests.items() if ARMS[arm].encoder == kind for t in own.values()]
        if any(encoder != of_kind[0] for encoder in of_kind):
            raise ValueError(
                f"tests must share one encoder. Received {kind} ones that differ: {of_kind}. "
                "Remove the lines of the other encoder from the trials."
            )


def _ranks_of(trial: Trial, work: Path) -> Path:
    path = work / "ranks" / f"{trial.key}.npz"
    if not path.exists():
        raise ValueError(
            f"{path} must hold the ranks of a test of {trial.arm}. It is missing. Remove the trial and run "
            "python -m benchmarks.compounds.run again, or make the tables with --from-json."
        )
    return path


def _plain(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
