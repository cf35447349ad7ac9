"""Tables of trainings, one score for each point of a grid, which searches look up."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from benchmarks.molecules.datasets import DATASETS
from benchmarks.tuning.molecule_grid import RATES, SEEDS, STRIDES, plan_lines, read_grid
from recsys_ssl.tuning.space import Choice, Dimension, Ladder

_WORST = 1e9


@dataclass(frozen=True)
class Table:
    """A score for each point of a grid.

    Attributes:
        space: setting -> its values; a list of numbers is a ladder, others are a choice.
        scores: the values of a point, in the order of the space, as JSON -> score on validation.
        tests: the same of the test; {} where there is none.
        trainings: of which a score is the mean.
        costs: as scores, seconds of one core of a training; {} where they are not known.
    """

    what: str
    larger_is_better: bool
    space: Mapping[str, Dimension]
    scores: Mapping[str, float]
    tests: Mapping[str, float] = field(default_factory=dict)
    trainings: int = 1
    costs: Mapping[str, float] = field(default_factory=dict)

    def look_up(self, settings: Mapping[str, Any]) -> float:
        return self.scores[self._key(settings)]

    def look_up_test(self, settings: Mapping[str, Any]) -> float:
        """NaN where the table has no test."""
        return self.tests.get(self._key(settings), math.nan)

    def look_up_cost(self, settings: Mapping[str, Any]) -> float:
        """0 where the table knows no costs."""
        return self.costs.get(self._key(settings), 0.0)

    def _key(self, settings: Mapping[str, Any]) -> str:
        return make_key(settings[name] for name in self.space)

    @property
    def best(self) -> float:
        return (max if self.larger_is_better else min)(self.scores.values())


def make_key(values: Iterable[Any]) -> str:
    return json.dumps(list(values))


def read_table(path: Path, level: Optional[int] = None) -> Table:
    """Reads a table of `grid` (.json), or a level of one of `molecule_grid` (.jsonl), by default the largest whole one.

    Raises:
        ValueError: a point of the grid is missing or there twice, or a score is not finite; a table of `grid` was asked
            for a level.
    """
    if path.suffix == ".jsonl":
        return read_molecules(path, list_levels(path)[-1] if level is None else level)
    if level is not None:
        raise ValueError(f"a level is one of a .jsonl file of benchmarks.tuning.molecule_grid. Received: {path}.")
    return _read_points(path)


def _read_points(path: Path) -> Table:
    """`{"what", "larger_is_better", "points": [{"settings": {...}, "score": x}, ...]}`."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    points = facts["points"]
    names = list(points[0]["settings"])
    values = {name: sorted({make_key([point["settings"][name]]) for point in points}, key=_order) for name in names}
    ladders = {name: [json.loads(text)[0] for text in found] for name, found in values.items()}
    space = {name: _make_dimension(found) for name, found in ladders.items() if len(found) > 1}
    scores = {make_key(point["settings"][name] for name in space): float(point["score"]) for point in points}
    wanted = [make_key(point) for point in itertools.product(*(ladders[name] for name in space))]
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


def list_levels(path: Path) -> list[int]:
    """The levels that are whole, the smallest first.

    Raises:
        ValueError: none is.
    """
    keys = {line.key for line in read_grid(path)}
    whole = [level for level in range(len(STRIDES)) if all(line.key in keys for line in plan_lines(level, 1))]
    if not whole:
        raise ValueError(f"{path} must hold each line of a level. Let benchmarks.tuning.molecule_grid finish.")
    return whole


def read_molecules(path: Path, level: int) -> Table:
    """A level with as many trainings of each point as are whole there.

    A training that went to infinity makes its point the worst of all.

    Raises:
        ValueError: the level is not whole with one training.
    """
    lines = {line.key: line for line in read_grid(path)}
    found = [seeds for seeds in range(1, SEEDS + 1) if all(line.key in lines for line in plan_lines(level, seeds))]
    if not found:
        raise ValueError(
            f"{path} must hold each line of level {level}. Let benchmarks.tuning.molecule_grid finish, or take another."
        )
    seeds = max(found)
    of_point: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    seconds: dict[tuple[Any, ...], float] = {}
    for planned in plan_lines(level, seeds):
        line = lines[planned.key]
        for rate, *scores in zip(RATES, line.validation, line.test):
            point = line.batch_size, rate, line.conv_width, line.dense_width
            of_point.setdefault(point, []).append((scores[0], scores[1]))
            # Of a line only the sum is known; what a training takes does not hang on its learning rate.
            seconds[point] = seconds.get(point, 0.0) + line.seconds / len(RATES) / seeds
    ladders = [tuple(sorted({point[place] for point in of_point})) for place in range(4)]
    space = dict(zip(("batch_size", "learning_rate", "conv_width", "dense_width"), map(Ladder, ladders)))
    dataset = DATASETS[path.stem]
    larger_is_better = dataset.task == "classification"
    worst = -_WORST if larger_is_better else _WORST
    scores, tests = (
        {
            make_key(point): statistics.fmean(worst if math.isnan(each[part]) else each[part] for each in found)
            for point, found in of_point.items()
        }
        for part in (0, 1)
    )
    metric = "ROC-AUC" if larger_is_better else "RMSE"
    what = f"{dataset.label}, small graph convolution, validation {metric}"
    costs = {make_key(point): cost for point, cost in seconds.items()}
    return Table(what, larger_is_better, space, scores, tests, seeds, costs)
