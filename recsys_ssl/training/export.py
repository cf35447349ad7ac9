"""The towers as a SavedModel: raw features in, embedding out."""

from __future__ import annotations

import tensorflow as tf

from recsys_ssl.features.batch import Catalogue, FeatureBatch, batch_from_sparse, keep_last
from recsys_ssl.features.preprocessing import (
    QueryEncoder,
    RawCleaner,
    load_item_encoder,
    raw_to_sparse,
    serving_signature,
)
from recsys_ssl.models.history import Histories
from recsys_ssl.models.repeats import RepeatTerm
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.spec import TIME_INPUTS, FeatureSpec
from recsys_ssl.training.sequences import UNKNOWN_TIME, SequenceReader

_TRAIN_COUNT = "train_count"
_ITEM_TIMES, _QUERY_TIME = TIME_INPUTS
_BLOCK = 4096


class _Towers(tf.Module):
    """Holds what the signatures read, so that it is saved with them."""

    def __init__(
        self,
        model: TwoTower,
        spec: FeatureSpec,
        query_transform_dir: str,
        item_transform_dir: str,
        catalogue: Catalogue,
    ):
        super().__init__()
        self.model = model
        self.encode_items = load_item_encoder(item_transform_dir)
        self.encode_queries = self.encode_items
        if not spec.queries.same_as_items:
            self.encode_queries = QueryEncoder(spec, query_transform_dir, item_transform_dir)
        query_features = spec.item_features if spec.queries.same_as_items else spec.query_features
        clean_query, clean_item = RawCleaner(spec, query_features).clean, RawCleaner(spec, spec.item_features).clean
        length = max((sequence.length for sequence in spec.item_sequences), default=0)
        query_signature, item_signature = serving_signature(query_features), serving_signature(spec.item_features)
        if model.prior.weight:
            item_signature[_TRAIN_COUNT] = tf.TensorSpec([None], tf.float32, _TRAIN_COUNT)
        self.reader, self.item_embeddings = None, None
        if model.history_encoder is not None:
            self.reader = SequenceReader(spec, catalogue)
            self.item_embeddings = tf.Variable(embed_catalogue(model, catalogue), trainable=False)
            query_signature[_ITEM_TIMES] = tf.TensorSpec([None, None], tf.int64, _ITEM_TIMES)
            query_signature[_QUERY_TIME] = tf.TensorSpec([None], tf.int64, _QUERY_TIME)

        @tf.function(input_signature=[query_signature], autograph=False)
        def embed_query(raw):
            given = dict(raw)
            item_times, query_time = given.pop(_ITEM_TIMES, None), given.pop(_QUERY_TIME, None)
            encoded, num_records = _encode(self.encode_queries, clean_query(given))
            batch, states = batch_from_sparse(model.query_layout, encoded, num_records), None
            if self.reader is not None:
                item_times = _align(item_times, given[self.reader.sequence])
                histories = _read_histories(self.reader, encoded[self.reader.sequence], item_times, query_time)
                states = model.read_histories(histories, self.item_embeddings)
            outputs = {"embedding": model.vectorize_queries(batch, states)}
            if model.repeats is not None:
                sequence = raw_to_sparse({"history": raw[model.query_layout.history]})["history"]
                outputs |= _score_repeats(model.repeats, batch, keep_last(sequence, length).values)
            return outputs

        @tf.function(input_signature=[item_signature], autograph=False)
        def embed_item(raw):
            raw = dict(raw)
            train_counts = raw.pop(_TRAIN_COUNT, None)
            batch = batch_from_sparse(model.item_layout, *_encode(self.encode_items, clean_item(raw)))
            return {"embedding": model.vectorize_items(batch, train_counts)}

        self.embed_query, self.embed_item = embed_query, embed_item


