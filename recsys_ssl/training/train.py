"""The training loop: one straight function, resumable at every checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recsys_ssl import examples, kinds, seeds
from recsys_ssl.encoders import store
from recsys_ssl.encoders.contract import Encoder
from recsys_ssl.evaluation.metrics import choose_k
from recsys_ssl.features.batch import Catalogue, FeatureLayout, lay_out
from recsys_ssl.features.correlations import Correlations
from recsys_ssl.features.encoding import EncodedFeature, read_encoding
from recsys_ssl.features.schema import is_multi_valued
from recsys_ssl.loop import Outcome, Progress, Schedule, has_begun, run_steps
from recsys_ssl.models import sampling
from recsys_ssl.models.history import HistoryEncoder
from recsys_ssl.models.popularity import PopularityPrior
from recsys_ssl.models.repeats import RepeatTerm
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.spec import Feature, FeatureSpec, TextFeature
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.data import Interactions, count_examples, parse, parse_windows, stream
from recsys_ssl.training.export import export_towers
from recsys_ssl.training.regularizers import REGULARIZERS
from recsys_ssl.training.sequences import SequenceReader
from recsys_ssl.training.start import News, start_ids
from recsys_ssl.training.step import TrainStep
from recsys_ssl.training.validation import Validator, name_recall

_WHITENING_RECORDS = 1024
"""Items by whose first vectors the towers whiten, see `FixedWhitening`."""


@dataclass(frozen=True)
class TrainInputs:
    """Where a training run reads: directories of the stages before it; correlations for `cfm` only."""

    interactions_dir: str
    catalogue_dir: str
    query_transform_dir: str
    item_transform_dir: str
    correlations_path: str | None = None


def train(
    spec: FeatureSpec,
    config: TrainConfig,
    inputs: TrainInputs,
    export_dir: str,
    checkpoint_dir: str,
    log_dir: str | None = None,
    progress: Progress | None = None,
    tell: News | None = None,
) -> Outcome:
    """Fits the two towers and exports them.

    Args:
        export_dir: receives the SavedModel, see `export_towers`.

    The other arguments and what is raised are those of `fit`.
    """
    fitted = fit(spec, config, inputs, checkpoint_dir, log_dir, progress, tell)
    transforms = inputs.query_transform_dir, inputs.item_transform_dir
    export_towers(fitted.model, spec, *transforms, export_dir, fitted.catalogue)
    return fitted.outcome


class Fitted(NamedTuple):
    """A trained model, with the weights of the best validation, or the last, and the catalogue that it reads."""

    model: TwoTower
    catalogue: Catalogue
    outcome: Outcome


def fit(
    spec: FeatureSpec,
    config: TrainConfig,
    inputs: TrainInputs,
    checkpoint_dir: str,
    log_dir: str | None = None,
    progress: Progress | None = None,
    tell: News | None = None,
) -> Fitted:
    """Trains the two towers and returns the best of them by validation Recall@k, see `metrics.choose_k`.

    Where the split holds out no validation, those of the last step.

    A run that finds a checkpoint of the same settings and data in `checkpoint_dir` goes on from it and ends with
    the same metrics as one that was never interrupted: batches, masks and samples are functions of the seed
    and the step. A batch holds no more than the whole train split.

    Args:
        checkpoint_dir: stable over restarts; a subdirectory is taken by fingerprint of spec, settings and inputs.
        log_dir: receives TensorBoard events; None writes none.
        tell: hears what is done before the first step.

    Raises:
        ValueError: the loss is not finite.
    """
    # --- Data ------------------------------------------------------------------------------------
    seeds.set_initial_weights(config.seed)
    model, catalogue = build_model(spec, config, inputs)
    source = _find_source(spec, config, inputs, model, catalogue)
    k, score, validator = choose_k(catalogue.num_items), None, None
    if spec.split.has_validation:
        score = name_recall(k)
        validator = Validator(spec, inputs.interactions_dir, catalogue, config.validation_queries, config.seed)

    # --- Model -----------------------------------------------------------------------------------
    mutual_information = read_mutual_information(config, inputs, model.item_layout.features)
    step = TrainStep(model, catalogue, config, spec.queries.same_as_items, mutual_information)
    directory = os.path.join(checkpoint_dir, _fingerprint(spec, config, inputs, mutual_information))
    if not has_begun(directory):
        start_ids(model, catalogue, spec, config.start, config.seed, inputs.interactions_dir, tell)

    # --- Loop ------------------------------------------------------------------------------------
    def make_dataset(first_step: int) -> tf.data.Dataset:
        return stream(
            source.shards,
            source.parse_batch,
            source.batch_size,
            source.num_records,
            source.shuffle_buffer,
            config.seed,
            first_step,
        )

    def make_batches(first_step: int) -> Iterator[Interactions]:
        with examples.reading_shards(source.shards):
            yield from make_dataset(first_step)

    def validate() -> dict[str, float]:
        return {score: validator.recall_at(model, k)} if score and validator else {}

    outcome = run_steps(
        step,
        model,
        make_batches,
        step.compile(make_dataset(0).element_spec),
        validate,
        Schedule(
            steps=config.steps,
            eval_every=config.eval_every,
            score=score,
            larger_is_better=True,
            examples_per_step=source.events_per_step,
            advice="Lower train.learning_rate.",
            patience=config.patience,
        ),
        directory,
        log_dir,
        progress,
    )
    return Fitted(model, catalogue, outcome)


class _Source(NamedTuple):
    """What a run reads its batches of."""

    shards: Sequence[str]
    parse_batch: Callable[[tf.Tensor], Interactions]
    batch_size: int
    """Records of a batch."""
    num_records: int
    shuffle_buffer: int
    events_per_step: int


def _find_source(
    spec: FeatureSpec, config: TrainConfig, inputs: TrainInputs, model: TwoTower, catalogue: Catalogue
) -> _Source:
    """The train events one by one, or, where a history encoder reads them, in windows that hold as many on average."""
    shards, layout = examples.list_shards(inputs.interactions_dir, "train"), model.query_layout
    num_events = count_examples(shards)
    batch_size = min(config.batch_size, num_events)
    if model.history_encoder is None:
        same = spec.queries.same_as_items
        return _Source(
            shards,
            lambda serialized: parse(serialized, layout, same),
            batch_size,
            num_events,
            config.shuffle_buffer,
            batch_size,
        )
    shards = examples.list_shards(inputs.interactions_dir, examples.SEQUENCES_SPLIT)
    reader = SequenceReader(spec, catalogue)
    num_windows = count_examples(shards)

    def to_windows(events: int) -> int:
        return max(1, round(events * num_windows / num_events))

    return _Source(
        shards,
        lambda serialized: parse_windows(serialized, layout, reader),
        to_windows(batch_size),
        num_windows,
        to_windows(config.shuffle_buffer),
        batch_size,
    )


def build_model(spec: FeatureSpec, config: TrainConfig, inputs: TrainInputs) -> tuple[TwoTower, Catalogue]:
    """A freshly initialised model and the encoded catalogue that its item tower reads.

    Where an encoder stays as it is, the catalogue holds vectors in place of the content.

    Raises:
        ValueError: there are settings for an encoder of content that no item has.
        FileNotFoundError: there is no such pre-trained encoder.
    """
    items = read_encoding(inputs.item_transform_dir), spec.item_features
    queries = items if spec.queries.same_as_items else (read_encoding(inputs.query_transform_dir), spec.query_features)
    (query_layout, item_layout), num_rows = lay_out([_side(*queries), _side(*items)])
    catalogue = Catalogue(inputs.catalogue_dir, item_layout)
    query_layout, repeats = lay_out_history(spec, config, query_layout, item_layout, catalogue.num_items)
    prior = PopularityPrior(config.popularity_prior, config.temperature, float(catalogue.train_counts.mean()))
    encoders = _make_encoders(config, item_layout.features)
    sequence, history_encoder = None, None
    if config.history.encoder == "transformer":
        reader, tower = SequenceReader(spec, catalogue), config.tower
        sequence = reader.sequence
        history_encoder = HistoryEncoder(config.history, reader.length, tower.embedding_dim, tower.feature_dim)
    towers = query_layout, item_layout, num_rows, config.tower, prior, encoders
    model = TwoTower(*towers, sequence, history_encoder, repeats)
    for feature in item_layout.features:
        if feature.content:
            encoder = encoders[feature.content]
            embed = tf.function(encoder.encode, autograph=False)
            vectors = catalogue.encode_some(feature.name, embed, _WHITENING_RECORDS)
            if vectors is not None:
                model.whiten(feature.name, vectors, decorrelate=not encoder.trainable)
            if not encoder.trainable:
                catalogue.replace_contents(feature.name, embed)
    return model, catalogue


def lay_out_history(
    spec: FeatureSpec, config: TrainConfig, query_layout: FeatureLayout, item_layout: FeatureLayout, num_items: int
) -> tuple[FeatureLayout, RepeatTerm | None]:
    """The layout of queries with what is read of their item sequences, and the term of what they chose before.

    Raises:
        ValueError: the term is asked for, but there is no item sequence, or its codes do not name single items.
    """
    sequences, setting = spec.item_sequences, config.history.repeats
    last = {sequence.name: config.history.length for sequence in sequences}
    layout = replace(query_layout, last=last)
    if setting == "off" or (setting == "auto" and (not sequences or spec.evaluation.mask_seen)):
        return layout, None
    if not sequences:
        raise ValueError(
            "train.history.repeats=on needs an item_sequence among the query features. Received: none. "
            "Add one to the spec or set train.history.repeats=off."
        )
    item_id = spec.sequence_id_feature
    if item_id.min_count > 1:
        raise ValueError(
            f"train.history.repeats needs a code of its own for every item. Received: feature {item_id.name!r} with "
            f"min_count: {item_id.min_count}. Remove min_count or set train.history.repeats=off."
        )
    # All sequences hold the same choices; the longest holds most of them.
    longest = max(sequences, key=lambda sequence: sequence.length).name
    names = [feature.name for feature in item_layout.features]
    if item_id.name not in names:
        raise ValueError(
            f"train.history.repeats needs {item_id.name!r} among the features of the item tower. Received: {names}. "
            "Add it or set train.history.repeats=off."
        )
    slot = names.index(item_id.name)
    encoded, offset = item_layout.features[slot], item_layout.offsets[slot]
    term = RepeatTerm(config.temperature, slot, offset + encoded.size - encoded.unknown, num_items)
    return replace(layout, history=longest), term


def _make_encoders(config: TrainConfig, features: Sequence[EncodedFeature]) -> dict[str, Encoder]:
    """Kind of content -> its encoder."""
    present = list(dict.fromkeys(feature.content for feature in features if feature.content))
    absent = sorted(set(config.encoder) - set(present))
    if absent:
        raise ValueError(
            f"train.encoder.{absent[0]} needs an item feature of kind {absent[0]}. "
            f"Received: {dict(config.encoder[absent[0]])}. Add the feature to the spec or leave the settings out."
        )
    encoders = {}
    for kind in present:
        settings = config.encoder_config(kind)
        encoders[kind] = kinds.load(kind, "encoder").make(settings)
        encoders[kind].trainable = settings.learning_rate > 0
    return encoders


def _side(encoding: Sequence[EncodedFeature], features: Sequence[Feature]) -> tuple[Sequence, list[bool]]:
    return encoding, [is_multi_valued(feature) or isinstance(feature, TextFeature) for feature in features]


def read_mutual_information(
    config: TrainConfig, inputs: TrainInputs, features: Sequence[EncodedFeature]
) -> np.ndarray | None:
    """[num_features, num_features] in the order of `features`; 0 for a dense feature, which has none.

    None where the regularizer does not read it, or it was not given.
    """
    if inputs.correlations_path is None or not REGULARIZERS[config.ssl.regularizer].needs_correlations:
        return None
    with tf.io.gfile.GFile(inputs.correlations_path) as file:
        correlations = Correlations.from_json(file.read())
    found = correlations.normalised if config.ssl.correlation == "normalised" else correlations.mutual_information
    slots = [[feature.name for feature in features].index(name) for name in correlations.feature_names]
    matrix = np.zeros([len(features), len(features)])
    matrix[np.ix_(slots, slots)] = found
    return matrix


def _fingerprint(
    spec: FeatureSpec, config: TrainConfig, inputs: TrainInputs, mutual_information: np.ndarray | None
) -> str:
    """Names a run by what it is made of: settings, what it reads, and a pre-trained encoder."""
    shards = examples.list_shards(inputs.catalogue_dir, examples.CATALOGUE_SPLIT)
    sequences = [examples.SEQUENCES_SPLIT] if config.history.encoder == "transformer" else []
    for split in (*spec.split.names[:-1], *sequences):
        shards += examples.list_shards(inputs.interactions_dir, split)
    contents = [(os.path.basename(path), _hash_file(path)) for path in shards]
    facts = [
        spec.to_json(),
        asdict(config),
        contents,
        None if mutual_information is None else mutual_information.tolist(),
    ]
    facts += [store.hash_encoder(directory) for directory in config.pretrained.values()]
    facts += [sampling.HASH] if config.logq == "streaming" else []
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _hash_file(path: str) -> str:
    content = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 24):
            content.update(block)
    return content.hexdigest()
