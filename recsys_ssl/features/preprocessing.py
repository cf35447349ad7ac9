"""Raw features to integer codes with TensorFlow Transform; the same graph serves inside the exported model.

Every feature becomes a list per record: vocabulary indices (id, categorical, text n-grams), a quantile
bucket (numeric), the standardised vector (dense), packed content as it is, or the catalogue's own id indices
(item_sequence). A missing feature is an empty list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from recsys_ssl import examples, lists
from recsys_ssl.features.batch import keep_last
from recsys_ssl.features.encoding import EncodedFeature, write_encoding
from recsys_ssl.features.schema import catalogue_schema, interactions_schema
from recsys_ssl.features.windows import write_windows
from recsys_ssl.spec import (
    VOCABULARY_FEATURES,
    CategoricalFeature,
    ColumnFeature,
    ContentFeature,
    DenseFeature,
    Feature,
    FeatureSpec,
    IdFeature,
    NumericFeature,
    TableFeature,
    TextFeature,
)

_TEMPORARY = "tmp"
_RECORDS_PER_BATCH = 4096


# --- The two transformations ----------------------------------------------------------------------


def transform(
    spec: FeatureSpec,
    interactions_dir: str,
    catalogue_dir: str,
    query_transform_dir: str,
    item_transform_dir: str,
    transformed_interactions_dir: str,
    transformed_catalogue_dir: str,
    beam_options: PipelineOptions | None = None,
) -> None:
    """Learns both transformations (items from the catalogue, queries from the train split) and applies them.

    Two Beam pipelines: one learns, one applies. Shards keep their names and their order, so the output
    is deterministic; a worker holds one shard's transformed records.
    """
    items, interactions = catalogue_schema(spec), interactions_schema(spec)
    catalogue_shards = examples.list_shards(catalogue_dir, examples.CATALOGUE_SPLIT)
    train_shards = examples.list_shards(interactions_dir, "train")
    # TensorFlow Transform does not write over an earlier run, and no shard of one may be read with the new ones.
    for directory in (query_transform_dir, item_transform_dir):
        _delete(os.path.join(directory, name) for name in ("transform_fn", "transformed_metadata", "transform_tmp"))
    _delete([examples.split_dir(transformed_catalogue_dir, examples.CATALOGUE_SPLIT)])
    splits = *examples.INTERACTION_SPLITS, examples.SEQUENCES_SPLIT
    _delete(examples.split_dir(transformed_interactions_dir, split) for split in splits)
    with beam.Pipeline(options=beam_options) as pipeline:
        _ = pipeline | "AnalyzeItems" >> _Analyze(
            catalogue_shards, items, item_preprocessing_fn(spec), item_transform_dir
        )
        _ = pipeline | "AnalyzeQueries" >> _Analyze(
            train_shards, interactions, query_preprocessing_fn(spec), query_transform_dir
        )
    _delete(os.path.join(directory, _TEMPORARY) for directory in (query_transform_dir, item_transform_dir))
    write_encoding(item_transform_dir, _item_encoding(spec, item_transform_dir))
    write_encoding(query_transform_dir, _query_encoding(spec, query_transform_dir, item_transform_dir))

    interaction_shards = [
        (path, split) for split in spec.split.names for path in examples.list_shards(interactions_dir, split)
    ]
    with beam.Pipeline(options=beam_options) as pipeline:
        _ = (
            pipeline
            | "ListItemShards" >> beam.Create([(path, examples.CATALOGUE_SPLIT) for path in catalogue_shards])
            | "SpreadItemShards" >> beam.Reshuffle()
            | "TransformItems"
            >> beam.ParDo(_TransformShard(spec, items, None, item_transform_dir, transformed_catalogue_dir))
        )
        _ = (
            pipeline
            | "ListInteractionShards" >> beam.Create(interaction_shards)
            | "SpreadInteractionShards" >> beam.Reshuffle()
            | "TransformInteractions"
            >> beam.ParDo(
                _TransformShard(
                    spec, interactions, query_transform_dir, item_transform_dir, transformed_interactions_dir
                )
            )
        )


def _delete(directories: Iterable[str]) -> None:
    for directory in directories:
        if tf.io.gfile.exists(directory):
            tf.io.gfile.rmtree(directory)


def item_preprocessing_fn(spec: FeatureSpec) -> Callable[[dict], dict]:
    """The `preprocessing_fn` of the catalogue for TensorFlow Transform."""

    def preprocessing_fn(inputs: dict[str, tf.SparseTensor]) -> dict[str, tf.SparseTensor]:
        outputs = {name: inputs[name] for name in ("item_row", "item_id", "train_count")}
        for feature in spec.item_features:
            outputs[feature.name] = _encode(feature, inputs[feature.name])
        return outputs

    return preprocessing_fn


def query_preprocessing_fn(spec: FeatureSpec) -> Callable[[dict], dict]:
    """The `preprocessing_fn` of the interactions; item sequences stay raw, see `QueryEncoder`."""
    numbers = ("item_row", "query_row", "timestamp_us", "example_weight", "seen_rows")
    kept = ("query_id", *numbers, "sequence_position", "history_us")

    def preprocessing_fn(inputs: dict[str, tf.SparseTensor]) -> dict[str, tf.SparseTensor]:
        outputs = {name: inputs[name] for name in kept if name in inputs}
        for feature in spec.query_features:
            values = inputs[feature.name]
            outputs[feature.name] = _encode(feature, values) if isinstance(feature, ColumnFeature) else values
        return outputs

    return preprocessing_fn


def load_item_encoder(item_transform_dir: str) -> Callable[[dict], dict]:
    """The learned transformation of raw item features: sparse tensors by name in, sparse codes by name out.

    Features that are not given are left out of the result. The encoder is trackable: it can be saved with a model.
    """
    return tft.TFTransformOutput(item_transform_dir).transform_features_layer()


class QueryEncoder(tf.Module):
    """The learned transformation of raw query features; item sequences take the catalogue's id vocabulary.

    Of a sequence longer than the spec's `length` the last items are kept, as at ingestion.
    """

    def __init__(self, spec: FeatureSpec, query_transform_dir: str, item_transform_dir: str):
        super().__init__()
        self._layer = tft.TFTransformOutput(query_transform_dir).transform_features_layer()
        self._item_layer = load_item_encoder(item_transform_dir) if spec.item_sequences else None
        self._lengths = {feature.name: feature.length for feature in spec.item_sequences}
        self._item_id = spec.sequence_id_feature.name if spec.item_sequences else ""

    def __call__(self, raw: dict[str, tf.SparseTensor]) -> dict[str, tf.SparseTensor]:
        encoded = self._layer(raw)
        if self._item_layer is not None:
            for name, length in self._lengths.items():
                encoded[name] = self._item_layer({self._item_id: keep_last(raw[name], length)})[self._item_id]
        return encoded


def _encode(feature: TableFeature, values: tf.SparseTensor) -> tf.SparseTensor:
    if isinstance(feature, VOCABULARY_FEATURES):
        return tft.compute_and_apply_vocabulary(
            _word_ngrams(feature, values) if isinstance(feature, TextFeature) else _on_one_line(values),
            top_k=getattr(feature, "vocabulary_size", None),
            frequency_threshold=feature.min_count if feature.min_count > 1 else None,
            num_oov_buckets=feature.oov_buckets,
            vocab_filename=feature.name,
        )
    if isinstance(feature, NumericFeature):
        return tft.bucketize(values, feature.buckets)
    if isinstance(feature, DenseFeature):
        return _standardise(feature, values)
    return values


def _on_one_line(values: tf.SparseTensor) -> tf.SparseTensor:
    """The same texts with the symbols of line ends for line ends: a vocabulary file has one value a line."""
    text = tf.strings.regex_replace(values.values, r"\n", "\N{SYMBOL FOR LINE FEED}")
    text = tf.strings.regex_replace(text, r"\r", "\N{SYMBOL FOR CARRIAGE RETURN}")
    return tf.SparseTensor(values.indices, text, values.dense_shape)


def _word_ngrams(feature: TextFeature, text: tf.SparseTensor) -> tf.SparseTensor:
    lowered = tf.strings.lower(text.values, encoding="utf-8")
    # Marks belong to a word: accents that are characters of their own, vowels of Indic scripts.
    words = tf.strings.split(tf.strings.regex_replace(lowered, r"[^\p{L}\p{M}\p{N}]+", " "))
    ragged = tf.RaggedTensor.from_value_rowids(words, text.indices[:, 0], nrows=text.dense_shape[0])
    ragged = ragged.merge_dims(1, 2)[:, : feature.max_words]
    return tft.ngrams(ragged.to_sparse(), (1, feature.ngrams), " ") if feature.ngrams > 1 else ragged.to_sparse()


def _standardise(feature: DenseFeature, values: tf.SparseTensor) -> tf.SparseTensor:
    elements = tf.reshape(values.values, [-1, feature.dim])
    mean = tft.mean(elements, reduce_instance_dims=False)
    deviation = tf.sqrt(tft.var(elements, reduce_instance_dims=False))
    scaled = tf.math.divide_no_nan(elements - mean, deviation)
    return tf.SparseTensor(values.indices, tf.reshape(scaled, [-1]), values.dense_shape)


# --- Analysis ---------------------------------------------------------------------------------------


class _Analyze(beam.PTransform):
    """Learns one transformation from example shards and writes it."""

    def __init__(self, shards: Sequence[str], schema: schema_pb2.Schema, preprocessing_fn, out_dir: str):
        super().__init__()
        self._shards, self._schema, self._preprocessing_fn, self._out_dir = shards, schema, preprocessing_fn, out_dir

    def expand(self, pipeline):
        source = tfxio.TFExampleRecord(file_pattern="", schema=self._schema)
        # TFXIO decides the Arrow schema; batches must carry exactly its columns, in its order.
        columns = source.ArrowSchema().names
        with tft_beam.Context(temp_dir=os.path.join(self._out_dir, _TEMPORARY), use_deep_copy_optimization=True):
            batches = (
                pipeline
                | "ListShards" >> beam.Create(list(self._shards))
                | "SpreadShards" >> beam.Reshuffle()
                | "ReadBatches" >> beam.FlatMap(_read_columns, self._schema, columns)
            )
            transform_fn = (batches, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(self._preprocessing_fn)
            return transform_fn | tft_beam.WriteTransformFn(self._out_dir)


def _read_columns(path: str, schema: schema_pb2.Schema, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for batch in examples.read_batches([path], _RECORDS_PER_BATCH, schema):
        yield batch.select(columns) if batch.schema.names != list(columns) else batch


# --- Application --------------------------------------------------------------------------------------


class _TransformShard(beam.DoFn):
    """Transforms one example file into one of the same name; the graph is loaded once per worker."""

    def __init__(self, spec, schema, query_transform_dir: str | None, item_transform_dir: str, out_dir: str):
        self._spec, self._schema = spec.to_json(), schema.SerializeToString()
        self._query_transform_dir, self._item_transform_dir = query_transform_dir, item_transform_dir
        self._out_dir = out_dir

    def setup(self):
        if self._query_transform_dir is None:
            encode = load_item_encoder(self._item_transform_dir)
        else:
            spec = FeatureSpec.from_json(self._spec)
            encode = QueryEncoder(spec, self._query_transform_dir, self._item_transform_dir)
        raw_spec = _raw_feature_spec(schema_pb2.Schema.FromString(self._schema))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def transform_serialized(serialized):
            return encode(tf.io.parse_example(serialized, raw_spec))

        self._transform = transform_serialized

    def process(self, element):
        path, split = element
        records = tf.data.TFRecordDataset(path, compression_type="GZIP").batch(_RECORDS_PER_BATCH)
        with examples.reading_shards([path]):
            batches = [_to_record_batch(self._transform(serialized)) for serialized in records]
        table = pa.Table.from_batches(batches).combine_chunks()
        shard = os.path.basename(path).removesuffix(".tfrecord.gz")
        encoded, sequences = table.to_batches()[0], FeatureSpec.from_json(self._spec).item_sequences
        if split == "train" and sequences:
            write_windows(encoded, sequences, self._out_dir, shard)
        yield examples.write_shard(encoded, self._out_dir, split, shard)


def _raw_feature_spec(schema: schema_pb2.Schema) -> dict[str, tf.io.VarLenFeature]:
    types = {schema_pb2.BYTES: tf.string, schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32}
    return {feature.name: tf.io.VarLenFeature(types[feature.type]) for feature in schema.feature}


def _to_record_batch(tensors: dict[str, tf.SparseTensor]) -> pa.RecordBatch:
    arrays = {}
    for name, tensor in sorted(tensors.items()):
        lengths = np.bincount(tensor.indices[:, 0].numpy(), minlength=int(tensor.dense_shape[0]))
        values = tensor.values.numpy()
        arrays[name] = lists.from_flat(values, lengths, pa.large_binary() if values.dtype == object else None)
    return pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))


# --- Encodings ------------------------------------------------------------------------------------------


def _item_encoding(spec: FeatureSpec, transform_dir: str) -> tuple[EncodedFeature, ...]:
    output = tft.TFTransformOutput(transform_dir)
    return tuple(_encoded(feature, f"item/{feature.name}", output) for feature in spec.item_features)


def _query_encoding(spec: FeatureSpec, transform_dir: str, item_transform_dir: str) -> tuple[EncodedFeature, ...]:
    output, items = tft.TFTransformOutput(transform_dir), tft.TFTransformOutput(item_transform_dir)
    encoding = []
    for feature in spec.query_features:
        if isinstance(feature, ColumnFeature):
            encoding.append(_encoded(feature, f"query/{feature.name}", output))
        else:
            item_id = spec.sequence_id_feature
            shared = _encoded(item_id, f"item/{item_id.name}", items)
            encoding.append(EncodedFeature(feature.name, shared.vocabulary, shared.size))
    return tuple(encoding)


def _encoded(feature: TableFeature, vocabulary: str, output: tft.TFTransformOutput) -> EncodedFeature:
    if isinstance(feature, DenseFeature):
        return EncodedFeature(feature.name, vocabulary, 0, feature.dim)
    if isinstance(feature, ContentFeature):
        return EncodedFeature(feature.name, vocabulary, 0, content=feature.kind)
    if isinstance(feature, NumericFeature):
        return EncodedFeature(feature.name, vocabulary, feature.buckets)
    size = output.vocabulary_size_by_name(feature.name) + feature.oov_buckets
    unknown = feature.oov_buckets if isinstance(feature, IdFeature) else 0
    return EncodedFeature(feature.name, vocabulary, size, unknown=unknown)


# --- Serving ----------------------------------------------------------------------------------------------


def serving_signature(features: Sequence[Feature]) -> dict[str, tf.TensorSpec]:
    """The dense tensors that stand for raw features at serving: "" and NaN mean missing.

    Returns:
        name -> string [batch_size] for one value (of content its packed bytes), string [batch_size, width] for
        several, float32 [batch_size] for a numeric and [batch_size, dim] for a dense feature.
    """
    signature = {}
    for feature in features:
        if isinstance(feature, DenseFeature):
            spec = tf.TensorSpec([None, feature.dim], tf.float32, feature.name)
        elif isinstance(feature, NumericFeature):
            spec = tf.TensorSpec([None], tf.float32, feature.name)
        else:
            spec = tf.TensorSpec([None, None] if feature.is_list else [None], tf.string, feature.name)
        signature[feature.name] = spec
    return signature


class RawCleaner:
    """Reads values of `serving_signature` as ingestion reads cells: words of `missing` say nothing, and blanks around
    the values of a list do not matter.
    """

    def __init__(self, spec: FeatureSpec, features: Sequence[Feature]):
        self._lists = {f.name for f in features if isinstance(f, CategoricalFeature) and f.multi_valued}
        of_files = [
            (spec.events.features, spec.events),
            (spec.queries.features, spec.queries.table),
            (spec.items.features, spec.events if spec.items.from_events else spec.items.table),
        ]
        read = {id(f) for f in features}  # a query's may be equal to an item's
        self._missing = {
            f.name: [word.strip() for word in files.missing]
            for own, files in of_files
            for f in own
            if id(f) in read and isinstance(f, VOCABULARY_FEATURES) and files is not None and files.missing
        }

    def clean(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        cleaned = dict(raw)
        for name in self._lists & set(raw):
            cleaned[name] = tf.strings.strip(cleaned[name])
        for name in self._missing.keys() & set(raw):
            bare = tf.strings.strip(cleaned[name])[..., tf.newaxis]
            is_missing = tf.reduce_any(bare == tf.constant(self._missing[name]), axis=-1)
            cleaned[name] = tf.where(is_missing, "", cleaned[name])
        return cleaned


def raw_to_sparse(raw: dict[str, tf.Tensor]) -> dict[str, tf.SparseTensor]:
    """Turns the dense tensors of `serving_signature` into what the transformation reads."""
    sparse = {}
    for name, dense in raw.items():
        dense = dense if dense.shape.rank == 2 else dense[:, tf.newaxis]
        if dense.dtype.is_floating:
            complete = tf.reduce_all(tf.math.is_finite(dense), axis=1, keepdims=True)
            present = tf.broadcast_to(complete, tf.shape(dense))
        else:
            present = dense != ""
        indices = tf.where(present)
        sparse[name] = tf.SparseTensor(indices, tf.gather_nd(dense, indices), tf.shape(dense, tf.int64))
    return sparse
