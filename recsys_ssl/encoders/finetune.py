"""Fine-tuning: measured properties of content, learned on a pre-trained encoder or from scratch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import artifacts, kinds, seeds
from recsys_ssl.encoders.config import FinetuneConfig
from recsys_ssl.encoders.contract import PredictModule, Predictor
from recsys_ssl.encoders.dropout import DropoutSeed
from recsys_ssl.encoders.schedules import WarmUpThenDecay
from recsys_ssl.evaluation.prediction import METRICS, Split, Task, score
from recsys_ssl.loop import Progress, Schedule, run_steps
from recsys_ssl.optimizers import make_slots

_PREDICTION_BATCH = 128
_ADVICE = "Lower finetune.learning_rate."
_CONFIG_FILE, _WEIGHTS_FILE = "config.json", "weights"


class Finetuned(NamedTuple):
    """A trained predictor, with the weights of the best validation."""

    model: Predictor
    predictions: np.ndarray
    """[num_records, num_tasks] float32 of all records, the training ones too."""
    metrics: dict[str, float]
    """Part of the split -> ROC-AUC or RMSE, see `evaluation.prediction.score`."""
    best_epoch: int
    last_epoch: int
    seconds: float


def finetune(
    kind: str,
    encoder: Any,
    contents: Sequence[Any],
    targets: np.ndarray,
    split: Split,
    task: Task,
    config: FinetuneConfig | None = None,
    directory: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> Finetuned:
    """Trains heads and the encoder below them; the epoch with the best validation metric is kept.

    The given encoder stays as it is: a copy is trained. The same seed gives the same result on the same machine, also
    to a run that was killed and goes on from a checkpoint of the same records and settings in `directory`.

    Args:
        kind: of content, see `kinds`.
        encoder: a pre-trained encoder, or the sizes of one to be trained from scratch. Its dropout is replaced.
        contents: [num_records].
        targets: [num_records, num_tasks] float, NaN where not measured; 0 or 1 in a classification.
        split: rows of train, validation and test; other rows are predicted only.
        task: "classification" or "regression", which standardises the targets by mean and deviation in train.
        config: the kind's FinetuneConfig.
        directory: receives checkpoints; None: none is kept.
        progress: called after each epoch with the step.

    Raises:
        ValueError: targets do not fit the records or the task, a part of the split has too few to be judged, or the
            loss, a prediction or a metric is not finite.
    """
    module: PredictModule = kinds.load(kind, "predict")
    config = config or kinds.load(kind, "settings").FinetuneConfig()
    targets = np.asarray(targets, np.float32)
    _check(contents, targets, split, task)

    # --- Model -----------------------------------------------------------------------------------
    seeds.set_initial_weights(config.seed)
    model = module.make(encoder, targets.shape[1], task, config)
    if task == "regression":
        model.standardise(*_unit_of(targets[split.train]))
    steps_per_epoch = math.ceil(len(split.train) / config.batch_size)
    step = _FinetuneStep(model, module, config, steps_per_epoch)
    predict_rows = _compile_prediction(model, module)
    name = f"validation_{METRICS[task]}"

    def validate() -> dict[str, float]:
        return {name: score(targets[split.validation], predict_rows(contents, split.validation), task)}

    def make_batches(first_step: int) -> Iterator[tuple[Any, np.ndarray]]:
        for epoch in range(first_step // steps_per_epoch, config.epochs):
            for place, rows in enumerate(_draw_batches(split.train, config, epoch)):
                if epoch * steps_per_epoch + place >= first_step:
                    yield module.batch([contents[row] for row in rows]), targets[rows]

    # --- Loop ------------------------------------------------------------------------------------
    with tempfile.TemporaryDirectory() as scratch:
        take = step.compile()
        outcome = run_steps(
            step,
            model,
            make_batches,
            lambda batch: take(*batch),
            validate,
            Schedule(
                steps=config.epochs * steps_per_epoch,
                eval_every=steps_per_epoch,
                score=name,
                larger_is_better=task == "classification",
                examples_per_step=config.batch_size,
                advice=_ADVICE,
                patience=config.patience,
            ),
            os.path.join(directory or scratch, _fingerprint(kind, encoder, contents, targets, split, task, config)),
            progress=progress,
        )

    predictions = predict_rows(contents, np.arange(len(contents)))
    metrics = {part: score(targets[rows], predictions[rows], task) for part, rows in split._asdict().items()}
    epochs = outcome.best_step // steps_per_epoch, outcome.last_step // steps_per_epoch
    wrong = [f"{part} {value}" for part, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise ValueError(f"{METRICS[task]} must be finite. Received: {', '.join(wrong)}. {_ADVICE}")
    return Finetuned(model, predictions, metrics, *epochs, outcome.seconds)


def _unit_of(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each task, [num_tasks]; a deviation of 0 counts as 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = np.nanmean(targets, axis=0), np.nanstd(targets, axis=0)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise ValueError(
            "targets must have a finite mean and deviation in 32 bits. "
            f"Received: targets up to {np.nanmax(np.abs(targets)):g}. Correct them or give them in another unit."
        )
    return mean, np.where(scale > 0, scale, 1.0)


def predict(kind: str, model: Predictor, contents: Sequence[Any]) -> np.ndarray:
    """[num_records, num_tasks] float32 probabilities, or values in the unit of the targets."""
    return _compile_prediction(model, kinds.load(kind, "predict"))(contents, np.arange(len(contents)))


def _compile_prediction(model: Predictor, module: PredictModule) -> Callable[[Sequence[Any], np.ndarray], np.ndarray]:
    """(contents, rows) -> [num_rows, num_tasks] float32; one trace serves batches of all sizes."""
    predict_batch = tf.function(model.predict_targets, input_signature=[module.BATCH_SPEC], autograph=False)

    def predict_rows(contents: Sequence[Any], rows: np.ndarray) -> np.ndarray:
        found = [np.zeros([0, model.num_tasks], np.float32)]
        for start in range(0, len(rows), _PREDICTION_BATCH):
            batch = module.batch([contents[row] for row in rows[start : start + _PREDICTION_BATCH]])
            found.append(predict_batch(batch).numpy())
        predictions = np.concatenate(found)
        wrong = ~np.isfinite(predictions).all(axis=1)
        if wrong.any():
            raise ValueError(
                f"predictions must be finite. Received: {predictions[wrong][0].tolist()} of record "
                f"{rows[wrong][0]}, {wrong.sum()} of {len(rows)} in all. {_ADVICE}"
            )
        return predictions

    return predict_rows


class _FinetuneStep(tf.Module):
    """Model and optimizers, and the function that advances them; what a checkpoint holds."""

    def __init__(self, model: Predictor, module: PredictModule, config: FinetuneConfig, steps_per_epoch: int):
        super().__init__()
        self.model, self._config, self._batch_spec = model, config, module.BATCH_SPEC
        self._dropout = DropoutSeed(model)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        steps, warmup = config.epochs * steps_per_epoch, config.warmup_epochs * steps_per_epoch

        def make_optimizer(largest: float) -> keras.optimizers.Optimizer:
            return keras.optimizers.legacy.Adam(WarmUpThenDecay(largest / 10, largest, largest / 10, warmup, steps))

        # Two optimizers, since Adam undoes a factor on gradients; what is frozen has none.
        self.head_optimizer, self.encoder_optimizer = make_optimizer(config.learning_rate), None
        if config.encoder_lr_scale > 0:
            self.encoder_optimizer = make_optimizer(config.learning_rate * config.encoder_lr_scale)
        for optimizer, variables in self._trained():
            make_slots(optimizer, variables)

    def compile(self) -> Callable[[Any, np.ndarray], dict[str, tf.Tensor]]:
        """`take` as a graph; one trace serves batches of all sizes."""
        targets_spec = tf.TensorSpec([None, self.model.num_tasks], tf.float32)
        return tf.function(self.take, input_signature=[self._batch_spec, targets_spec], autograph=False)

    def take(self, batch: Any, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one optimiser step and returns the loss before it."""
        seed = self._config.seed
        self._dropout.reset(seeds.number_of(seed, seeds.FinetuneStream.DROPOUT), self.step)
        with tf.GradientTape() as tape:
            training_seed = seeds.of_step(seed, seeds.FinetuneStream.ENCODER, self.step)
            loss = self.model.loss(batch, self.model.to_outputs(targets), self._config, training_seed)
        trained = self._trained()
        gradients = tape.gradient(loss, [variables for _, variables in trained])
        for (optimizer, variables), of_variables in zip(trained, gradients):
            # Not every output of an encoder reaches the heads.
            optimizer.apply_gradients((g, v) for g, v in zip(of_variables, variables) if g is not None)
        self.step.assign_add(1)
        return {"loss": loss}

    def _trained(self) -> list[tuple[keras.optimizers.Optimizer, Sequence[tf.Variable]]]:
        """Each optimizer and its variables."""
        trained = [(self.head_optimizer, self.model.head_variables)]
        if self.encoder_optimizer is not None:
            trained.append((self.encoder_optimizer, self.model.encoder.trainable_variables))
        return trained


