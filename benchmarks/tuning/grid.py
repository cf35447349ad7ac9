"""Makes a table for `tabular` of real trainings: a grid of few values of each setting, every point trained.

python -m benchmarks.tuning.grid --dataset movielens-small            4 values of 4 settings: 256 trainings
python -m benchmarks.tuning.grid --dataset frappe --values 3 --settings learning_rate temperature ssl.weight

Validation Recall@50 of the recommended arm, by the settings of `benchmarks.evidence` in all else. A training that
stands in the file of trials is not run again; the table is written when all are there.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import ROOT
from benchmarks.evidence.datasets import DATASETS, prepare
from benchmarks.evidence.trials import RECOMMENDED, REGULARIZERS, Trial, read_trials, run_trial
from benchmarks.processes import run_all
from recsys_ssl.artifacts import to_json, write_text
from recsys_ssl.training.space import SELF_SUPERVISED, SHARED
from recsys_ssl.tuning.space import Choice, Dimension, Ladder, LogUniform, Space, Steps

WORK = ROOT / "build" / "tuning"
SPACE: Space = {**SHARED, **SELF_SUPERVISED}
SETTINGS = ("learning_rate", "temperature", "popularity_prior", "ssl.weight")


def main(arguments: Sequence[str] | None = None, work: Path = WORK) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=DATASETS, required=True)
    parser.add_argument("--arm", choices=REGULARIZERS, default=RECOMMENDED)
    parser.add_argument("--settings", nargs="+", choices=SPACE, default=list(SETTINGS))
    parser.add_argument("--values", type=int, default=4, help="of each setting, 2 at least")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of a point, whose mean is its score")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.values < 2 or options.seeds < 1:
        parser.error("--values must be at least 2, --seeds at least 1.")
    points = list_points({name: SPACE[name] for name in options.settings}, options.values)
    planned = [
        Trial("tune", options.dataset, options.arm, seed=seed, settings=point)
        for seed in range(options.seeds)
        for point in points
    ]
    path = work / f"{options.dataset}-{options.arm}.jsonl"
    known = {trial.key for trial in read_trials(path)}
    pending = [trial for trial in planned if trial.key not in known]
    print(f"{len(planned) - len(pending):,} of {len(planned):,} trainings are done", flush=True)
    if pending:
        prepare(options.dataset)
        run_all(pending, run_trial, path, options.workers)
    table = make_table(planned, read_trials(path), f"{options.dataset}, {options.arm}, validation Recall@50")
    target = path.with_suffix(".table.json")
    write_text(target, to_json(table))
    print(target)
    return 0


def list_points(space: Space, values: int) -> list[dict[str, Any]]:
    """Every combination of the values of each setting, see `thin`."""
    ladders = [thin(dimension, values) for dimension in space.values()]
    return [dict(zip(space, point)) for point in itertools.product(*ladders)]


def thin(dimension: Dimension, values: int) -> list[Any]:
    """So many values of a dimension at equal distances, its ends among them; fewer where it has no more."""
    if isinstance(dimension, Choice):
        return list(dimension.values)
    shares = [place / (values - 1) for place in range(values)]
    if isinstance(dimension, (Ladder, Steps)):
        steps = range(dimension.low, dimension.high + 1, dimension.step) if isinstance(dimension, Steps) else None
        all_values = list(steps if steps is not None else dimension.values)
        places = [round(share * (len(all_values) - 1)) for share in shares]
        return [all_values[place] for place in dict.fromkeys(places)]
    if isinstance(dimension, LogUniform):
        ratio = math.log(dimension.high / dimension.low)
        return [float(f"{dimension.low * math.exp(share * ratio):.6g}") for share in shares]
    return [round(dimension.low + share * (dimension.high - dimension.low), 9) for share in shares]


def make_table(planned: Sequence[Trial], done: Sequence[Trial], what: str) -> dict[str, Any]:
    """What `tabular.read_table` reads: each point with the mean of its trainings.

    Raises:
        ValueError: a training is missing.
    """
    scores = {trial.key: trial.validation_recall_at_50 for trial in done}
    missing = sum(trial.key not in scores for trial in planned)
    if missing:
        raise ValueError(f"every point must be trained. Received: {missing:,} trainings missing. Run the grid again.")
    by_point: dict[str, tuple[dict[str, Any], list[float]]] = {}
    for trial in planned:
        by_point.setdefault(to_json(trial.settings), (dict(trial.settings), []))[1].append(scores[trial.key])
    points = [{"settings": point, "score": sum(found) / len(found)} for point, found in by_point.values()]
    return {"what": what, "larger_is_better": True, "points": points}


if __name__ == "__main__":
    sys.exit(main())
