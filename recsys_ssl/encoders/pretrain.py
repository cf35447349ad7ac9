"""Pre-training of a molecule encoder without labels: a file of SMILES in, an encoder out.

Like `recsys_ssl.training.train`, one straight function that resumes at every checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import artifacts
from recsys_ssl.encoders.config import PretrainConfig
from recsys_ssl.encoders.molecule.embed import save_encoder
from recsys_ssl.encoders.molecule.pretext import NO_TARGET, GroverPretrainer, PretrainBatch
from recsys_ssl.encoders.molecule.shards import PretrainData, Summary, prepare
from recsys_ssl.encoders.pretrain_step import PretrainStep

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called with the phase ("count", "write" or "train"), what is done of it, all of it, and the newest figures.

Phases count SMILES, SMILES and steps; only "train" has figures, and is told after each validation.
"""


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """What a finished run reports; speed and `seconds` count the training of this process only."""

    encoder_dir: str
    data: Summary
    best_step: int
    last_step: int
    figures: dict[str, float]
    """Validation figures of the best step, whose weights the encoder has."""
    molecules_per_second: float
    seconds: float


def pretrain(
    smiles_file: str | os.PathLike,
    config: PretrainConfig,
    workdir: str | os.PathLike,
    workers: int = 1,
    progress: Progress | None = None,
) -> PretrainResult:
    """Pre-trains an encoder and writes the best of it, by validation loss, to WORKDIR/encoder.

    A run that finds prepared molecules, or a checkpoint, of the same SMILES and settings in `workdir` goes on from it
    and ends with the same weights as one that was never interrupted: batches, targets, hop counts and dropout are
    functions of the seed and the step. (On a GPU, sums in another order may differ in the last digits.)

    Args:
        smiles_file: see `recsys_ssl.encoders.molecule.files.read_smiles`.
        workdir: receives prepared molecules, checkpoints, TensorBoard events and the encoder.
        workers: processes that featurise, see `recsys_ssl.encoders.molecule.smiles.featurise_all`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: too many SMILES are rejected, fewer molecules than a batch, none to validate on, or the loss is
            not finite.
    """
    # --- Data ------------------------------------------------------------------------------------
    workdir, tell = Path(workdir), progress or (lambda *_: None)
    data = prepare(
        smiles_file,
        workdir / "molecules",
        config,
        workers,
        lambda done, most: tell("count", done, most, {}),
        lambda done, most: tell("write", done, most, {}),
    )
    _check_sizes(data.summary, config)
    validation = data.validation_batches(config)
    constants = _describe(validation)

    # --- Model -----------------------------------------------------------------------------------
    # Keras draws its initial weights from a generator of its own; above 0 as in `train`.
    keras.utils.set_random_seed(config.seed + 1)
    model = GroverPretrainer(
        config.grover, data.atom_vocabulary.size, data.bond_vocabulary.size, mask_inputs=config.mask_inputs
    )
    step = PretrainStep(model, config)
    best_loss, best_step = tf.Variable(np.inf, dtype=tf.float64), tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(train=step, best_loss=best_loss, best_step=best_step)
    run_dir = workdir / "checkpoints" / _fingerprint(config, data)
    latest = tf.train.CheckpointManager(checkpoint, str(run_dir / "latest"), max_to_keep=1)
    best = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(run_dir / "best"), max_to_keep=1)
    latest.restore_or_initialize()

    # --- Loop ------------------------------------------------------------------------------------
    first_step, started = int(step.step), time.perf_counter()
    writer = tf.summary.create_file_writer(str(workdir / "tensorboard" / run_dir.name))
    batches = _read_ahead(lambda now: data.train_batch(config, now), range(first_step, config.steps))
    for now, batch in enumerate(batches, start=first_step + 1):
        losses = step.take(batch)
        if now % config.eval_every and now != config.steps:
            continue
        figures = {name: float(value) for name, value in losses.items()}
        if not np.isfinite(figures["loss"]):
            raise ValueError(
                f"the loss must be finite. Received: {figures} at step {now}. Lower pretrain.max_learning_rate."
            )
        figures |= step.validate(validation) | constants
        if figures["validation_loss"] < float(best_loss):
            best_loss.assign(figures["validation_loss"])
            best_step.assign(now)
            best.save(now)
        latest.save(now)
        seconds = time.perf_counter() - started
        figures["molecules_per_second"] = (now - first_step) * config.batch_size / seconds
        figures["seconds_left"] = (config.steps - now) * seconds / (now - first_step)
        with writer.as_default(step=now):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        writer.flush()
        tell("train", now, config.steps, figures)
    seconds = time.perf_counter() - started

    # --- Encoder ---------------------------------------------------------------------------------
    tf.train.Checkpoint(model=model).restore(best.latest_checkpoint).expect_partial()
    encoder_dir = workdir / artifacts.ENCODER_DIR
    save_encoder(model.encoder, encoder_dir, config, data.atom_vocabulary, data.bond_vocabulary)
    trained = (int(step.step) - first_step) * config.batch_size
    result = PretrainResult(
        encoder_dir=str(encoder_dir),
        data=data.summary,
        best_step=int(best_step),
        last_step=int(step.step),
        figures=step.validate(validation) | constants,
        molecules_per_second=trained / seconds,
        seconds=seconds,
    )
    content = artifacts.to_json(dataclasses.asdict(result) | {"config": config})
    artifacts.write_text(workdir / artifacts.PRETRAIN_RESULT_FILE, content)
    return result


def _check_sizes(summary: Summary, config: PretrainConfig) -> None:
    if summary.num_train < config.batch_size:
        raise ValueError(
            f"a batch must not be larger than the molecules to train on. Received: batch_size={config.batch_size}, "
            f"{summary.num_train} molecules. Set pretrain.batch_size to at most {max(1, summary.num_train // 4)}."
        )
    if not summary.num_validation:
        raise ValueError(
            f"there must be molecules to validate on. Received: none of {summary.num_train} molecules. "
            "Give more molecules or raise pretrain.validation_share."
        )


def _describe(validation: list[PretrainBatch]) -> dict[str, float]:
    """Top-1 of always guessing the class that most validation targets have: what a top-1 must beat."""
    figures = {}
    for name in ("atom", "bond"):
        classes = np.concatenate([getattr(batch, f"{name}_classes") for batch in validation])
        classes = classes[classes != NO_TARGET]
        figures[f"validation_{name}_majority"] = (
            float(np.bincount(classes).max() / len(classes)) if len(classes) else 0.0
        )
    return figures


def _read_ahead(make: Callable[[int], PretrainBatch], steps: Iterable[int]) -> Iterator[PretrainBatch]:
    """Makes the next batch in a thread while the last one is trained on."""
    with ThreadPoolExecutor(1) as thread:
        coming = None
        for step in steps:
            ready, coming = coming, thread.submit(make, step)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


def _fingerprint(config: PretrainConfig, data: PretrainData) -> str:
    """Names a run by what it is made of: settings and prepared molecules."""
    facts = [dataclasses.asdict(config), data.directory.name]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
