"""Runs every sampler on tables of trainings with equal budgets and compares what each had found after so many trials.

python -m benchmarks.tuning.tabular --table benchmarks/results/tuning/freesolv.jsonl     30 searches of 128 trials each
python -m benchmarks.tuning.tabular --table FILE --level 0                               in its smallest part
python -m benchmarks.tuning.tabular --table FILE --repetitions 10 --trials 64

FILE is made by `benchmarks.tuning.molecule_grid` or `benchmarks.tuning.grid`. Each sampler searches with the same
seeds; differences from random search are paired by these, their p-values corrected by Holm over all samplers and
budgets of a kind. Budgets are of trials and, where the table knows what its trainings took, of seconds too: a repeat of
a point counts as a trial, and takes no time. A search that stands in `benchmarks/results/tuning/searches.jsonl` is not
run again; one of another table of the same name is.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.tuning.compare import BASELINE, compare, list_budgets
from benchmarks.tuning.tables_of_scores import Table, read_table
from recsys_ssl.tuning.config import Request, SearchConfig
from recsys_ssl.tuning.samplers import SamplerName
from recsys_ssl.tuning.study import Study
from recsys_ssl.tuning.trials import open_storage

SAMPLERS: tuple[str, ...] = get_args(SamplerName)
LEAST_REPETITIONS = 10
SEARCHES = Path("tuning") / "searches.jsonl"


@dataclasses.dataclass(frozen=True)
class Search:
    """One search in a table.

    Attributes:
        table: its name.
        scores: a hash of what it holds.
        bests: the trials that were better than all before: number from 1, score on validation, score on test (None
            where the table has none), seconds of training until its end.
        repeats: trials at a point that was tried before.
        seconds: of one core: sampler and study, since looking up takes no time.
        training_seconds: what the trainings took that were looked up, repeats not counted.
    """

    table: str
    scores: str
    sampler: str
    seed: int
    trials: int
    bests: Sequence[Sequence[float | None]] = ()
    repeats: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0

    @property
    def key(self) -> str:
        return records.hash_facts([self.table, self.scores, self.sampler, self.seed, self.trials])

    def curve(self, part: int = 1) -> list[float]:
        """[trials] the best score on validation after each trial; part 2: the score of the same point on test."""
        found: list[float] = []
        ends = [best[0] for best in self.bests[1:]] + [self.trials + 1]
        for best, end in zip(self.bests, ends):
            score = best[part]
            found += [np.nan if score is None else score] * (end - 1 - len(found))
        return found

    def find_at(self, seconds: float) -> float:
        """The best score on validation once trainings took so long; NaN where the first takes longer."""
        return next((best[1] for best in reversed(self.bests) if best[3] <= seconds), np.nan)


def read_searches(path: Path) -> list[Search]:
    """The searches of a file; none when there is no file."""
    return records.read_lines(path, lambda facts: Search(**facts))


def plan(name: str, table: Table, samplers: Sequence[str], repetitions: int, trials: int) -> list[Search]:
    """Searches without what came out, repetition by repetition."""
    digest = records.hash_facts([table.larger_is_better, dict(table.scores), dict(table.costs)])
    return [
        Search(name, digest, sampler, seed, trials)
        for seed, sampler in itertools.product(range(repetitions), dict.fromkeys([BASELINE, *samplers]))
    ]


def search(table: Table, planned: Search) -> Search:
    """Runs a search and returns it with what came out."""
    config = SearchConfig(planned.sampler, trials=planned.trials, seed=planned.seed, fresh_seeds=0)
    study = Study(open_storage(None), "tabular", "", table.space, config, table.larger_is_better)

    def score(request: Request) -> float:
        return table.look_up(request.settings)

    started = time.process_time()
    study.search(score)
    seconds = time.process_time() - started
    bests: list[list[float | None]] = []
    sign = 1 if table.larger_is_better else -1
    trials, spent = study.read().trials, 0.0
    for number, trial in enumerate(trials, 1):
        spent += table.look_up_cost(trial.settings) if trial.repeats is None else 0.0
        if trial.score is not None and (not bests or sign * trial.score > sign * bests[-1][1]):
            test = table.look_up_test(trial.settings)
            score_on_test = None if np.isnan(test) else round(test, 5)
            bests.append([number, round(trial.score, 5), score_on_test, round(spent, 3)])
    repeats = sum(trial.repeats is not None for trial in trials)
    return dataclasses.replace(
        planned, bests=bests, repeats=repeats, seconds=round(seconds, 4), training_seconds=round(spent, 3)
    )


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="of benchmarks.tuning.molecule_grid or grid")
    parser.add_argument("--level", type=int, help="of a table of molecule_grid; by default the largest whole one")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--repetitions", type=int, default=30, help="searches of each sampler")
    parser.add_argument("--trials", type=int, default=128, help="of each search")
    options = parser.parse_args(arguments)
    if options.repetitions < LEAST_REPETITIONS or options.trials < 1:
        parser.error(f"--repetitions must be at least {LEAST_REPETITIONS}, --trials at least 1.")
    try:
        table = read_table(options.table, options.level)
    except (OSError, ValueError, KeyError) as error:
        print(error, file=sys.stderr)
        return 1
    planned = plan(options.table.name.partition(".")[0], table, options.samplers, options.repetitions, options.trials)
    path = results / SEARCHES
    path.parent.mkdir(parents=True, exist_ok=True)
    records.end_last_line(path)
    known = {each.key for each in read_searches(path)}
    with path.open("a", encoding="utf-8") as file:
        for each in planned:
            if each.key not in known:
                file.write(records.to_line(search(table, each)) + "\n")
                file.flush()
    done = {each.key: each for each in read_searches(path)}
    searches = [done[each.key] for each in planned]
    print(f"{table.what}; {len(table.scores):,} points, the best {table.best:.4f}; {options.repetitions} searches each")
    for row in compare_by_trials(table, searches):
        print(_describe(row, "trials"))
    for row in compare_by_seconds(table, searches):
        print(_describe(row, "s"))
    return 0


def compare_by_trials(table: Table, searches: Sequence[Search], part: int = 1) -> list[dict[str, Any]]:
    """Rows of `compare` after 8, 16, ... trials, and after all; part 2: of the same points on the test."""
    budgets = list_budgets(min(each.trials for each in searches))
    at = {
        sampler: np.array([each.curve(part) for each in found])[:, np.array(budgets) - 1]
        for sampler, found in _group(searches)
    }
    return compare(at, budgets, table.larger_is_better)


def compare_by_seconds(table: Table, searches: Sequence[Search]) -> list[dict[str, Any]]:
    """Rows of `compare` after as many seconds as 8, 16, ... trainings take on average, as far as all searches went.

    None where the table knows no costs.
    """
    if not table.costs:
        return []
    mean = sum(table.costs.values()) / len(table.costs)
    least = min(each.training_seconds for each in searches)
    times = [mean * trials for trials in list_budgets(min(each.trials for each in searches)) if mean * trials <= least]
    if not times:
        return []
    at = {
        sampler: np.array([[each.find_at(seconds) for seconds in times] for each in found])
        for sampler, found in _group(searches)
    }
    return compare(at, [round(seconds, 1) for seconds in times], table.larger_is_better)


def _group(searches: Sequence[Search]) -> Iterator[tuple[str, list[Search]]]:
    """Samplers and their searches, by seed."""
    ordered = sorted(searches, key=lambda each: (SAMPLERS.index(each.sampler), each.seed))
    for sampler, found in itertools.groupby(ordered, lambda each: each.sampler):
        yield sampler, list(found)


def _describe(row: Mapping[str, Any], unit: str) -> str:
    text = f"{row['budget']:>5} {unit}  {row['sampler']:<18} {row['mean']:.4f} ({_span(row['interval'])})"
    if "gain" not in row:
        return text
    gain = f"over random {row['gain']:+.4f} ({_span(row['gain_interval'])}), p {row['p']:.3f}, Holm {row['holm']:.3f}"
    return f"{text}  {gain}"


def _span(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}"


if __name__ == "__main__":
    sys.exit(main())
