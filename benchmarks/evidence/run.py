"""Runs the trials of the study: tunes every arm with the same budget, then tests it with three seeds.

python -m benchmarks.evidence.run            everything that is missing, 2 processes of one thread each
python -m benchmarks.evidence.run --datasets frappe movielens-small --purposes tune test

A trial that stands in `benchmarks/results/evidence/trials.jsonl` is not run again, but for a test whose ranks are not
there.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.evidence.datasets import DATASETS, QUERIES_ARE_ITEMS, STUDIED, prepare
from benchmarks.evidence.trials import (
    BASELINES,
    PROPOSALS,
    RANKS,
    REGULARIZERS,
    TRIALS,
    Trial,
    is_of,
    read_trials,
    run_trial,
)
from benchmarks.processes import run_all
from recsys_ssl.baselines.settings import DEFAULTS, GRIDS, LADDERS, MOST_TRIALS

SHARES = (1.0, 0.1)
SEEDS = range(3)
PURPOSES = ("tune", "test")

Steps = tuple[tuple[str, tuple[Any, ...]], ...]
"""Settings, one after the other, and the values that are tried of each."""

_WEIGHTS = (0.3, 0.1, 1.0, 0.03)


def steps_of(arm: str, dataset: str, share: float) -> Steps:
    """The search of an arm of towers: eight trials for each, every one of full length.

    What a regulariser adds is searched first: through which towers the views go, its weight, and what is dropped; then
    the temperature of the main loss. A plain arm has as many trials for what all arms share.
    """
    shared = DATASETS[dataset].settings(share)

    def times(name: str, *factors: float) -> tuple[str, tuple[float, ...]]:
        return name, tuple(round(factor * shared[name], 6) for factor in factors)

    temperature, prior = times("temperature", 0.7, 1.4), times("popularity_prior", 0.5, 1.5)
    if arm == "none":
        return times("learning_rate", 1.0, 0.5, 2.0, 0.25), temperature, prior
    if arm == "random_start":  # what all arms share suits a start at factors, which asks for smaller steps
        return ("learning_rate", (0.1, 0.05, 0.2, 0.02)), temperature, prior
    if arm == "feature_dropout":
        rates = ("ssl.feature_dropout", (0.1, 0.2, 0.4, 0.05))
        return rates, temperature, times("learning_rate", 0.5, 2.0)
    if arm in ("spread_out", "across_towers"):
        of_loss = ("ssl.weight", _WEIGHTS), ("ssl.temperature", (0.15,))
        return *of_loss, temperature, times("learning_rate", 0.5)
    if dataset in QUERIES_ARE_ITEMS:
        towers = ("ssl.towers", ("item", "both"))
        return towers, ("ssl.weight", _WEIGHTS[1:]), ("ssl.value_dropout", (0.0,)), temperature
    return ("ssl.weight", _WEIGHTS), ("ssl.value_dropout", (0.0, 0.6)), temperature


# These give the same answer with every seed; below a share of 1 the seed still draws what they train on.
DETERMINISTIC = ("popular", "own_counts", "most_recent", "itemknn", "ease")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--shares", nargs="+", type=float, choices=SHARES, default=list(SHARES))
    parser.add_argument("--arms", nargs="+", default=[*REGULARIZERS, *PROPOSALS, *BASELINES])
    parser.add_argument("--purposes", nargs="+", choices=PURPOSES, default=list(PURPOSES))
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    for name in options.datasets:
        prepare(name)
    # Each round runs what the trials before it have made known: a search step needs the best so far.
    while pending := _list_pending(read_trials(), options):
        run_all(pending, run_trial, TRIALS, options.workers)


def _list_pending(done: Sequence[Trial], options: argparse.Namespace) -> list[Trial]:
    # Tables compare ranks: a test whose ranks are not here is missing.
    known = {trial.key for trial in done if trial.purpose != "test" or (RANKS / f"{trial.key}.npz").exists()}
    planned = []
    for dataset, share in itertools.product(options.datasets, options.shares):
        if share < 1.0 and dataset not in STUDIED:
            continue
        planned += list(_plan_cell(done, dataset, share, options))
    return [trial for trial in planned if trial.key not in known]


def _plan_cell(done: Sequence[Trial], dataset: str, share: float, options: argparse.Namespace) -> Iterator[Trial]:
    for arm in options.arms:
        if not is_of(arm, dataset):
            continue
        # A proposal differs from `none` in its proposal only, and takes its settings.
        best, missing = search(done, dataset, share, "none" if arm in PROPOSALS else arm)
        if missing:
            if "tune" in options.purposes:
                yield from missing
            continue
        if "test" in options.purposes:
            seeds = SEEDS[: options.seeds]
            for seed in seeds[:1] if share == 1.0 and arm in DETERMINISTIC else seeds:
                yield Trial("test", dataset, arm, share, seed, settings=best)


def search(done: Sequence[Trial], dataset: str, share: float, arm: str) -> tuple[dict[str, Any], list[Trial]]:
    """The search of an arm as far as the trials tell it: (best settings, trials of the next step).

    For towers each step tries the values of one setting at the best of the steps before, see `search_by_coordinate`;
    baselines climb from the best of a grid, see `search_from_grid`. Validation Recall@50 decides, the first of equals.
    Nothing is missing once the search is over.
    """
    found = {trial.key: trial.validation_recall_at_50 for trial in done}
    if arm in BASELINES:
        grid = [{**settings} for settings in GRIDS[arm]]
        ladders = {name: (values, DEFAULTS[arm][name]) for name, values in LADDERS.get(arm, {}).items()}
        return search_from_grid(
            found,
            grid,
            ladders,
            MOST_TRIALS.get(arm, len(grid)),
            lambda settings: Trial("tune", dataset, arm, share, settings=settings),
        )
    steps = steps_of(arm, dataset, share)
    return search_by_coordinate(found, steps, lambda settings: Trial("tune", dataset, arm, share, settings=settings))


def drop_replaced(trials: Sequence[Trial]) -> list[Trial]:
    """The trials without tests of settings that a later search of their arm has replaced."""
    searches: dict[tuple, tuple[dict[str, Any], list[Trial]]] = {}

    def is_current(test: Trial) -> bool:
        cell = (test.dataset, test.share, "none" if test.arm in PROPOSALS else test.arm)
        if cell not in searches:
            searches[cell] = search(trials, *cell)
        best, missing = searches[cell]
        return bool(missing) or dict(test.settings) == best

    return [trial for trial in trials if trial.purpose != "test" or is_current(trial)]


def search_by_coordinate(
    found: Mapping[str, float | None],
    steps: Sequence[tuple[str, Sequence[Any]]],
    make_trial: Callable[[dict[str, Any]], Any],
) -> tuple[dict[str, Any], list[Any]]:
    """(Best settings, trials of the next step): each step tries the values of one setting at the best before it.

    The first of equals is the best. Nothing is missing once the search is over.

    Args:
        found: key of a trial -> what decides, the greater the better.
        steps: setting and its values, in the order of the search.
        make_trial: settings -> the trial of them.
    """
    best: dict[str, Any] = {}
    for name, values in steps:
        step = [make_trial({**best, name: value}) for value in values]
        missing = [trial for trial in step if trial.key not in found]
        if missing:
            return best, missing
        before = [make_trial(best)] if best else []
        best = dict(max([*before, *step], key=lambda trial: found[trial.key]).settings)
    return best, []


def search_from_grid(
    found: Mapping[str, float | None],
    grid: Sequence[dict[str, Any]],
    ladders: Mapping[str, tuple[Sequence[Any], Any]],
    most_trials: int,
    make_trial: Callable[[dict[str, Any]], Any],
) -> tuple[dict[str, Any], list[Any]]:
    """(Best settings, trials of the next step): all of a grid, then up and down the ladders from its best.

    For one setting after the other, the values beside the best's own are tried with all else as it is, until none is
    better than the best; then the next setting has its turn, and all have one again until nothing changes. So a best
    value has both its neighbours behind it, unless it is an end of its ladder or the trials are used up. The earlier
    of equals is the best.

    Args:
        found: key of a trial -> what decides, the greater the better.
        ladders: setting -> its values in order, and the value of a grid's settings that leave it out.
        most_trials: in all, the grid's included; a step that would pass it is cut short.
        make_trial: settings -> the trial of them.
    """
    tried = [make_trial(settings) for settings in grid]
    missing = [trial for trial in tried if trial.key not in found]
    if missing:
        return {}, missing
    best = max(tried, key=lambda trial: found[trial.key])
    names, quiet = list(ladders), 0  # settings in a row that changed nothing
    while quiet < len(names):
        values, default = ladders[names[0]]
        place = values.index(best.settings.get(names[0], default))
        beside = (*values[max(place - 1, 0) : place], *values[place + 1 : place + 2])
        step = [make_trial({**best.settings, names[0]: value}) for value in beside]
        known = {trial.key for trial in tried}
        new = [trial for trial in step if trial.key not in known][: most_trials - len(tried)]
        missing = [trial for trial in new if trial.key not in found]
        if missing:
            return dict(best.settings), missing
        tried += new
        better = max([best, *new], key=lambda trial: found[trial.key])
        if better is best:
            names, quiet = [*names[1:], names[0]], quiet + 1
        else:
            best, quiet = better, 0
    return dict(best.settings), []


if __name__ == "__main__":
    main()
