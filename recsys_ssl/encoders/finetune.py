"""Fine-tuning: measured properties of molecules, learned on a pre-trained encoder or from scratch."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import artifacts
from recsys_ssl.encoders.molecule.graph import MoleculeGraph, batch_molecules
from recsys_ssl.encoders.molecule.grover import GroverConfig, GTransformer, draw_hops
from recsys_ssl.encoders.molecule.predictor import HeadConfig, MoleculePredictor, two_head_loss
from recsys_ssl.encoders.molecule.scaffolds import Split
from recsys_ssl.encoders.pretrain_step import MOLECULES_SPEC
from recsys_ssl.encoders.schedules import WarmUpThenDecay
from recsys_ssl.evaluation.prediction import METRICS, Task, score

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each epoch with the epoch, the most epochs and the newest figures."""

_PREDICTION_BATCH = 128
# Streams of random numbers of one seed.
_SHUFFLE, _HOPS = 0, 1


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of one fine-tuning run.

    Attributes:
        epochs: passes over the training molecules; the schedule of the learning rate ends with the last one.
        learning_rate: the largest one. It rises from a tenth over `warmup_epochs` and falls to a tenth at the end.
        encoder_lr_scale: factor on the learning rate of the encoder; 0 leaves the encoder as it is.
        dist_coff: weight of the disagreement of the two heads.
        dropout: of encoder and heads.
        attn_hidden, attn_out, ffn_hidden, ffn_layers: see `HeadConfig`.
        patience: epochs without a better validation metric after which training stops.
    """

    seed: int = 0
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_epochs: int = 2
    encoder_lr_scale: float = 1.0
    dist_coff: float = 0.1
    dropout: float = 0.1
    attn_hidden: int = 128
    attn_out: int = 4
    ffn_hidden: int = 256
    ffn_layers: int = 2
    patience: int = 10

    def __post_init__(self):
        for name in ("batch_size", "patience", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"finetune.{name} must be at least 1. Received: {getattr(self, name)}.")
        # Written so that NaN is refused too.
        for name in ("seed", "warmup_epochs", "encoder_lr_scale", "dist_coff"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"finetune.{name} must not be negative. Received: {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise ValueError(f"finetune.learning_rate must be positive. Received: {self.learning_rate}. Use 1e-4-1e-3.")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                "finetune.warmup_epochs must be less than finetune.epochs. "
                f"Received: {self.warmup_epochs} of {self.epochs}. Train longer or warm up for fewer epochs."
            )
        self.heads  # noqa: B018  (checks the sizes)

    @property
    def heads(self) -> HeadConfig:
        return HeadConfig(self.attn_hidden, self.attn_out, self.ffn_hidden, self.ffn_layers, self.dropout)


class Finetuned(NamedTuple):
    """A trained predictor, with the weights of the best validation."""

    model: MoleculePredictor
    predictions: np.ndarray
    """[num_molecules, num_tasks] float32 of all molecules, the training ones too."""
    metrics: dict[str, float]
    """Part of the split -> ROC-AUC or RMSE, see `score`."""
    best_epoch: int
    last_epoch: int
    seconds: float


def finetune(
    encoder: GTransformer | GroverConfig,
    graphs: Sequence[MoleculeGraph],
    targets: np.ndarray,
    split: Split,
    task: Task,
    config: FinetuneConfig | None = None,
    progress: Progress | None = None,
) -> Finetuned:
    """Trains two heads and the encoder below them; the epoch with the best validation metric is kept.

    The given encoder stays as it is: a copy is trained. The same seed gives the same result on the same machine.

    Args:
        encoder: a pre-trained encoder, or sizes of one to be trained from scratch. Its dropout is replaced.
        graphs: [num_molecules].
        targets: [num_molecules, num_tasks] float, NaN where not measured; 0 or 1 in a classification.
        split: rows of train, validation and test; other rows are predicted only.
        task: "classification" or "regression", which standardises the targets by mean and deviation in train.

    Raises:
        ValueError: targets do not fit the molecules or the task, a part of the split has too few to be judged, or the
            loss is not finite.
    """
    config = config or FinetuneConfig()
    targets = np.asarray(targets, np.float32)
    _check(graphs, targets, split, task)

    # --- Model -----------------------------------------------------------------------------------
    # Above 0, see `recsys_ssl.training.train.fit`.
    keras.utils.set_random_seed(config.seed + 1)
    sizes = encoder.config if isinstance(encoder, GTransformer) else encoder
    sizes = dataclasses.replace(sizes, dropout=config.dropout)
    model = MoleculePredictor(sizes, targets.shape[1], task, config.heads)
    if isinstance(encoder, GTransformer):
        model.encoder.set_weights(encoder.get_weights())
    if task == "regression":
        scale = np.nanstd(targets[split.train], axis=0)
        model.standardise(np.nanmean(targets[split.train], axis=0), np.where(scale > 0, scale, 1.0))
    steps_per_epoch = math.ceil(len(split.train) / config.batch_size)
    take_step = _make_step(model, config, steps_per_epoch)
    predict_rows = _make_predict(model)

    # --- Loop ------------------------------------------------------------------------------------
    started = time.perf_counter()
    best, best_epoch, best_weights, sign = -np.inf, 0, model.get_weights(), 1 if task == "classification" else -1
    for epoch in range(1, config.epochs + 1):
        losses = []
        for rows in _draw_batches(split.train, config, epoch):
            step = (epoch - 1) * steps_per_epoch + len(losses)
            batch = batch_molecules([graphs[row] for row in rows])
            losses.append(float(take_step(batch, targets[rows], [config.seed * 2 + _HOPS, step])))
        loss = float(np.mean(losses))
        if not np.isfinite(loss):
            raise ValueError(
                f"the loss must be finite. Received: {loss} in epoch {epoch}. Lower finetune.learning_rate."
            )
        validation = score(targets[split.validation], predict_rows(graphs, split.validation), task)
        if sign * validation > best:
            best, best_epoch, best_weights = sign * validation, epoch, model.get_weights()
        if progress is not None:
            rate = epoch * len(split.train) / (time.perf_counter() - started)
            name = f"validation_{METRICS[task]}"
            progress(epoch, config.epochs, {"loss": loss, name: validation, "molecules_per_second": rate})
        if epoch - best_epoch >= config.patience:
            break
    model.set_weights(best_weights)

    predictions = predict_rows(graphs, np.arange(len(graphs)))
    metrics = {part: score(targets[rows], predictions[rows], task) for part, rows in split._asdict().items()}
    return Finetuned(model, predictions, metrics, best_epoch, epoch, time.perf_counter() - started)


def predict(model: MoleculePredictor, graphs: Sequence[MoleculeGraph]) -> np.ndarray:
    """[num_molecules, num_tasks] float32 probabilities, or values in the unit of the targets."""
    return _make_predict(model)(graphs, np.arange(len(graphs)))


def _make_predict(model: MoleculePredictor) -> Callable[[Sequence[MoleculeGraph], np.ndarray], np.ndarray]:
    """(graphs, rows) -> [num_rows, num_tasks] float32; one trace serves batches of all sizes."""
    predict_batch = tf.function(model.predict_targets, input_signature=[MOLECULES_SPEC], autograph=False)

    def predict_rows(graphs: Sequence[MoleculeGraph], rows: np.ndarray) -> np.ndarray:
        found = [np.zeros([0, model.num_tasks], np.float32)]
        for start in range(0, len(rows), _PREDICTION_BATCH):
            batch = batch_molecules([graphs[row] for row in rows[start : start + _PREDICTION_BATCH]])
            found.append(predict_batch(batch).numpy())
        return np.concatenate(found)

    return predict_rows


def _make_step(model: MoleculePredictor, config: FinetuneConfig, steps_per_epoch: int) -> Callable:
    """(batch, targets, seed of the hops) -> loss; one trace serves batches of all sizes."""
    steps, warmup = config.epochs * steps_per_epoch, config.warmup_epochs * steps_per_epoch

    def make_optimizer(largest: float) -> keras.optimizers.Optimizer:
        return keras.optimizers.legacy.Adam(WarmUpThenDecay(largest / 10, largest, largest / 10, warmup, steps))

    # Two optimizers, since Adam undoes a factor on gradients; what is frozen has none.
    trained = [(model.head_variables, make_optimizer(config.learning_rate))]
    if config.encoder_lr_scale > 0:
        rate = config.learning_rate * config.encoder_lr_scale
        trained.append((model.encoder.trainable_variables, make_optimizer(rate)))

    targets_spec, seed_spec = tf.TensorSpec([None, model.num_tasks], tf.float32), tf.TensorSpec([2], tf.int32)

    @tf.function(input_signature=[MOLECULES_SPEC, targets_spec, seed_spec], autograph=False)
    def take_step(batch, targets, seed):
        hops = draw_hops(model.encoder.config.depth, seed)
        with tf.GradientTape() as tape:
            outputs = model(batch, training=True, hops=hops)
            loss = two_head_loss(outputs, model.to_outputs(targets), model.task, config.dist_coff)
        gradients = tape.gradient(loss, [variables for variables, _ in trained])
        for (variables, optimizer), of_variables in zip(trained, gradients):
            # The bond vectors do not reach the heads.
            optimizer.apply_gradients((g, v) for g, v in zip(of_variables, variables) if g is not None)
        return loss

    return take_step


def _draw_batches(rows: np.ndarray, config: FinetuneConfig, epoch: int) -> Iterator[np.ndarray]:
    """Rows of each batch of an epoch, a function of seed and epoch; the last batch may be smaller."""
    shuffled = np.random.default_rng([config.seed, _SHUFFLE, epoch]).permutation(rows)
    return (shuffled[start : start + config.batch_size] for start in range(0, len(rows), config.batch_size))


def _check(graphs: Sequence[MoleculeGraph], targets: np.ndarray, split: Split, task: Task) -> None:
    if task not in METRICS:
        raise ValueError(f"task must be one of {', '.join(METRICS)}. Received: {task!r}.")
    if targets.ndim != 2 or len(targets) != len(graphs) or not targets.shape[1]:
        raise ValueError(
            "targets must be [num_molecules, num_tasks] with a row per graph. "
            f"Received: {targets.shape} for {len(graphs)} graphs. Leave out targets of rejected molecules."
        )
    values = targets[~np.isnan(targets)]
    if not np.isfinite(values).all():
        raise ValueError("targets must be finite, or NaN where unknown. Received: an infinite one. Remove it.")
    if task == "classification" and not np.isin(values, (0.0, 1.0)).all():
        found = ", ".join(f"{value:g}" for value in np.unique(values)[:5])
        raise ValueError(f"targets of a classification must be 0 or 1. Received: {found}. Choose regression.")
    for part, rows in split._asdict().items():
        if not len(rows):
            raise ValueError(f"each part of the split must have molecules. Received: none in {part}. Use more data.")
    if np.isnan(targets[split.train]).all(axis=0).any():
        raise ValueError("each task must have a target in train. Received: one without. Leave that task out.")
    for part in ("validation", "test"):
        rows = getattr(split, part)
        if np.isnan(score(targets[rows], np.zeros_like(targets[rows]), task)):
            needed = "a task with both classes" if task == "classification" else "a target"
            raise ValueError(f"{part} must have {needed}. Received: none. Use another split, seed or more data.")


# --- Files -----------------------------------------------------------------------------------------------


def save_predictor(model: MoleculePredictor, heads: HeadConfig, targets: Sequence[str], directory: str) -> None:
    """Writes weights and `config.json`; `targets` names the tasks. Replaces what was there."""
    facts = {"encoder": model.encoder.config, "heads": heads, "task": model.task, "targets": list(targets)}
    with artifacts.whole_directory(directory) as unfinished:
        tf.train.Checkpoint(model=model).write(str(unfinished / "weights"))
        (unfinished / "config.json").write_text(artifacts.to_json(facts), encoding="utf-8")


def load_predictor(directory: str) -> tuple[MoleculePredictor, list[str]]:
    """The predictor that `save_predictor` wrote, and the names of its targets.

    Raises:
        ValueError: the directory holds none.
    """
    path = os.path.join(directory, "config.json")
    if not os.path.exists(path):
        raise ValueError(f"there must be a predictor in {directory!r}. Received: no config.json. Fine-tune first.")
    with open(path, encoding="utf-8") as file:
        facts = json.load(file)
    targets = facts["targets"]
    model = MoleculePredictor(
        GroverConfig(**facts["encoder"]), len(targets), facts["task"], HeadConfig(**facts["heads"])
    )
    tf.train.Checkpoint(model=model).read(os.path.join(directory, "weights")).assert_consumed()
    return model, targets
