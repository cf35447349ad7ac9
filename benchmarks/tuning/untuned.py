"""Trains the logs of docs/evidence.md as `recsys-ssl run` does without `--set`, on the split of the study.

    python -m benchmarks.tuning.untuned --datasets movielens-small frappe wikispeedia
    python -m benchmarks.tuning.untuned --datasets movielens-small --rule factors

`by_log` is what a run does, `default` has the same settings on every log, see `RULES`. The tuned settings that
these are held against are those of `benchmarks.evidence`. The logs lie in `build/data/NAME`. One process of one thread;
what stands in `benchmarks/results/tuning/untuned.jsonl` is not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.claims import RESULTS, ROOT
from benchmarks.evidence.datasets import DATASETS, prepare
from benchmarks.processes import use_one_thread
from recsys_ssl.training import config

UNTUNED = Path("tuning") / "untuned.jsonl"
DEFAULT, BY_LOG = "default", "by_log"
RULES: Mapping[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "factors": {
        "start.ids": "factors",
        "learning_rate": 0.03,
        "temperature": 0.2,
        "batch_size": 512,
        "ssl.batch_size": 256,
    },
    BY_LOG: {},
}
"""Rule -> the settings that it would take instead of the defaults; `by_log` leaves them to the log, as a run does."""


@dataclasses.dataclass(frozen=True)
class Untuned:
    """One training of the treatment.

    Attributes:
        validation: the best Recall@k, see `training.train.fit`; it chose the step.
        test: Recall@50 of all held-out pairs.
        num_train: positives that it was trained on.
        seconds: of one core.
    """

    dataset: str
    rule: str
    seed: int
    settings: Mapping[str, Any]
    validation: float | None = None
    test: float | None = None
    best_step: int = 0
    last_step: int = 0
    num_train: int = 0
    num_items: int = 0
    seconds: float = 0.0

    @property
    def key(self) -> str:
        return records.hash_facts([self.dataset, self.rule, self.seed, dict(self.settings)])


def read_untuned(path: Path) -> list[Untuned]:
    """The trainings of a file; none when there is no file."""
    return records.read_lines(path, lambda facts: Untuned(**facts))


def run(planned: Untuned) -> Untuned:
    """Trains, and returns what came out."""
    import tf_keras as keras

    from pipelines.stages.train import fit_settings
    from recsys_ssl.training.train import fit
    from recsys_ssl.training.validation import Validator

    prepared, begun = prepare(planned.dataset), time.process_time()
    spec, inputs = prepared.spec, prepared.inputs
    left = {"by_log": config.BY_LOG} if planned.rule == BY_LOG else {}
    settings = records.make_train_config({**planned.settings, **left, "seed": planned.seed})
    settings, _ = fit_settings(spec, settings, inputs.interactions_dir)
    checkpoints = ROOT / "build" / "tuning" / planned.key
    fitted = fit(spec, settings, inputs, str(checkpoints))
    ranks = Validator(spec, inputs.interactions_dir, fitted.catalogue, None, 0, "test").rank(fitted.model, k=1).ranks
    shutil.rmtree(checkpoints)
    keras.backend.clear_session()
    return dataclasses.replace(
        planned,
        validation=round(fitted.outcome.best_score, 6),
        test=round(float((ranks <= 50).mean()), 6),
        best_step=fitted.outcome.best_step,
        last_step=fitted.outcome.last_step,
        num_train=int(fitted.catalogue.train_counts.sum()),
        num_items=fitted.catalogue.num_items,
        seconds=round(time.process_time() - begun, 2),
    )


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--rule", choices=RULES, default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(arguments)
    use_one_thread()
    path = results / UNTUNED
    path.parent.mkdir(parents=True, exist_ok=True)
    records.end_last_line(path)
    known = {each.key for each in read_untuned(path)}
    for seed in range(options.seeds):
        for dataset in options.datasets:
            planned = Untuned(dataset, options.rule, seed, RULES[options.rule])
            if planned.key in known:
                continue
            done = run(planned)
            with path.open("a", encoding="utf-8") as file:
                file.write(records.to_line(done) + "\n")
            found = (
                f"validation {done.validation:.4f} at step {done.best_step} of {done.last_step}, test {done.test:.4f}"
            )
            print(f"{dataset} {options.rule} seed {seed}: {found}, {done.seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