def _draw_batches(rows: np.ndarray, config: FinetuneConfig, epoch: int) -> Iterator[np.ndarray]:
    """Rows of each batch of an epoch, a function of seed and epoch; the last batch may be smaller."""
    shuffled = seeds.generator(config.seed, seeds.FinetuneStream.SHUFFLE, epoch + 1).permutation(rows)
    return (shuffled[start : start + config.batch_size] for start in range(0, len(rows), config.batch_size))


def _fingerprint(
    kind: str,
    encoder: Any,
    contents: Sequence[Any],
    targets: np.ndarray,
    split: Split,
    task: Task,
    config: FinetuneConfig,
) -> str:
    """Names a run by what it is made of: settings, contents, targets, split, and the weights that it begins with."""
    digest = hashlib.sha256(json.dumps([kind, task, dataclasses.asdict(config)], sort_keys=True).encode())
    weights = (
        encoder.get_weights() if isinstance(encoder, keras.Model) else [np.frombuffer(repr(encoder).encode(), np.uint8)]
    )
    for array in (targets, *split, *weights):
        digest.update(np.ascontiguousarray(array).tobytes())
    module: PredictModule = kinds.load(kind, "predict")
    for start in range(0, len(contents), _PREDICTION_BATCH):
        for tensor in tf.nest.flatten(module.batch(contents[start : start + _PREDICTION_BATCH])):
            digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()[:16]


