"""Embedding files: a directory of Parquet files whose sorted order is the order of the rows.

Items:   item_row int64 (0..N-1), item_id binary, vector fixed_size_list<float32>[dim], train_count int64
Queries: query_id binary, item_row int64, seen_rows list<int64>, timestamp_us int64, query_row int64 (when queries
         are items), one string column per slice, vector; one row per held-out event. Of a model that knows of repeats
         also repeat_ids list<binary>, distinct in a row, repeat_scores list<float32> and repeat_temperature float32,
         see `training.export.export_towers`
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from recsys_ssl import artifacts, lists, seeds

VECTOR = "vector"
REPEATS = (REPEAT_IDS, REPEAT_SCORES, REPEAT_TEMPERATURE) = ("repeat_ids", "repeat_scores", "repeat_temperature")
"""Columns of the embeddings, and outputs of the signature `embed_query`."""


@dataclass(frozen=True, eq=False)
class ItemEmbeddings:
    """The embedded catalogue: 4 dim + about 40 bytes an item in memory."""

    item_ids: pa.Array
    """[num_items] binary, unique."""
    vectors: np.ndarray
    """[num_items, dim] float32."""
    train_counts: np.ndarray
    """[num_items] int64: train positives of the item."""


def clear_dir(path: str) -> None:
    """Makes `path`, without the rows of an earlier run: one more shard back then must not survive."""
    tf.io.gfile.makedirs(path)
    for stale in tf.io.gfile.glob(os.path.join(glob.escape(path), "rows-*.parquet*")):  # unfinished ones too
        tf.io.gfile.remove(stale)


def write_rows(rows: pa.Table, out_dir: str, shard: int, batch: int) -> str:
    """Writes the rows of one batch atomically, so that a retried worker can only write it again."""
    path = os.path.join(out_dir, f"rows-{shard:06d}-{batch:06d}.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    artifacts.write_bytes(path, sink.getvalue().to_pybytes())
    return path


def iterate_rows(path: str | Path, columns: list[str] | None) -> Iterator[pa.Table]:
    """Yields the files of a directory of embeddings, in order, with all columns when None.

    Raises:
        FileNotFoundError: there is none.
    """
    files = sorted(tf.io.gfile.glob(os.path.join(glob.escape(str(path)), "*.parquet")))
    if not files:
        raise FileNotFoundError(f"no embeddings in {path}. Run the stage that writes them first.")
    for name in files:
        with tf.io.gfile.GFile(name, "rb") as file:
            yield pq.read_table(pa.BufferReader(file.read()), columns=columns)


def read_items(items_dir: str | Path) -> ItemEmbeddings:
    """The embedded catalogue.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the rows are not 0..N-1 in order, or an id occurs twice.
    """
    rows = pa.concat_tables(iterate_rows(items_dir, ["item_row", "item_id", "vector", "train_count"]))
    item_rows = rows["item_row"].to_numpy()
    if not np.array_equal(item_rows, np.arange(len(item_rows))):
        raise ValueError(f"{items_dir} must hold the rows 0..N-1 in order. Embed the whole catalogue again.")
    if len(pc.unique(rows["item_id"])) != len(rows):
        raise ValueError(f"{items_dir} must hold every item id once. Check the catalogue's ids.")
    item_ids = rows["item_id"].cast(pa.binary()).combine_chunks()
    return ItemEmbeddings(item_ids, lists.to_vectors(rows["vector"]), rows["train_count"].to_numpy())


def sample_query_vectors(queries_dir: str | Path, num_queries: int, seed: int) -> np.ndarray:
    """[min(num_queries, number of events), dim] float32: vectors of events drawn without replacement, in order."""
    count = sum(len(rows) for rows in iterate_rows(queries_dir, ["item_row"]))
    chosen = seeds.generator(seed).choice(count, min(num_queries, count), replace=False)
    chosen.sort()
    sampled, start = [], 0
    for rows in iterate_rows(queries_dir, ["vector"]):
        within = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
        sampled.append(lists.to_vectors(rows["vector"])[within])
        start += len(rows)
    return np.concatenate(sampled)
