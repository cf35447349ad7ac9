"""The training loop: one straight function, resumable at every checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import examples
from recsys_ssl.encoders.molecule.encoder import encode_molecules
from recsys_ssl.encoders.molecule.grover import GTransformer
from recsys_ssl.features.batch import Catalogue, lay_out
from recsys_ssl.features.correlations import Correlations
from recsys_ssl.features.preprocessing import EncodedFeature, read_encoding
from recsys_ssl.features.schema import is_multi_valued
from recsys_ssl.models.popularity import PopularityPrior
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.spec import Feature, FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.data import count_examples, stream
from recsys_ssl.training.export import export_towers
from recsys_ssl.training.step import TrainStep
from recsys_ssl.training.validation import Validator

_WHITENING_MOLECULES = 1024
"""Molecules of the catalogue by whose first vectors the towers whiten, see `FixedWhitening`."""

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each validation with the step, the most steps and the newest figures."""


@dataclass(frozen=True)
class TrainInputs:
    """Where a training run reads: directories of the stages before it; correlations for `cfm` only."""

    interactions_dir: str
    catalogue_dir: str
    query_transform_dir: str
    item_transform_dir: str
    correlations_path: str | None = None


@dataclass(frozen=True)
class TrainResult:
    """What a finished run reports; `seconds` counts this process only."""

    best_step: int
    best_recall: float
    last_step: int
    examples_per_second: float
    seconds: float


def train(
    spec: FeatureSpec,
    config: TrainConfig,
    inputs: TrainInputs,
    export_dir: str,
    checkpoint_dir: str,
    log_dir: str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Fits the two towers and exports them.

    Args:
        export_dir: receives the SavedModel, see `export_towers`.

    The other arguments and what is raised are those of `fit`.
    """
    fitted = fit(spec, config, inputs, checkpoint_dir, log_dir, progress)
    export_towers(fitted.model, spec, inputs.query_transform_dir, inputs.item_transform_dir, export_dir)
    return fitted.result


class Fitted(NamedTuple):
    """A trained model, with the weights of the best validation, and the catalogue that it reads."""

    model: TwoTower
    catalogue: Catalogue
    result: TrainResult


def fit(
    spec: FeatureSpec,
    config: TrainConfig,
    inputs: TrainInputs,
    checkpoint_dir: str,
    log_dir: str | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Trains the two towers and returns the best of them by validation Recall@50.

    A run that finds a checkpoint of the same settings and data in `checkpoint_dir` goes on from it and ends with
    the same metrics as one that was never interrupted: batches, masks and samples are functions of the seed
    and the step.

    Args:
        checkpoint_dir: stable over restarts; a subdirectory is taken by fingerprint of spec, settings and inputs.
        log_dir: receives TensorBoard events; None writes none.

    Raises:
        ValueError: the train split is smaller than a batch, or the loss is not finite.
    """
    # --- Data ------------------------------------------------------------------------------------
    # Keras draws its initial weights from a generator of its own, which `tf.random.set_seed` leaves alone. Above 0:
    # a global seed of 0 makes TensorFlow compare the shuffle's symbolic seed with 0 and fail.
    keras.utils.set_random_seed(config.seed + 1)
    train_shards = examples.list_shards(inputs.interactions_dir, "train")
    num_examples = count_examples(train_shards)
    if num_examples < config.batch_size:
        raise ValueError(
            f"a batch must not be larger than the train split. Received: batch_size={config.batch_size}, "
            f"{num_examples} examples. Set train.batch_size to at most {max(1, num_examples // 4)}."
        )
    model, catalogue = build_model(spec, config, inputs)
    validator = Validator(spec, inputs.interactions_dir, catalogue, config.validation_queries, config.seed)

    # --- Model -----------------------------------------------------------------------------------
    mutual_information = read_mutual_information(config, inputs, model.item_layout.features)
    step = TrainStep(model, catalogue, config, spec.queries.same_as_items, mutual_information)
    best_recall, best_step = tf.Variable(-1.0, dtype=tf.float64), tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(train=step, best_recall=best_recall, best_step=best_step)
    run_dir = os.path.join(checkpoint_dir, _fingerprint(spec, config, inputs, mutual_information))
    latest = tf.train.CheckpointManager(checkpoint, os.path.join(run_dir, "latest"), max_to_keep=1)
    best = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), os.path.join(run_dir, "best"), max_to_keep=1)
    latest.restore_or_initialize()

    # --- Loop ------------------------------------------------------------------------------------
    first_step, started = int(step.step), time.perf_counter()
    writer = tf.summary.create_file_writer(log_dir) if log_dir else tf.summary.create_noop_writer()
    dataset = stream(
        train_shards,
        model.query_layout,
        spec.queries.same_as_items,
        config.batch_size,
        num_examples,
        config.shuffle_buffer,
        config.seed,
        first_step,
    )
    take_step, batches = step.compile(dataset.element_spec), iter(dataset)
    while int(step.step) < config.steps and not _is_stale(step, best_step, config):
        figures = take_step(next(batches))
        now = int(step.step)
        if now % config.eval_every and now != config.steps:
            continue
        figures = {name: float(value) for name, value in figures.items()}
        if not np.isfinite(figures["loss"]):
            raise ValueError(f"the loss must be finite. Received: {figures} at step {now}. Lower train.learning_rate.")
        recall = figures["validation_recall_at_50"] = validator.recall_at(model, 50)
        if recall > float(best_recall):
            best_recall.assign(recall)
            best_step.assign(now)
            best.save(now)
        latest.save(now)
        figures["examples_per_second"] = (now - first_step) * config.batch_size / (time.perf_counter() - started)
        with writer.as_default(step=now):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        if progress is not None:
            progress(now, config.steps, figures)

    seconds = time.perf_counter() - started
    tf.train.Checkpoint(model=model).restore(best.latest_checkpoint).expect_partial()
    trained = (int(step.step) - first_step) * config.batch_size
    result = TrainResult(int(best_step), float(best_recall), int(step.step), trained / seconds, seconds)
    return Fitted(model, catalogue, result)


