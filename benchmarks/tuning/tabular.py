"""Runs every sampler on a tabulated objective with equal budgets and compares what each had found after so many trials.

python -m benchmarks.tuning.tabular --table FILE                      10 searches of 64 trials by each sampler
python -m benchmarks.tuning.tabular --table FILE --repetitions 30 --trials 128 --record NAME

FILE is made by `benchmarks.tuning.grid`. Each sampler searches with the same seeds; differences from random search are
paired by these, their p-values corrected by Holm over all samplers and budgets. A repeat of a point counts as a trial.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy import stats

from benchmarks.claims import RESULTS, record
from recsys_ssl.evaluation.statistics import adjust_holm
from recsys_ssl.tuning.config import Request, SearchConfig
from recsys_ssl.tuning.samplers import SamplerName
from recsys_ssl.tuning.space import Choice, Dimension, Ladder
from recsys_ssl.tuning.study import Study
from recsys_ssl.tuning.trials import open_storage

BASELINE = "random"
SAMPLERS: tuple[str, ...] = get_args(SamplerName)
LEAST_REPETITIONS = 10


@dataclasses.dataclass(frozen=True)
class Table:
    """A score for each point of a grid.

    Attributes:
        space: setting -> its values; a list of numbers is a ladder, others are a choice.
        scores: the values of a point, in the order of the space, as JSON -> score.
    """

    what: str
    larger_is_better: bool
    space: Mapping[str, Dimension]
    scores: Mapping[str, float]

    def look_up(self, settings: Mapping[str, Any]) -> float:
        return self.scores[_key(settings[name] for name in self.space)]

    @property
    def best(self) -> float:
        return (max if self.larger_is_better else min)(self.scores.values())


def _key(values) -> str:
    return json.dumps(list(values))


def read_table(path: Path) -> Table:
    """Reads `{"what", "larger_is_better", "points": [{"settings": {...}, "score": x}, ...]}`.

    Raises:
        ValueError: a point of the grid is missing or there twice, or a score is not finite.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    points = facts["points"]
    names = list(points[0]["settings"])
    values = {name: sorted({_key([point["settings"][name]]) for point in points}, key=_order) for name in names}
    ladders = {name: [json.loads(text)[0] for text in found] for name, found in values.items()}
    space = {name: _make_dimension(found) for name, found in ladders.items() if len(found) > 1}
    scores = {_key(point["settings"][name] for name in space): float(point["score"]) for point in points}
    wanted = [_key(point) for point in itertools.product(*(ladders[name] for name in space))]
    missing = [key for key in wanted if key not in scores]
    if missing or len(points) != len(wanted) or not all(map(math.isfinite, scores.values())):
        raise ValueError(
            f"{path} must hold a finite score for each of {len(wanted):,} points once. Received: {len(points):,} "
            f"points, {len(missing):,} missing. Let benchmarks.tuning.grid finish."
        )
    return Table(facts["what"], facts["larger_is_better"], space, scores)


def _order(text: str) -> tuple[bool, Any]:
    (value,) = json.loads(text)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return not is_number, value if is_number else text


def _make_dimension(values: Sequence[Any]) -> Dimension:
    are_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return Ladder(tuple(values)) if are_numbers else Choice(tuple(values))


def search(table: Table, sampler: str, seed: int, trials: int) -> list[float]:
    """[trials] the best score after each trial."""
    config = SearchConfig(sampler, trials=trials, seed=seed, fresh_seeds=0)
    study = Study(open_storage(None), "tabular", "", table.space, config, table.larger_is_better)

    def score(request: Request) -> float:
        return table.look_up(request.settings)

    study.search(score)
    return [best for best in study.read().best_so_far() if best is not None]


