"""Searches the settings of a subject on validation, and compares the best with the defaults on the test.

python -m benchmarks.tuning.gains recommender           on MovieLens-100K, which lies in build/data/movielens-100k
python -m benchmarks.tuning.gains sit --data DIR        on the IDX files of Fashion-MNIST in DIR
python -m benchmarks.tuning.gains sit --data DIR --amount 65536 --searched 16384    what that found, trained for longer

TPE proposes; the best three points are trained again with `--again` seeds more, whose mean decides. Then defaults and
best are trained with the same fresh seeds, the only ones whose test is read. One process of one thread; a training that
stands in `benchmarks/results/tuning/gains.jsonl` is not run again, so that a killed study goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.processes import use_one_thread
from benchmarks.tuning.objectives import KINDS, Kind, Subject, Train
from benchmarks.tuning.trainings import DEFAULT, FIRST_FRESH, GAINS, SEARCH, TUNED, Training, read_trainings
from recsys_ssl.tuning.config import Request, SearchConfig
from recsys_ssl.tuning.space import Settings
from recsys_ssl.tuning.study import Study
from recsys_ssl.tuning.trials import open_storage

_TOP = 3


class Recorder:
    """Trains what a file does not know yet, and adds it there."""

    def __init__(self, path: Path, train: Train):
        self._path, self._train = path, train
        path.parent.mkdir(parents=True, exist_ok=True)
        records.end_last_line(path)
        self._known = {each.key: each for each in read_trainings(path)}

    def run(self, planned: Training) -> Training:
        """The training with what came out."""
        if planned.key in self._known:
            return self._known[planned.key]
        begun = time.process_time()
        found = self._train(planned.settings, planned.seed, planned.arm != SEARCH)
        seconds = round(time.process_time() - begun, 2)
        done = dataclasses.replace(planned, validation=found.validation, test=found.test, seconds=seconds)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(records.to_line(done) + "\n")
        test = "" if done.test is None else f", test {done.test:.4f}"
        print(f"{done.arm} seed {done.seed}: validation {done.validation:.4f}{test}, {seconds:.0f} s", flush=True)
        self._known[done.key] = done
        return done


def search(name: str, subject: Subject, recorder: Recorder, amount: int, trials: int, again: int) -> Settings:
    """The best settings of a search.

    Args:
        again: seeds that the best three are scored anew with; 0: the best trial wins.

    Raises:
        ValueError: no trial succeeded.
    """
    config = SearchConfig("tpe", trials=trials, top=_TOP, fresh_seeds=again)
    study = Study(open_storage(None), name, "", subject.space, config, larger_is_better=True)

    def score(request: Request) -> float:
        planned = Training(name, subject.data, SEARCH, request.seed, amount, settings=request.settings)
        return recorder.run(planned).validation

    study.search(score)
    study.rescore(score)
    best = study.read().best
    if best is None:
        raise ValueError(f"a trial must succeed. Received: {trials} that failed. Change the space.")
    return best.settings


def compare(
    name: str,
    kind: Kind,
    data: Path | None,
    path: Path,
    amount: int,
    searched: int,
    trials: int,
    again: int,
    fresh: int,
) -> None:
    """Searches by trainings of the amount `searched`, then trains defaults and best by `amount`, seed by seed."""
    shorter = kind.make(data, searched)
    best = search(name, shorter, Recorder(path, shorter.train), searched, trials, again)
    subject = kind.make(data, amount) if amount != searched else shorter
    recorder = Recorder(path, subject.train)
    print("best: " + ", ".join(f"{setting} {value}" for setting, value in best.items()), flush=True)
    for seed in range(FIRST_FRESH, FIRST_FRESH + fresh):
        recorder.run(Training(name, subject.data, DEFAULT, seed, amount))
        recorder.run(Training(name, subject.data, TUNED, seed, amount, trials, best))


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject", choices=KINDS)
    parser.add_argument("--data", type=Path, help="directory of the IDX files, of sit only")
    parser.add_argument("--trials", type=int, help="of the search")
    parser.add_argument("--amount", type=int, help="steps of the recommender, or images that the encoder reads")
    parser.add_argument("--searched", type=int, help="the amount of the trainings of the search, if another")
    parser.add_argument(
        "--again", type=int, default=2, help="seeds that the best are scored anew with; 0: the best wins"
    )
    parser.add_argument("--fresh", type=int, default=5, help="seeds of the comparison")
    options = parser.parse_args(arguments)
    kind = KINDS[options.subject]
    amount, trials = options.amount or kind.amount, options.trials or kind.trials
    use_one_thread()
    try:
        budget = amount, options.searched or amount, trials, options.again, options.fresh
        compare(options.subject, kind, options.data, results / GAINS, *budget)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