def build_model(spec: FeatureSpec, config: TrainConfig, inputs: TrainInputs) -> tuple[TwoTower, Catalogue]:
    """A freshly initialised model and the encoded catalogue that its item tower reads.

    With `molecule_learning_rate=0` the catalogue holds vectors of its molecules in place of the molecules.

    Raises:
        ValueError: there is a `molecule_encoder`, but no molecule.
        FileNotFoundError: there is no such encoder.
    """
    items = read_encoding(inputs.item_transform_dir), spec.item_features
    queries = items if spec.queries.same_as_items else (read_encoding(inputs.query_transform_dir), spec.query_features)
    (query_layout, item_layout), num_rows = lay_out([_side(*queries), _side(*items)])
    catalogue = Catalogue(inputs.catalogue_dir, item_layout)
    prior = PopularityPrior(config.popularity_prior, config.temperature, float(catalogue.train_counts.mean()))
    encoder = _make_molecule_encoder(config, item_layout.features)
    model = TwoTower(query_layout, item_layout, num_rows, config.tower, prior, encoder)
    if encoder is not None:
        embed = tf.function(partial(encode_molecules, encoder), autograph=False)
        for name, vectors in catalogue.encode_molecules(embed, _WHITENING_MOLECULES).items():
            model.whiten_molecules(name, vectors, decorrelate=not encoder.trainable)
        if not encoder.trainable:
            catalogue.replace_molecules(embed)
    return model, catalogue


def _make_molecule_encoder(config: TrainConfig, features: Sequence[EncodedFeature]) -> GTransformer | None:
    if not any(feature.is_molecule for feature in features):
        if config.molecule_encoder is not None:
            raise ValueError(
                "train.molecule_encoder needs an item feature of kind molecule. "
                f"Received: {config.molecule_encoder!r}. Add the feature to the spec or leave the setting out."
            )
        return None
    if config.molecule_encoder is None:
        encoder = GTransformer(config.grover)
    else:
        from recsys_ssl.encoders.molecule.embed import (
            load_encoder,  # loads RDKit, which training needs for nothing else
        )

        pretrained = load_encoder(config.molecule_encoder)
        encoder = GTransformer(replace(pretrained.config, dropout=config.molecule_dropout))
        encoder.set_weights(pretrained.get_weights())
    encoder.trainable = config.molecule_learning_rate > 0
    return encoder


def _side(encoding: Sequence[EncodedFeature], features: Sequence[Feature]) -> tuple[Sequence, list[bool]]:
    return encoding, [is_multi_valued(feature) or feature.kind == "text" for feature in features]


def _is_stale(step: TrainStep, best_step: tf.Variable, config: TrainConfig) -> bool:
    return int(step.step) - int(best_step) >= config.patience * config.eval_every and int(best_step) > 0


def read_mutual_information(
    config: TrainConfig, inputs: TrainInputs, features: Sequence[EncodedFeature]
) -> np.ndarray | None:
    """[num_features, num_features] in the order of `features`; 0 for a dense feature, which has none.

    None where the regularizer does not read it, or it was not given.
    """
    if inputs.correlations_path is None or not config.regularizer.startswith("cfm"):
        return None
    with tf.io.gfile.GFile(inputs.correlations_path) as file:
        correlations = Correlations.from_json(file.read())
    found = correlations.normalised if config.correlation == "normalised" else correlations.mutual_information
    slots = [[feature.name for feature in features].index(name) for name in correlations.feature_names]
    matrix = np.zeros([len(features), len(features)])
    matrix[np.ix_(slots, slots)] = found
    return matrix


def _fingerprint(
    spec: FeatureSpec, config: TrainConfig, inputs: TrainInputs, mutual_information: np.ndarray | None
) -> str:
    """Names a run by what it is made of: settings, names and sizes of what it reads, and a pre-trained encoder."""
    shards = examples.list_shards(inputs.catalogue_dir, examples.CATALOGUE_SPLIT)
    for split in ("train", "eval"):
        shards += examples.list_shards(inputs.interactions_dir, split)
    sizes = [(os.path.basename(path), tf.io.gfile.stat(path).length) for path in shards]
    facts = [spec.to_json(), asdict(config), sizes, None if mutual_information is None else mutual_information.tolist()]
    if config.molecule_encoder is not None:
        facts.append(hash_encoder(config.molecule_encoder))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def hash_encoder(directory: str) -> str:
    """A hash of the files of a pre-trained encoder, so that another one in its place begins a run of its own."""
    digest = hashlib.sha256()
    for path in sorted(tf.io.gfile.glob(os.path.join(directory, "*"))):
        with tf.io.gfile.GFile(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]
