"""Beam batch jobs that embed the catalogue and the queries of a held-out split.

Elements are ((shard, batch), RecordBatch): whole batches flow, and a batch's key names its output file, so that
the sorted files have the order of the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Optional

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recsys_ssl import examples, lists, provenance
from recsys_ssl.index import embeddings, raw_inputs
from recsys_ssl.spec import FeatureSpec

_Key = tuple[int, int]
_ToRows = Callable[[pa.RecordBatch, dict[str, pa.Array]], pa.Table]


def embed_items(
    towers_dir: str, catalogue_dir: str, out_dir: str, pipeline: Optional[beam.Pipeline] = None, batch_size: int = 4096
) -> None:
    """Embeds every item of the raw catalogue into Parquet files (see `embeddings`) and waits until it is done.

    Args:
        towers_dir: SavedModel with the signature `embed_item`.
        catalogue_dir: raw catalogue example files.
        out_dir: its earlier embeddings are replaced.
        pipeline: an empty Beam pipeline, which carries the options; the in-process runner when None.
        batch_size: records that are held and embedded at a time.

    Raises:
        FileNotFoundError: there are no examples.
        ValueError: the records lack an input of the tower, or an embedding is not finite.
        TypeError: a feature has the wrong type.
    """
    with pipeline or beam.Pipeline() as root:
        _ = root | "EmbedItems" >> EmbedItems(towers_dir, catalogue_dir, out_dir, batch_size)


def embed_queries(
    towers_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    split: str,
    spec: FeatureSpec,
    out_dir: str,
    pipeline: Optional[beam.Pipeline] = None,
    batch_size: int = 4096,
) -> None:
    """Embeds the query of every event of a held-out split into Parquet files and waits until it is done.

    When queries are items, every distinct query of the split is embedded once, from its record in the catalogue,
    and joined to the events by row: each worker holds (24 + 4 dim) bytes + its slices per distinct query.

    Args:
        towers_dir: SavedModel with the signature `embed_query`.
        interactions_dir: raw interaction example files.
        catalogue_dir: raw catalogue example files; read only when `spec.queries.same_as_items`.
        split: "eval" or "test".
        out_dir: its earlier embeddings are replaced.
        pipeline: an empty Beam pipeline, which carries the options; the in-process runner when None.
        batch_size: records that are held and embedded at a time.

    Raises:
        FileNotFoundError, ValueError, TypeError: as `embed_items`; a query_row without item is a ValueError too.
    """
    if split not in ("eval", "test"):
        raise ValueError(f"split must be 'eval' or 'test'. Received: split={split!r}.")
    slices = tuple(spec.evaluation.slices)
    if spec.queries.same_as_items:
        embed = EmbedQueryItems(towers_dir, interactions_dir, catalogue_dir, split, slices, out_dir, batch_size)
    else:
        embed = EmbedQueries(towers_dir, interactions_dir, split, slices, out_dir, batch_size)
    with pipeline or beam.Pipeline() as root:
        _ = root | "EmbedQueries" >> embed


# --- Transforms ------------------------------------------------------------------------------------


class EmbedItems(beam.PTransform):
    """Catalogue -> paths of the written item embeddings."""

    def __init__(self, towers_dir: str, catalogue_dir: str, out_dir: str, batch_size: int):
        super().__init__()
        self._towers_dir, self._catalogue_dir = str(towers_dir), str(catalogue_dir)
        self._out_dir, self._batch_size = str(out_dir), batch_size

    def expand(self, root):
        embeddings.clear_dir(self._out_dir)
        return (
            root
            | "ReadCatalogue" >> ReadBatches(self._catalogue_dir, examples.CATALOGUE_SPLIT, self._batch_size)
            | "EmbedItems" >> beam.ParDo(_EmbedBatches(self._towers_dir, "embed_item", _ItemRows()))
            | "WriteItems" >> beam.Map(_write_rows, out_dir=self._out_dir)
        )


class EmbedQueries(beam.PTransform):
    """Interactions with query features -> paths of the written query embeddings."""

    def __init__(self, towers_dir, interactions_dir, split: str, slices: tuple[str, ...], out_dir, batch_size: int):
        super().__init__()
        self._towers_dir, self._interactions_dir, self._out_dir = str(towers_dir), str(interactions_dir), str(out_dir)
        self._split, self._slices, self._batch_size = split, slices, batch_size

    def expand(self, root):
        embeddings.clear_dir(self._out_dir)
        return (
            root
            | "ReadEvents" >> ReadBatches(self._interactions_dir, self._split, self._batch_size)
            | "EmbedQueries" >> beam.ParDo(_EmbedBatches(self._towers_dir, "embed_query", _QueryRows(self._slices)))
            | "WriteQueries" >> beam.Map(_write_rows, out_dir=self._out_dir)
        )


class EmbedQueryItems(beam.PTransform):
    """Interactions whose queries are items, and the catalogue -> paths of the written query embeddings."""

    def __init__(self, towers_dir, interactions_dir, catalogue_dir, split, slices, out_dir, batch_size: int):
        super().__init__()
        self._towers_dir, self._interactions_dir, self._out_dir = str(towers_dir), str(interactions_dir), str(out_dir)
        self._catalogue_dir, self._split = str(catalogue_dir), split
        self._slices, self._batch_size = slices, batch_size

    def expand(self, root):
        embeddings.clear_dir(self._out_dir)
        events = root | "ReadEvents" >> ReadBatches(self._interactions_dir, self._split, self._batch_size)
        wanted_rows = (
            events
            | "FindQueryRows" >> beam.Map(lambda element: _integers(element[1], "query_row"))
            | "UniteQueryRows" >> beam.CombineGlobally(_unite)
        )
        queries = (
            root
            | "ReadCatalogue" >> ReadBatches(self._catalogue_dir, examples.CATALOGUE_SPLIT, self._batch_size)
            | "KeepQueries" >> beam.FlatMap(_keep_rows, wanted_rows=beam.pvalue.AsSingleton(wanted_rows))
            | "EmbedItems" >> beam.ParDo(_EmbedBatches(self._towers_dir, "embed_query", _ItemQueryRows(self._slices)))
            | "DropKeys" >> beam.Values()
        )
        return (
            events
            | "JoinQueries" >> beam.ParDo(_JoinQueries(), queries=beam.pvalue.AsIter(queries))
            | "WriteQueries" >> beam.Map(_write_rows, out_dir=self._out_dir)
        )


class ReadBatches(beam.PTransform):
    """Example files of a split -> ((shard, batch), RecordBatch), the shards in parallel."""

    def __init__(self, root_dir: str, split: str, batch_size: int):
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive. Received: batch_size={batch_size}.")
        self._root_dir, self._split, self._batch_size = root_dir, split, batch_size

    def expand(self, root):
        shards = list(enumerate(examples.list_shards(self._root_dir, self._split)))
        return (
            root
            | "ListShards" >> beam.Create(shards)
            | "SpreadShards" >> beam.Reshuffle()
            | "ReadShards" >> beam.FlatMap(_read_shard, batch_size=self._batch_size)
        )


def _read_shard(element: tuple[int, str], batch_size: int) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    shard, path = element
    for batch, records in enumerate(examples.read_batches([path], batch_size)):
        yield (shard, batch), records


def _write_rows(element: tuple[_Key, pa.Table], out_dir: str) -> str:
    key, rows = element
    return embeddings.write_rows(rows, out_dir, *key)


def _keep_rows(element: tuple[_Key, pa.RecordBatch], wanted_rows: np.ndarray) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    key, records = element
    kept = np.isin(_integers(records, "item_row"), wanted_rows)
    if kept.any():
        yield key, records.filter(pa.array(kept))


def _unite(rows: Iterable[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.empty(0, np.int64), *rows]))


class _EmbedBatches(beam.DoFn):
    """Embeds batches of records; the SavedModel is loaded once per worker."""

    def __init__(self, towers_dir: str, signature: str, to_rows: _ToRows):
        self._towers_dir, self._signature, self._to_rows = towers_dir, signature, to_rows

    def setup(self):
        self._towers = provenance.load_saved_model(self._towers_dir)
        self._specs = raw_inputs.input_specs(self._towers, self._signature)

    def process(self, element):
        key, records = element
        yield key, self._to_rows(records, embed(self._towers, self._signature, self._specs, records))


def embed(towers, signature: str, specs: dict[str, tf.TensorSpec], records: pa.RecordBatch) -> dict[str, pa.Array]:
    """What the towers make of raw records, by the name of its column, see `embeddings`.

    The batch is padded with missing records to a power of two, so that few distinct shapes reach the model.

    Raises:
        ValueError: the records lack an input, or the tower's output is no finite matrix.
    """
    arrays = raw_inputs.pad_rows(raw_inputs.to_arrays(records, specs), raw_inputs.bucket_size(len(records)))
    tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
    outputs = towers.signatures[signature](**tensors)
    vectors = outputs["embedding"].numpy()[: len(records)]
    if vectors.ndim != 2 or len(vectors) != len(records):
        raise ValueError(f"{signature} must return [num_records, dim]. Received: shape {vectors.shape}.")
    if not np.isfinite(vectors).all():
        row = int((~np.isfinite(vectors).all(axis=1)).argmax())
        raise ValueError(f"{signature} must return finite embeddings. Received: {vectors[row]}. Did training diverge?")
    columns = {embeddings.VECTOR: lists.from_vectors(vectors)}
    if embeddings.REPEAT_IDS in outputs:
        columns |= _to_columns(*(outputs[name].numpy()[: len(records)] for name in embeddings.REPEATS))
    return columns


def _to_columns(ids: np.ndarray, scores: np.ndarray, temperatures: np.ndarray) -> dict[str, pa.Array]:
    """What repeats score, from [num_records, width] ids padded with b"", their scores, and [num_records]."""
    present = ids != b""
    if not np.isfinite(scores[present]).all():
        raise ValueError("repeat_scores must be finite. Received: NaN or infinity. Did training diverge?")
    lengths = present.sum(axis=1)
    return {
        embeddings.REPEAT_IDS: lists.from_flat(ids[present], lengths, pa.binary(), layout=pa.ListArray),
        embeddings.REPEAT_SCORES: lists.from_flat(scores[present], lengths, layout=pa.ListArray),
        embeddings.REPEAT_TEMPERATURE: pa.array(temperatures),
    }


class _JoinQueries(beam.DoFn):
    """Puts the embedding of its query item beside every event."""

    def start_bundle(self):
        self._queries = None

    def process(self, element, queries):
        key, records = element
        wanted_rows = _integers(records, "query_row")
        if self._queries is None:
            self._queries = _sort_by_row(list(queries))
        rows = self._queries["item_row"].to_numpy()
        unknown = ~np.isin(wanted_rows, rows)
        if unknown.any():
            raise ValueError(
                f"every query_row must be a row of the catalogue. Received: {wanted_rows[unknown.argmax()]}. "
                "Ingest interactions and catalogue together again."
            )
        joined = self._queries.take(pa.array(np.searchsorted(rows, wanted_rows)))
        columns = _event_columns(records) | {"query_row": pa.array(wanted_rows)}
        columns |= {name: joined[name] for name in joined.column_names if name != "item_row"}
        yield key, pa.table(columns)


def _sort_by_row(tables: list[pa.Table]) -> pa.Table:
    if not tables:
        return pa.table({"item_row": pa.array([], pa.int64())})
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table["item_row"])).combine_chunks()


# --- Rows of the embedding files -------------------------------------------------------------------
# Small classes, not closures: Beam pickles them.


class _ItemRows:
    def __call__(self, records: pa.RecordBatch, embedded: dict[str, pa.Array]) -> pa.Table:
        return pa.table(
            {
                "item_row": pa.array(_integers(records, "item_row")),
                "item_id": _only_value(records, "item_id", pa.large_binary()).cast(pa.binary()),
                **embedded,
                "train_count": pa.array(_integers(records, "train_count")),
            }
        )


class _QueryRows:
    def __init__(self, slices: tuple[str, ...]):
        self._slices = slices

    def __call__(self, records: pa.RecordBatch, embedded: dict[str, pa.Array]) -> pa.Table:
        return pa.table(_event_columns(records) | _slice_columns(records, self._slices) | embedded)


class _ItemQueryRows(_QueryRows):
    def __call__(self, records: pa.RecordBatch, embedded: dict[str, pa.Array]) -> pa.Table:
        rows = {"item_row": pa.array(_integers(records, "item_row"))}
        return pa.table(rows | _slice_columns(records, self._slices) | embedded)


def _event_columns(records: pa.RecordBatch) -> dict[str, pa.Array]:
    return {
        "query_id": _only_value(records, "query_id", pa.large_binary()).cast(pa.binary()),
        "item_row": pa.array(_integers(records, "item_row")),
        "seen_rows": lists.from_flat(*lists.flat(records, "seen_rows", pa.int64()), layout=pa.ListArray),
        "timestamp_us": _times(records),
    }


def _times(records: pa.RecordBatch) -> pa.Array:
    """[num_records] int64 microseconds since 1970, null where the log has no time."""
    times, lengths = lists.flat(records, "timestamp_us", pa.int64())
    return pa.array(lists.only("timestamp_us", times, lengths, 0), mask=lengths == 0)


def _slice_columns(records: pa.RecordBatch, slices: tuple[str, ...]) -> dict[str, pa.Array]:
    """The first value of every slice feature, "" when missing."""
    columns = {}
    for name in slices:
        first = lists.first(*lists.flat(records, name, pa.large_binary()), b"")
        columns[name] = pa.array(first, pa.binary()).cast(pa.string())
    return columns


def _integers(records: pa.RecordBatch, name: str) -> np.ndarray:
    return _only_value(records, name, pa.int64()).to_numpy()


def _only_value(records: pa.RecordBatch, name: str, expected: pa.DataType) -> pa.Array:
    """The value of a column that every record must have exactly once."""
    values, lengths = lists.read(name, raw_inputs.column(records, name), expected)
    if (lengths != 1).any():
        raise ValueError(f"every record must have one {name}. Received: {lengths[lengths != 1][0]} values.")
    return pa.array(values, expected)