def compare(curves: Mapping[str, np.ndarray], budgets: Sequence[int], larger_is_better: bool) -> list[dict[str, Any]]:
    """A row for each sampler and budget.

    Args:
        curves: sampler -> [repetitions, trials], the best score after each trial; row i is of seed i.

    Returns:
        mean and its 95% interval (of Student's t) of the best score; the gain over random search, positive where the
        sampler is better, with interval, p of a paired t-test and p by Holm over all rows but those of random search.
    """
    rows = []
    for budget, (sampler, curve) in itertools.product(budgets, curves.items()):
        at = curve[:, budget - 1]
        row = {"sampler": sampler, "budget": budget, "mean": float(at.mean()), "interval": _interval(at)}
        if sampler != BASELINE:
            gain = (at - curves[BASELINE][:, budget - 1]) * (1 if larger_is_better else -1)
            row |= {"gain": float(gain.mean()), "gain_interval": _interval(gain), "p": _p_value(gain)}
        rows.append(row)
    compared = [row for row in rows if "p" in row]
    for row, adjusted in zip(compared, adjust_holm(np.array([row["p"] for row in compared]))):
        row["holm"] = float(adjusted)
    return rows


def _interval(values: np.ndarray) -> tuple[float, float]:
    mean, error = float(values.mean()), float(stats.sem(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - half, mean + half


def _p_value(differences: np.ndarray) -> float:
    """Of a paired t-test; 1 where nothing differs, 0 where all differ by the same."""
    if np.ptp(differences) == 0.0:
        return float(differences[0] == 0.0)
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="of benchmarks.tuning.grid")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--repetitions", type=int, default=LEAST_REPETITIONS, help="searches of each sampler")
    parser.add_argument("--trials", type=int, default=64, help="of each search")
    parser.add_argument("--record", metavar="NAME", help="records the last budget as claims of this name")
    options = parser.parse_args(arguments)
    if options.repetitions < LEAST_REPETITIONS or options.trials < 1:
        parser.error(f"--repetitions must be at least {LEAST_REPETITIONS}, --trials at least 1.")
    started = time.monotonic()
    try:
        table = read_table(options.table)
    except (OSError, ValueError, KeyError) as error:
        print(error, file=sys.stderr)
        return 1
    samplers = dict.fromkeys([BASELINE, *options.samplers])
    curves = {
        sampler: np.array([search(table, sampler, seed, options.trials) for seed in range(options.repetitions)])
        for sampler in samplers
    }
    budgets = list_budgets(options.trials)
    rows = compare(curves, budgets, table.larger_is_better)
    print(f"{table.what}; {len(table.scores):,} points, the best {table.best:.4f}; {options.repetitions} searches each")
    for row in rows:
        print(_describe(row))
    if options.record:
        _record(options, table, rows, budgets[-1], time.monotonic() - started, results)
    return 0


def list_budgets(trials: int) -> list[int]:
    """8, 16, 32, ... and all."""
    doubled = itertools.takewhile(lambda budget: budget < trials, (8 << i for i in range(30)))
    return [*doubled, trials]


def _describe(row: Mapping[str, Any]) -> str:
    text = f"{row['budget']:>5} trials  {row['sampler']:<18} {row['mean']:.4f} ({_span(row['interval'])})"
    if "gain" not in row:
        return text
    gain = f"over random {row['gain']:+.4f} ({_span(row['gain_interval'])}), p {row['p']:.3f}, Holm {row['holm']:.3f}"
    return f"{text}  {gain}"


def _span(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _record(
    options: argparse.Namespace, table: Table, rows: Sequence[Mapping[str, Any]], budget: int, seconds: float, to: Path
) -> None:
    command = f"python -m benchmarks.tuning.tabular --table {options.table.name} --record {options.record}"
    command += f" --repetitions {options.repetitions} --trials {options.trials}"
    for row in rows:
        if row["budget"] == budget:
            what = (
                f"{table.what}: best after {budget} trials of {row['sampler']}, mean of {options.repetitions} searches"
            )
            id = f"{options.record}_{row['sampler']}"
            facts = {"command": command, "seconds": seconds, "results": to}
            record("tuning", id=id, what=what, value=row["mean"], interval=row["interval"], **facts)


if __name__ == "__main__":
    sys.exit(main())
