"""Tuning: what a trial of a search trains of towers."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections.abc import Callable
from typing import Any, Optional

from recsys_ssl.settings import change
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs
from recsys_ssl.tuning.config import Objective, Request


@dataclasses.dataclass(frozen=True)
class TowersTask:
    """Towers on what the stages before prepared; the score is the best validation Recall@k, see `train.fit`.

    Attributes:
        spec: as JSON.
        config: what all trials share.
        section: of its settings, `train` or `control`.
        scratch_dir: receives checkpoints of trials that are running.
    """

    spec: str
    config: TrainConfig
    section: str
    inputs: TrainInputs
    scratch_dir: str

    @property
    def most_reports(self) -> int:
        return math.ceil(self.config.steps / self.config.eval_every)


def make_towers_objective(task: TowersTask, processes: int) -> Objective:
    """The training function of one process."""
    share_cores(processes)
    from recsys_ssl.training.train import fit

    spec = FeatureSpec.from_json(task.spec)

    def train(request: Request) -> float:
        config = change(task.section, task.config, request.settings)
        config = dataclasses.replace(config, seed=config.seed + request.seed)

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            request.report(math.ceil(step / config.eval_every), validation_of(figures))

        def train_in(directory: str) -> Optional[float]:
            return fit(spec, config, task.inputs, directory, progress=progress).outcome.best_score

        score = train_in_scratch(task.scratch_dir, request, train_in)
        if score is None:
            raise ValueError(NO_VALIDATION)
        return score

    return train


NO_VALIDATION = (
    "a search needs validation, which decides. Received: a split without any. Set split.validation in the spec to more "
    "than 0."
)


def validation_of(figures: dict[str, float]) -> float:
    """The figure that decides; NaN where there is none."""
    return next((value for name, value in figures.items() if name.startswith("validation_")), math.nan)


def train_in_scratch(scratch_dir: str, request: Request, train_in: Callable[[str], Any]) -> Any:
    """Trains with checkpoints that a trial which is run again goes on from; they are gone when it has ended."""
    import tf_keras as keras

    directory = os.path.join(scratch_dir, request.slot.replace(":", "-"))
    try:
        return train_in(directory)
    finally:
        keras.backend.clear_session()
        shutil.rmtree(directory, ignore_errors=True)  # but for a kill, after which the same slot finds them


def share_cores(processes: int) -> None:
    """Processes of few threads each finish sooner than those that compete for all cores."""
    import tensorflow as tf

    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