def export_towers(
    model: TwoTower,
    spec: FeatureSpec,
    query_transform_dir: str,
    item_transform_dir: str,
    export_dir: str,
    catalogue: Catalogue,
) -> None:
    """Writes a SavedModel with the signatures `embed_query` and `embed_item`.

    Both take the dense tensors of `serving_signature` by feature name and return {"embedding": [batch_size,
    vector_dim] float32}: rows of length 1, and beside them the coordinate of a popularity prior. With a prior
    `embed_item` also takes `train_count`, [batch_size] float32 train positives; NaN for an item that is new.

    With a history encoder `embed_query` also takes `history_us`, [batch_size, any] int64 microseconds since 1970 of
    the items of the item_sequence, and `timestamp_us`, [batch_size] int64 when the query is asked; -1 where not known.
    It holds the embeddings of the whole catalogue, 4 embedding_dim bytes an item, and 16 bytes an item beside them; an
    item that the catalogue does not have keeps its place in the sequence and says nothing.

    Of a model that knows of repeats `embed_query` also returns {"repeat_ids": [batch_size, width] string, the known
    items of the query's history, distinct and padded with "", "repeat_scores": [batch_size, width] float32, what they
    score as ones that are chosen again, "repeat_temperature": [batch_size] float32, T of all scores}: such an item
    scores T log(e^(s / T) + e^(r / T)) of its dot product s and its repeat_score r, see `models.repeats`.
    """
    towers = _Towers(model, spec, query_transform_dir, item_transform_dir, catalogue)
    signatures = {"embed_query": towers.embed_query, "embed_item": towers.embed_item}
    tf.saved_model.save(towers, export_dir, signatures=signatures)


def embed_catalogue(model: TwoTower, catalogue: Catalogue) -> tf.Tensor:
    """[num_items, embedding_dim] float32, a block at a time."""
    embed = tf.function(lambda rows: model.embed_items(catalogue.gather(rows)), autograph=False, reduce_retracing=True)
    rows = tf.range(catalogue.num_items, dtype=tf.int64)
    return tf.concat([embed(rows[i : i + _BLOCK]) for i in range(0, catalogue.num_items, _BLOCK)], axis=0)


def _align(item_times: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
    """[batch_size, width] int64: the times, as wide as the ids.

    Raises:
        InvalidArgumentError: a time stands where there is no item.
    """
    width = tf.shape(item_ids)[1]
    missing = tf.maximum(width - tf.shape(item_times)[1], 0)
    padded = tf.pad(item_times, [[0, 0], [0, missing]], constant_values=UNKNOWN_TIME)
    outside = tf.reduce_any(padded[:, width:] != UNKNOWN_TIME)
    outside |= tf.reduce_any((padded[:, :width] != UNKNOWN_TIME) & (item_ids == ""))
    message = f"{_ITEM_TIMES} must have its times where the item_sequence has its items. Give one time for each item."
    with tf.control_dependencies([tf.debugging.assert_equal(outside, False, message)]):
        return tf.identity(padded[:, :width])


def _read_histories(
    reader: SequenceReader, codes: tf.SparseTensor, item_times: tf.Tensor, query_time: tf.Tensor
) -> Histories:
    """Histories of requests: each code has its time at the same place of its row."""
    times = tf.gather_nd(item_times, codes.indices)
    rows = tf.RaggedTensor.from_value_rowids(times, codes.indices[:, 0], codes.dense_shape[0])
    return reader.read_codes(codes, rows, query_time)


def _encode(encode, raw: dict[str, tf.Tensor]) -> tuple[dict[str, tf.SparseTensor], tf.Tensor]:
    """The encoded features and the number of records."""
    return encode(raw_to_sparse(raw)), tf.shape(next(iter(raw.values())), tf.int64)[0]


def _score_repeats(term: RepeatTerm, batch: FeatureBatch, ids: tf.Tensor) -> dict[str, tf.Tensor]:
    """What the items of every query's history score as ones that are chosen again, as rectangles.

    Args:
        ids: [num_choices] string, what the log calls the items of `batch.history`.
    """
    choices, scores = term.score(batch.history, batch.num_records)
    ids = tf.gather(ids, choices.places)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(choices.records), choices.records, batch.num_records)
    columns = tf.range(tf.size(ids, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), choices.records)
    places = tf.stack([choices.records, columns], axis=1)
    shape = tf.stack([batch.num_records, tf.maximum(tf.reduce_max(counts), 0)])
    padded = tf.tensor_scatter_nd_update(tf.fill(shape, ""), places, ids)
    return {
        "repeat_ids": padded,
        "repeat_scores": tf.scatter_nd(places, scores, shape),
        "repeat_temperature": tf.fill([batch.num_records], term.temperature),
    }
