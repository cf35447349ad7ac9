"""From searches in tables, and of real trainings, to the numbers of docs: means, intervals and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.molecules.datasets import DATASETS
from benchmarks.tuning.compare import BASELINE, correct, find_gain, find_interval
from benchmarks.tuning.tables_of_scores import Table, list_levels, read_table
from benchmarks.tuning.tabular import (
    LEAST_REPETITIONS,
    SAMPLERS,
    SEARCHES,
    Search,
    compare_by_seconds,
    compare_by_trials,
    plan,
    read_searches,
)
from benchmarks.tuning.trained import ARMS, DEFAULT, OUTCOMES, Outcome, read_outcomes

TOP_SHARE = 0.01
LEAST_TRAINED = 3


def summarise(results: Path) -> dict[str, Any]:
    """All numbers that the files of `results/tuning` give; what is not there, or not whole, is left out."""
    searches = read_searches(results / SEARCHES)
    tables = {}
    for name in DATASETS:
        path = results / "tuning" / f"{name}.jsonl"
        for level in _list_levels(path):
            found = summarise_table(name, path, level, searches)
            if found is not None:
                tables[f"{name}-{found['points']}"] = found
    return {"tables": tables, "trained": summarise_trained(read_outcomes(results / OUTCOMES))}


def _list_levels(path: Path) -> list[int]:
    try:
        return list_levels(path)
    except (FileNotFoundError, ValueError):
        return []


def summarise_table(name: str, path: Path, level: int, searches: Sequence[Search]) -> dict[str, Any] | None:
    """Searches of all samplers in a level of a table; None where there are too few."""
    table = read_table(path, level)
    (digest,) = {each.scores for each in plan(name, table, SAMPLERS, 1, 1)}
    of_table = [each for each in searches if (each.table, each.scores) == (name, digest)]
    trials = max((each.trials for each in of_table), default=0)
    whole = _keep_whole([each for each in of_table if each.trials == trials])
    repetitions = len(whole) // len(SAMPLERS)
    if repetitions < LEAST_REPETITIONS:
        return None
    ordered = np.sort(list(table.scores.values()))[:: -1 if table.larger_is_better else 1]
    on_test = [row for row in compare_by_trials(table, whole, part=2) if row["budget"] == trials]
    correct(on_test)
    return {
        "what": table.what,
        "larger_is_better": table.larger_is_better,
        "points": len(table.scores),
        "ladders": {setting: len(of.values) for setting, of in table.space.items()},
        "trainings": table.trainings,
        "training_seconds": sum(table.costs.values()) * table.trainings,
        "scores": [float(ordered[0]), float(np.median(ordered)), float(ordered[-1])],
        "top": float(ordered[int(TOP_SHARE * len(ordered))]),
        "repetitions": repetitions,
        "trials": trials,
        "search_seconds": sum(each.seconds for each in whole),
        "rows": _with_regret(compare_by_trials(table, whole), table),
        "by_seconds": _with_regret(compare_by_seconds(table, whole), table),
        "test": on_test,
        "cost": {sampler: _cost(whole, sampler, table, ordered) for sampler in SAMPLERS},
    }


def _with_regret(rows: Iterable[Mapping[str, Any]], table: Table) -> list[dict[str, Any]]:
    return [{**row, "regret": abs(row["mean"] - table.best)} for row in rows]


def _keep_whole(searches: Sequence[Search]) -> list[Search]:
    """Those of seeds that every sampler searched with."""
    seeds = [{each.seed for each in searches if each.sampler == sampler} for sampler in SAMPLERS]
    shared = set.intersection(*seeds)
    return [each for each in searches if each.seed in shared and each.sampler in SAMPLERS]


def _cost(searches: Iterable[Search], sampler: str, table: Table, ordered: np.ndarray) -> dict[str, Any]:
    """What a sampler takes: time, repeats, and trials until one is among the best hundredth of the points."""
    own = [each for each in searches if each.sampler == sampler]
    top = ordered[int(TOP_SHARE * len(ordered))]
    sign = 1 if table.larger_is_better else -1
    firsts = [next((best[0] for best in each.bests if sign * best[1] >= sign * top), None) for each in own]
    reached = [each.trials + 1 if first is None else first for each, first in zip(own, firsts)]
    median = statistics.median_high(reached)
    return {
        "milliseconds": 1000 * statistics.fmean(each.seconds / each.trials for each in own),
        "repeats": statistics.fmean(each.repeats / each.trials for each in own),
        "reached": statistics.fmean(first is not None for first in firsts),
        "median_trials": None if median > own[0].trials else median,
    }


# --- Real trainings ------------------------------------------------------------------------------------


def summarise_trained(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A group for each data set, model, space and budget that all arms have in three repetitions at least.

    A repetition's score is the mean test of the best settings over fresh seeds; differences from random search and from
    the defaults are paired by repetition, p by Holm over all of a group.
    """
    groups: dict[tuple[Any, ...], list[Outcome]] = {}
    for each in outcomes:
        if each.arm != DEFAULT:
            groups.setdefault((*_task_of(each), each.trials, each.searched), []).append(each)
    found = []
    for (*task, trials, _), searches in groups.items():
        dataset, model, space, fresh, presentations, _ = task
        members = [each for each in outcomes if each.arm == DEFAULT and _task_of(each) == tuple(task)] + searches
        of_arm = {arm: {each.repetition: each for each in members if each.arm == arm} for arm in ARMS}
        shared = sorted(set.intersection(*(set(each) for each in of_arm.values())))
        if len(shared) < LEAST_TRAINED:
            continue
        larger = DATASETS[dataset].task == "classification"
        tests = {arm: np.array([np.mean(each[seed].test) for seed in shared]) for arm, each in of_arm.items()}
        rows = [_row(arm, tests, [of_arm[arm][seed] for seed in shared], larger) for arm in ARMS]
        correct([row["random"] for row in rows if "random" in row])
        correct([row["default"] for row in rows if "default" in row])
        found.append(
            {
                "dataset": dataset,
                "model": model,
                "space": space,
                "fresh": fresh,
                "presentations": presentations,
                "trials": trials,
                "repetitions": len(shared),
                "larger_is_better": larger,
                "seconds": sum(each.training_seconds + each.search_seconds for each in members),
                "rows": rows,
            }
        )
    return found


def _task_of(outcome: Outcome) -> tuple[Any, ...]:
    """What searches and defaults that are compared have in common."""
    return outcome.dataset, outcome.model, outcome.space, outcome.fresh, outcome.presentations, outcome.encoder


def _row(arm: str, tests: Mapping[str, np.ndarray], outcomes: Sequence[Outcome], larger: bool) -> dict[str, Any]:
    sign = 1 if larger else -1
    found = [each.found for each in outcomes if each.found is not None]
    row: dict[str, Any] = {
        "arm": arm,
        "found": statistics.fmean(found) if found else None,
        "validation": float(np.mean([each.validation for each in outcomes])),
        "test": float(tests[arm].mean()),
        "interval": find_interval(tests[arm]),
        "overhead": statistics.fmean(each.search_seconds / max(each.trials, 1) for each in outcomes),
    }
    for name, reference in (("random", BASELINE), ("default", DEFAULT)):
        if arm not in (reference, DEFAULT):
            row[name] = find_gain(sign * (tests[arm] - tests[reference]))
    return row
