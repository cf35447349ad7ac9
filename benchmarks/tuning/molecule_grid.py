"""Makes a table for `tabular` of a small graph convolution on a set of MoleculeNet: validation and test of every point.

python -m benchmarks.tuning.molecule_grid --data DIR --dataset freesolv              256 points, three seeds
python -m benchmarks.tuning.molecule_grid --data DIR --dataset freesolv --level 3    all 8,192

The grid is that of Yuan, Wang and Pang as their earlier paper gives it: 8 batch sizes, 16 learning rates, 8 widths of
the convolutions, 8 of the dense layer. A level has every second or fourth value of some of these, and holds those
before it. The split is random; a training has 20 epochs and is judged with its last weights. One process of one thread;
a line of 16 trainings that stands in `benchmarks/results/tuning/DATASET.jsonl` is not run again.

References:
    Yuan, Wang and Pang 2021, arXiv:2101.09300 (the 13 bits) and arXiv:2102.04283 (random search, TPE and CMA-ES).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.tuning.convolution import Problem, Settings, plan_batches, train

EPOCHS, SEEDS = 20, 3
BATCH_SIZES = CONV_WIDTHS = tuple(range(32, 257, 32))
DENSE_WIDTHS = tuple(range(64, 513, 64))
RATES = tuple(round(1e-4 * times, 4) for times in range(1, 17))
STRIDES = ((2, 4, 4), (2, 2, 2), (1, 2, 2), (1, 1, 1))
"""Of batch sizes, widths of convolutions and of the dense layer, at each level."""
SPLIT_SEED = 0


@dataclass(frozen=True)
class Line:
    """The trainings that differ in their learning rate alone.

    Attributes:
        seed: of batches and weights; the split is the same for all.
        validation, test: per rate of `RATES`, RMSE or ROC-AUC; NaN where the training went to infinity.
        seconds: of one core, all of them.
    """

    batch_size: int
    conv_width: int
    dense_width: int
    seed: int
    epochs: int = EPOCHS
    validation: Sequence[float] = ()
    test: Sequence[float] = ()
    seconds: float = 0.0

    @property
    def key(self) -> str:
        return records.hash_facts([self.batch_size, self.conv_width, self.dense_width, self.seed, self.epochs, RATES])


def read_grid(path: Path) -> list[Line]:
    """The lines of a file; none when there is no file."""
    return records.read_lines(path, lambda facts: Line(**facts))


def plan_lines(level: int, seeds: int) -> list[Line]:
    """What a level needs, those of the levels before it first; lines of one batch size are together."""
    lines: dict[str, Line] = {}
    for strides in STRIDES[: level + 1]:
        ladders = [ladder[::stride] for ladder, stride in zip((BATCH_SIZES, CONV_WIDTHS, DENSE_WIDTHS), strides)]
        for seed, batch_size, conv, dense in itertools.product(range(seeds), *ladders):
            line = Line(batch_size, conv, dense, seed)
            lines.setdefault(line.key, line)
    return list(lines.values())


def run(problem: Problem, pending: Sequence[Line]) -> Iterator[Line]:
    """The lines with what came out."""
    shared: Any = None
    for line in pending:
        if shared is None or shared[0] != (line.batch_size, line.seed):
            plan = plan_batches(problem, line.batch_size, line.epochs, line.seed)
            shared = (line.batch_size, line.seed), plan
        started = time.process_time()
        settings = [Settings(line.batch_size, rate, line.conv_width, line.dense_width) for rate in RATES]
        scores = [train(problem, each, shared[1], line.seed) for each in settings]
        yield replace(
            line,
            validation=tuple(round(each.validation, 4) for each in scores),
            test=tuple(round(each.test, 4) for each in scores),
            seconds=round(time.process_time() - started, 2),
        )


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    from benchmarks.molecules.datasets import DATASETS
    from benchmarks.tuning.problems import load_problem

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of MoleculeNet's CSV files")
    parser.add_argument("--dataset", choices=[name for name, of in DATASETS.items() if of.rows[1] == 1], required=True)
    parser.add_argument("--level", type=int, choices=range(len(STRIDES)), default=0)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of a point")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of one core, after which no line is begun")
    options = parser.parse_args(arguments)
    path = results / "tuning" / f"{options.dataset}.jsonl"
    planned = plan_lines(options.level, options.seeds)
    known = {line.key for line in read_grid(path)}
    pending = [line for line in planned if line.key not in known]
    print(f"{len(planned) - len(pending):,} of {len(planned):,} lines are done", flush=True)
    if not pending:
        return 0
    problem, started = load_problem(options.dataset, options.data, SPLIT_SEED), time.process_time()
    path.parent.mkdir(parents=True, exist_ok=True)
    records.end_last_line(path)
    with path.open("a", encoding="utf-8") as file:
        for done, line in enumerate(run(problem, pending), 1):
            file.write(records.to_line(line) + "\n")
            file.flush()
            if time.process_time() - started > options.seconds:
                print(f"{len(pending) - done:,} lines are left. Run this again.", flush=True)
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
