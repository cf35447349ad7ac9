"""Why ids that start at a factorisation do better than ids that start at random, and what else gets there.

python -m benchmarks.evidence.starts            Wikispeedia, Frappe and MovieLens small; 2 processes of one thread each

Plain towers, judged on validation only, so that nothing is chosen by the test. Both starts have the settings that their
own eight trials found (`benchmarks.evidence.run`); the other arms change one thing. What stands in
`benchmarks/results/evidence/starts.jsonl` is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.evidence.datasets import DATASETS, START_AT_FACTORS, STUDIED, WORK, prepare
from benchmarks.evidence.measurements import FILES, render_starts
from benchmarks.evidence.run import SEEDS, search
from benchmarks.evidence.trials import Trial, make_config, read_trials
from benchmarks.processes import run_all

LOGS = tuple(name for name in START_AT_FACTORS if name in STUDIED)


class Arm(NamedTuple):
    """One way to start and to step.

    Attributes:
        tuned: the arm of the evidence whose settings it has.
        change: of the factors, see `change_factors`; `still` takes no step from them.
        rates: of Adam in the place of Adagrad; the best on validation with the first seed counts.
        steps: times as many.
    """

    label: str
    tuned: str
    change: str = ""
    rates: tuple[float, ...] = ()
    steps: int = 1


ARMS: Mapping[str, Arm] = {
    "random": Arm("at random", "random_start"),
    "factors": Arm("at the factors", "none"),
    "still": Arm("at the factors, no step taken", "none", change="still"),
    "directions": Arm("at their directions, all of length 1", "none", change="directions"),
    "lengths": Arm("at random, with their lengths", "random_start", change="lengths"),
    "strangers": Arm("at the factors of other ids", "none", change="strangers"),
    "longer": Arm("at random, four times the steps", "random_start", steps=4),
    "adam": Arm("at random, by Adam", "random_start", rates=(3e-4, 1e-3, 3e-3, 1e-2)),
}
"""The first is what the others are compared with."""


@dataclasses.dataclass(frozen=True)
class Start:
    """One training.

    Attributes:
        settings: of the towers, all that differ from the log's own.
        rate: of Adam; 0: Adagrad.
        curve: validation Recall@50 by step.
    """

    dataset: str
    arm: str
    seed: int
    settings: Mapping[str, Any]
    rate: float = 0.0
    curve: Mapping[str, float] | None = None
    seconds: float = 0.0

    @property
    def key(self) -> str:
        base = DATASETS[self.dataset].settings(1.0)
        return records.hash_facts([self.dataset, self.arm, self.seed, {**base, **self.settings}, self.rate])

    @property
    def best(self) -> float:
        return max(self.curve.values())

    def describe(self) -> str:
        rate = f" rate {self.rate:g}" if self.rate else ""
        return f"{self.dataset} {self.arm} seed {self.seed}{rate}: validation {self.best:.4f}, {self.seconds:.0f} s"

    def to_json(self) -> str:
        return records.to_line(self)


def read_starts(path: Path) -> list[Start]:
    """The trainings of a file; none when there is no file."""
    return records.read_lines(path, lambda facts: Start(**facts) if facts["arm"] in ARMS else None)


def plan(done: Sequence[Start], trials: Sequence[Trial], datasets: Sequence[str]) -> list[Start]:
    """What is to run next: the first seed of every arm and rate, then all seeds of the best rate."""
    known, planned = {each.key: each for each in done}, []
    for dataset in datasets:
        for name, arm in ARMS.items():
            tuned, missing = search(trials, dataset, 1.0, arm.tuned)
            if missing:
                raise ValueError(
                    f"{arm.tuned} of {dataset} must have been tuned. Run python -m benchmarks.evidence.run."
                )
            full = make_config(Trial("tune", dataset, arm.tuned, settings=tuned))
            changed = {**tuned, "start.ids": full.start.ids, "steps": arm.steps * full.steps}
            if arm.change == "still":
                changed |= {"steps": 1, "learning_rate": 1e-9}
            if arm.change == "lengths":
                changed["start.ids"] = "factors"
            firsts = [Start(dataset, name, SEEDS[0], changed, rate) for rate in arm.rates or (0.0,)]
            planned += firsts
            found = [known[each.key] for each in firsts if each.key in known]
            if len(found) == len(firsts):
                best = max(found, key=lambda each: each.best)
                planned += [dataclasses.replace(best, seed=seed, curve=None, seconds=0.0) for seed in SEEDS[1:]]
    return [each for each in planned if each.key not in known]


def run(planned: Start) -> Start:
    """Trains, and returns what validation said on the way."""
    # TensorFlow is loaded by the workers only.
    import tf_keras as keras

    from recsys_ssl.training.train import fit
    from recsys_ssl.training.validation import name_recall

    begun, prepared = time.process_time(), prepare(planned.dataset)
    arm, curve = ARMS[planned.arm], {}
    settings = {**planned.settings, "seed": planned.seed}
    config = make_config(Trial("tune", planned.dataset, arm.tuned, seed=planned.seed, settings=settings))
    checkpoints = WORK / "checkpoints" / f"start-{planned.key}"
    shutil.rmtree(checkpoints, ignore_errors=True)  # a run that went on would not tell its first validations

    def listen(step: int, steps: int, figures: Mapping[str, float]) -> None:
        curve[str(step)] = round(figures[name_recall(50)], 6)

    with change_start(arm.change, planned.seed), change_optimizer(planned.rate, config.steps):
        fit(prepared.spec, config, prepared.inputs, str(checkpoints), progress=listen)
    shutil.rmtree(checkpoints)
    keras.backend.clear_session()
    return dataclasses.replace(planned, curve=curve, seconds=round(time.process_time() - begun, 1))


@contextlib.contextmanager
def change_start(change: str, seed: int) -> Iterator[None]:
    """Within, ids start at what `change_factors` makes of the factors."""
    from recsys_ssl.training import start

    factorise = start._factorise

    def changed(*arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        return tuple(change_factors(side, change, rng) for side in factorise(*arguments))

    with mock.patch.object(start, "_factorise", changed):
        yield


def change_factors(vectors: np.ndarray, change: str, rng: np.random.Generator) -> np.ndarray:
    """The factors of one side with part of what they say taken away; ids without factors stay without.

    Args:
        vectors: [num_ids, num_factors] float32.
        change: `directions` keeps these alone, `lengths` these alone, `strangers` gives each id those of another one.
    """
    known = np.flatnonzero(vectors.any(axis=1))
    lengths = np.linalg.norm(vectors[known], axis=1, keepdims=True)
    changed = vectors.copy()
    if change == "directions":
        changed[known] = vectors[known] / lengths
    if change == "lengths":
        drawn = rng.standard_normal((len(known), vectors.shape[1])).astype(np.float32)
        changed[known] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * lengths
    if change == "strangers":
        changed[known] = vectors[rng.permutation(known)]
    return changed


@contextlib.contextmanager
def change_optimizer(rate: float, steps: int) -> Iterator[None]:
    """Within, towers are trained by Adam whose rate falls linearly; by their own optimizer if the rate is 0."""
    import tf_keras as keras

    from recsys_ssl.training import step

    if not rate:
        yield
        return
    falling = keras.optimizers.schedules.PolynomialDecay(rate, steps, 0.0)
    adam = mock.Mock(side_effect=lambda *_: keras.optimizers.legacy.Adam(falling))
    with mock.patch.object(step.keras.optimizers.legacy, "Adagrad", adam):
        yield


# --- Numbers -------------------------------------------------------------------------------------------


def summarise(starts: Sequence[Start]) -> dict[str, Any]:
    """Per log and arm: validation Recall@50 by seed, the first validation's, and the rate that was chosen."""
    found: dict[str, Any] = {}
    for dataset in dict.fromkeys(each.dataset for each in starts):
        found[dataset] = {}
        for arm in ARMS:
            of_arm = [each for each in starts if (each.dataset, each.arm) == (dataset, arm)]
            first = [each for each in of_arm if each.seed == SEEDS[0]]
            if not first:
                continue
            rate = max(first, key=lambda each: each.best).rate
            chosen = sorted((each for each in of_arm if each.rate == rate), key=lambda each: each.seed)
            found[dataset][arm] = {
                "best": [each.best for each in chosen],
                "early": statistics.fmean(next(iter(each.curve.values())) for each in chosen),
                "early_step": int(next(iter(chosen[0].curve))),
                "rate": rate,
            }
    return {"labels": {name: arm.label for name, arm in ARMS.items()}, "logs": found}


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=LOGS, default=list(LOGS))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    path, trials = results / "evidence" / "starts.jsonl", read_trials(results / "evidence" / "trials.jsonl")
    for name in options.datasets:
        prepare(name)
    while pending := plan(read_starts(path), trials, options.datasets):
        run_all(pending, run, path, options.workers)
    found = summarise(read_starts(path))
    (results / FILES["starts"]).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"\n{render_starts(found)}")


if __name__ == "__main__":
    main()
