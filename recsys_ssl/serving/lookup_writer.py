"""Writes what lies beside a served model, see `lookup`, from the example files of a run."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl import artifacts, examples, lists
from recsys_ssl.serving.lookup import EXTRA_DIR, ITEMS_FILE, LOOKUP_FILE, ROW, SCHEMA, TIME
from recsys_ssl.spec import ColumnFeature, FeatureSpec

# The order in which SQLite sorts what every split says of a query; no split is before the disliked.
_DISLIKED = -1
_SCRATCH_SCHEMA = """
CREATE TABLE scratch.events (
    query_id TEXT, place INTEGER, time_us INTEGER, position INTEGER, item_row INTEGER
);
CREATE TABLE scratch.last (
    query_id TEXT PRIMARY KEY, place INTEGER, time_us INTEGER, position INTEGER, record BLOB
) WITHOUT ROWID;
"""
_KEEP_LAST = """
INSERT INTO scratch.last VALUES (?, ?, ?, ?, ?) ON CONFLICT (query_id) DO UPDATE
SET place = excluded.place, time_us = excluded.time_us, position = excluded.position, record = excluded.record
WHERE (excluded.place, excluded.time_us, excluded.position) >= (place, time_us, position)
"""
# Records to train on are not in the order of the log, and of events at one time only their position tells it.
_IN_ORDER = """
SELECT events.query_id, last.record, events.place, events.time_us, events.item_row
FROM scratch.events AS events LEFT JOIN scratch.last AS last USING (query_id)
ORDER BY events.query_id, events.place, events.time_us, events.position, events.rowid
"""


def write_lookup(
    spec: FeatureSpec, interactions_dir: str | Path, catalogue_dir: str | Path, model_dirs: Iterable[str | Path]
) -> None:
    """Writes the files of `lookup` into `assets.extra` of models; those that can share a file do.

    Example files are read a batch at a time and queries are brought together by SQLite, on disk: about
    100 bytes an event there while it works, and in memory what a single query did.

    Args:
        interactions_dir, catalogue_dir: raw example files.
        model_dirs: SavedModels of the same catalogue.

    Raises:
        FileNotFoundError: there are no examples.
    """
    first, *others = (Path(model_dir, EXTRA_DIR) for model_dir in model_dirs)
    with artifacts.whole_file(first / ITEMS_FILE) as unfinished:
        _write_attributes(spec, catalogue_dir, unfinished)
    with artifacts.whole_file(first / LOOKUP_FILE) as unfinished:
        scratch = f"{unfinished}.scratch"
        try:
            _write_sqlite(spec, interactions_dir, catalogue_dir, unfinished, scratch)
        finally:
            Path(scratch).unlink(missing_ok=True)
    for name, other in itertools.product((ITEMS_FILE, LOOKUP_FILE), others):
        other.mkdir(parents=True, exist_ok=True)
        link_or_copy(first / name, other / name)


def link_or_copy(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy where the disk cannot."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        artifacts.write_bytes(target, source.read_bytes())


def _write_attributes(spec: FeatureSpec, catalogue_dir: str | Path, path: str) -> None:
    kinds = {f.name: pa.float32() if f.is_number else pa.large_binary() for f in spec.item_features if not f.is_content}
    fields = [pa.field(name, pa.large_list(kind)) for name, kind in kinds.items()]
    schema = pa.schema([pa.field("train_count", pa.int64()), *fields])
    with pq.ParquetWriter(path, schema) as writer:
        for batch in _read(catalogue_dir, examples.CATALOGUE_SPLIT):
            columns = {name: lists.from_flat(*lists.flat(batch, name, kind), kind) for name, kind in kinds.items()}
            counts, lengths = lists.flat(batch, "train_count", pa.int64())
            columns["train_count"] = pa.array(lists.only("train_count", counts, lengths, 0))
            writer.write_table(pa.table(columns, schema))


def _write_sqlite(
    spec: FeatureSpec, interactions_dir: str | Path, catalogue_dir: str | Path, path: str, scratch: str
) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("ATTACH ? AS scratch", (scratch,))
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "scratch.journal_mode = OFF", "temp_store = FILE"):
            database.execute(f"PRAGMA {pragma}")
        database.executescript(SCHEMA + _SCRATCH_SCHEMA)
        database.execute("BEGIN")
        database.execute("INSERT INTO meta VALUES ('spec', ?)", (spec.to_json(),))
        _write_items(spec, catalogue_dir, database)
        _collect_events(spec, interactions_dir, database)
        _write_queries(spec, database)
        database.execute("COMMIT")
    finally:
        database.close()


def _write_items(spec: FeatureSpec, catalogue_dir: str | Path, database: sqlite3.Connection) -> None:
    for batch in _read(catalogue_dir, examples.CATALOGUE_SPLIT):
        rows, ids = _integers(batch, "item_row"), _texts(batch, "item_id")
        features = [feature.name for feature in spec.item_features]
        database.executemany("INSERT INTO items VALUES (?, ?, ?)", zip(rows, ids, _serialize(batch, features)))


def _collect_events(spec: FeatureSpec, interactions_dir: str | Path, database: sqlite3.Connection) -> None:
    # Queries that are items have their features in the catalogue; what an item_sequence holds comes from the events.
    features = [f.name for f in spec.query_features if isinstance(f, ColumnFeature)]
    for place, split in enumerate(spec.split.names):
        for batch in _read(interactions_dir, split):
            ids, rows, times = _texts(batch, "query_id"), _integers(batch, "item_row"), _times(batch)
            places, positions = itertools.repeat(place), _positions(batch)
            values = zip(ids, places, times, positions, rows)
            database.executemany("INSERT INTO scratch.events VALUES (?, ?, ?, ?, ?)", values)
            database.executemany(_KEEP_LAST, zip(ids, places, times, positions, _serialize(batch, features)))
    has_disliked = Path(examples.split_dir(interactions_dir, examples.DISLIKED_SPLIT)).exists()
    if spec.evaluation.mask_disliked and has_disliked:
        for batch in _read(interactions_dir, examples.DISLIKED_SPLIT):
            ids, (disliked, lengths) = _texts(batch, "query_id"), lists.flat(batch, "item_row", pa.int64())
            of_row = [ids[record] for record in lists.owners(lengths)]
            nothing = itertools.repeat(0)
            values = zip(of_row, itertools.repeat(_DISLIKED), nothing, nothing, disliked.tolist())
            database.executemany("INSERT INTO scratch.events VALUES (?, ?, ?, ?, ?)", values)


def _write_queries(spec: FeatureSpec, database: sqlite3.Connection) -> None:
    ordered = database.cursor().execute(_IN_ORDER)
    database.executemany("INSERT INTO queries VALUES (?, ?, ?, ?, ?)", _join_queries(spec, ordered))


def _join_queries(spec: FeatureSpec, ordered: Iterable[tuple]) -> Iterator[tuple[str, bytes, bytes, bytes, bytes]]:
    """The rows of the table of queries, from events in the order of their queries and of time."""
    longest = max((sequence.length for sequence in spec.item_sequences), default=0)
    for query_id, events in itertools.groupby(ordered, lambda event: event[0]):
        _, records, places, times, rows = zip(*events)
        chosen = [place != _DISLIKED for place in places]
        history = [row for row, is_chosen in zip(rows, chosen) if is_chosen]
        moments = [time for time, is_chosen in zip(times, chosen) if is_chosen and spec.events.timestamp is not None]
        seen = rows if spec.evaluation.mask_seen else [row for row, is_chosen in zip(rows, chosen) if not is_chosen]
        kept = slice(len(history) - min(longest, len(history)), None)
        yield (
            query_id,
            records[0] or b"",
            np.array(history[kept], ROW).tobytes(),
            np.array(moments[kept], TIME).tobytes(),
            np.unique(np.array(seen, ROW)).tobytes(),
        )


def _read(root: str | Path, split: str) -> Iterator[pa.RecordBatch]:
    return examples.read_batches(examples.list_shards(root, split))


def _serialize(batch: pa.RecordBatch, features: list[str]) -> list[bytes]:
    """[num_records] tf.Examples of some features only."""
    columns = {name: lists.column(batch, name) for name in features}
    # A column of nulls holds nothing, and has no type to write it by.
    columns = {name: column for name, column in columns.items() if not pa.types.is_null(column.type)}
    if not columns:
        return [b""] * len(batch)
    return examples.serialize(pa.RecordBatch.from_pydict(columns))


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    values, lengths = lists.flat(batch, name, pa.large_binary())
    return [value.decode("utf-8") for value in lists.only(name, values, lengths, b"")]


def _integers(batch: pa.RecordBatch, name: str) -> list[int]:
    return lists.only(name, *lists.flat(batch, name, pa.int64()), -1).tolist()


def _positions(batch: pa.RecordBatch) -> list[int]:
    return lists.only("sequence_position", *lists.flat(batch, "sequence_position", pa.int64()), 0).tolist()


def _times(batch: pa.RecordBatch) -> list[int]:
    return lists.only("timestamp_us", *lists.flat(batch, "timestamp_us", pa.int64()), 0).tolist()