def _check(contents: Sequence[Any], targets: np.ndarray, split: Split, task: Task) -> None:
    if task not in METRICS:
        raise ValueError(f"task must be one of {', '.join(METRICS)}. Received: {task!r}.")
    if targets.ndim != 2 or len(targets) != len(contents) or not targets.shape[1]:
        raise ValueError(
            "targets must be [num_records, num_tasks] with a row per record. "
            f"Received: {targets.shape} for {len(contents)} records. Leave out targets of rejected records."
        )
    values = targets[~np.isnan(targets)]
    if not np.isfinite(values).all():
        raise ValueError("targets must be finite, or NaN where unknown. Received: an infinite one. Remove it.")
    if task == "classification" and not np.isin(values, (0.0, 1.0)).all():
        found = ", ".join(f"{value:g}" for value in np.unique(values)[:5])
        raise ValueError(f"targets of a classification must be 0 or 1. Received: {found}. Choose regression.")
    for part, rows in split._asdict().items():
        if not len(rows):
            raise ValueError(
                f"each part of the split must have records. Received: none in {part}. "
                "Use more data, another --split or another finetune.seed."
            )
    if np.isnan(targets[split.train]).all(axis=0).any():
        raise ValueError("each task must have a target in train. Received: one without. Leave that task out.")
    for part in ("validation", "test", "train"):
        rows = getattr(split, part)
        with np.errstate(over="ignore"):
            scored = score(targets[rows], np.zeros_like(targets[rows]), task)
        if np.isnan(scored):
            needed = "a task with both classes" if task == "classification" else "a target"
            raise ValueError(
                f"{part} must have {needed}. Received: none. Use more data, another --split or another finetune.seed."
            )


# --- Files -----------------------------------------------------------------------------------------------


class StoredPredictor(NamedTuple):
    """What `save_predictor` wrote."""

    model: Predictor
    task: Task
    targets: list[str]
    """[num_tasks] names."""
    column: str
    """Of the raw content in the table that it learned from."""


def save_predictor(
    model: Predictor, kind: str, config: FinetuneConfig, targets: Sequence[str], column: str, directory: str
) -> None:
    """Writes weights and `config.json`; `targets` names the tasks. Replaces what was there."""
    facts = {
        "kind": kind,
        "encoder": model.encoder.config,
        "finetune": config,
        "task": model.task,
        "targets": list(targets),
        "column": column,
    }
    with artifacts.whole_directory(directory) as unfinished:
        tf.train.Checkpoint(model=model).write(str(unfinished / _WEIGHTS_FILE))
        (unfinished / _CONFIG_FILE).write_text(artifacts.to_json(facts), encoding="utf-8")


def load_predictor(directory: str | os.PathLike, kind: str) -> StoredPredictor:
    """The predictor that `save_predictor` wrote, a fine-tuning to WORKDIR/predictor.

    Raises:
        FileNotFoundError: the directory holds none.
        ValueError: it is one of another kind, or damaged.
    """
    path = os.path.join(directory, _CONFIG_FILE)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"a predictor must have {_CONFIG_FILE}. Received: {str(directory)!r}. "
            f"Name the directory predictor/ of a finished `recsys-ssl finetune {kind}`."
        )
    facts = artifacts.read_fields(path, ("kind", "encoder", "finetune", "task", "targets", "column"))
    if facts["kind"] != kind:
        raise ValueError(f"the predictor must be one of kind {kind}. Received: {facts['kind']!r} in {directory}.")
    module: PredictModule = kinds.load(kind, "predict")
    with artifacts.reading(path):
        config = kinds.load(kind, "settings").FinetuneConfig(**facts["finetune"])
        model = module.restore(facts["encoder"], len(facts["targets"]), facts["task"], config)
    with artifacts.reading(directory):
        tf.train.Checkpoint(model=model).read(os.path.join(directory, _WEIGHTS_FILE)).assert_consumed()
    return StoredPredictor(model, facts["task"], facts["targets"], facts["column"])
