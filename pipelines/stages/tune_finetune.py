"""Tuning of fine-tuning: what a trial of a search trains on an encoder of content, whatever its kind."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from pipelines.stages.tune import share_cores, train_in_scratch, validation_of
from recsys_ssl import kinds
from recsys_ssl.encoders.config import FinetuneConfig
from recsys_ssl.settings import change
from recsys_ssl.tuning.config import Objective, Request


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
    share_cores(processes)
    from recsys_ssl.encoders import store
    from recsys_ssl.encoders.finetune import finetune

    module = kinds.load(task.kind, "predict")
    encoder = store.load(task.model, task.kind)
    table = module.read_table(Path(task.data), task.column, list(task.targets), encoder=encoder)
    parts = module.SPLITS[task.split](table.texts, task.config.seed)

    def train(request: Request) -> float:
        config = change("finetune", task.config, request.settings)
        config = dataclasses.replace(config, seed=config.seed + request.seed)
        steps_per_epoch = math.ceil(len(parts.train) / config.batch_size)

        def progress(step: int, steps: int, figures: dict[str, float]) -> None:
            request.report(step // steps_per_epoch, validation_of(figures))

        def train_in(directory: str) -> float:
            data = table.contents, table.targets, parts, task.task
            return finetune(task.kind, encoder, *data, config, directory, progress).metrics["validation"]

        return train_in_scratch(task.scratch_dir, request, train_in)

    return train
