"""Tuning: what a trial of a search trains, of towers and of predictors on an encoder."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from recsys_ssl import kinds
from recsys_ssl.encoders.config import FinetuneConfig
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
    _share_cores(processes)
    from recsys_ssl.training.train import fit

    spec = FeatureSpec.from_json(task.spec)

    def train(request: Request) -> float:
        config = change(task.section, task.config, request.settings)
        config = dataclasses.replace(config, seed=config.seed + request.seed)

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            request.report(math.ceil(step / config.eval_every), _validation_of(figures))

        def train_in(directory: str) -> Optional[float]:
            return fit(spec, config, task.inputs, directory, progress=progress).outcome.best_score

        score = _train_in_scratch(task.scratch_dir, request, train_in)
        if score is None:
            raise ValueError(NO_VALIDATION)
        return score

    return train


NO_VALIDATION = (
    "a search needs validation, which decides. Received: a split without any. Set split.validation in the spec to more "
    "than 0."
)


@dataclasses.dataclass(frozen=True)
class FinetuneTask:
    """A predictor on a pre-trained encoder; the score is the validation metric of the best epoch, see `finetune`.

    Attributes:
        model: directory of the encoder.
        data: file of records with the content in `column` and the measured properties in `targets`.
        split: one of the kind's SPLITS; it is drawn with the seed of `config`, whatever seed a training has.
        config: what all trials share.
    """

    kind: str
    model: str
    data: str
    column: str
    targets: tuple[str, ...]
    task: Any
    split: str
    config: FinetuneConfig
    scratch_dir: str

    @property
    def most_reports(self) -> int:
        return self.config.epochs


def make_finetune_objective(task: FinetuneTask, processes: int) -> Objective:
    """The training function of one process, which reads the records once."""
    _share_cores(processes)
    from recsys_ssl.encoders import store
    from recsys_ssl.encoders.finetune import finetune

    module = kinds.load(task.kind, "predict")
    table = module.read_table(Path(task.data), task.column, list(task.targets))
    parts = module.SPLITS[task.split](table.texts, task.config.seed)
    encoder = store.load(task.model, task.kind)

    def train(request: Request) -> float:
        config = change("finetune", task.config, request.settings)
        config = dataclasses.replace(config, seed=config.seed + request.seed)
        steps_per_epoch = math.ceil(len(parts.train) / config.batch_size)

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            request.report(step // steps_per_epoch, _validation_of(figures))

        def train_in(directory: str) -> float:
            data = table.contents, table.targets, parts, task.task
            return finetune(task.kind, encoder, *data, config, directory, progress).metrics["validation"]

        return _train_in_scratch(task.scratch_dir, request, train_in)

    return train


def _validation_of(figures: dict[str, float]) -> float:
    """The figure that decides; NaN where there is none."""
    return next((value for name, value in figures.items() if name.startswith("validation_")), math.nan)


def _train_in_scratch(scratch_dir: str, request: Request, train_in: Callable[[str], Any]) -> Any:
    """Trains with checkpoints that a trial which is run again goes on from; they are gone when it has ended."""
    import tf_keras as keras

    directory = os.path.join(scratch_dir, request.slot.replace(":", "-"))
    try:
        return train_in(directory)
    finally:
        keras.backend.clear_session()
        shutil.rmtree(directory, ignore_errors=True)  # but for a kill, after which the same slot finds them


def _share_cores(processes: int) -> None:
    """Processes of few threads each finish sooner than those that compete for all cores."""
    import tensorflow as tf

    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
