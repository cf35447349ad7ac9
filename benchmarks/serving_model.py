"""A made model to serve: items and queries say in their features where they lie, so that towers cost nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_ssl import examples, lists
from recsys_ssl.index import embeddings, export, scann_index
from recsys_ssl.serving.lookup_writer import write_lookup
from recsys_ssl.spec import FeatureSpec

NAME, NUM_QUERIES = "made", 100
_SHARD_ROWS = 50_000


def make_model(root: Path, num_items: int, dim: int, search: str = "brute_force", seed: int = 0) -> Path:
    """Writes a recommender of random unit vectors as `root/made/1` and returns `root`.

    Args:
        search: brute_force or scann.
    """
    rng = np.random.default_rng(seed)
    places, tastes = (_draw_units(rng, rows, dim) for rows in (num_items, NUM_QUERIES))
    spec = FeatureSpec.model_validate(_describe(dim))
    work, model_dir = root / "work", root / NAME / "1"
    _write_catalogue(work / "catalogue", places)
    for split in spec.split.names:
        _write_events(work / "interactions", split, tastes, num_items)
    _write_rows(work / "items", [f"item-{row}".encode() for row in range(num_items)], places)
    towers = _Towers(dim)
    signatures = {"embed_query": towers.embed_query, "embed_item": towers.embed_item}
    tf.saved_model.save(towers, str(work / "towers"), signatures=signatures)
    if search == "scann":
        items = embeddings.read_items(work / "items")
        scann_index.save_index(scann_index.build_index(items), work / "index")
        export.export_scann(work / "towers", work / "index", model_dir, spec)
    else:
        export.export_brute_force(work / "towers", work / "items", model_dir, spec)
    write_lookup(spec, work / "interactions", work / "catalogue", [model_dir])
    return root


class _Towers(tf.Module):
    def __init__(self, dim: int):
        super().__init__()
        texts, vectors = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, dim], tf.float32)

        @tf.function(input_signature=[texts, vectors])
        def embed_query(user, taste):
            # A taste that is missing is NaN.
            return {"embedding": tf.math.l2_normalize(tf.where(tf.math.is_finite(taste), taste, 1.0), axis=1)}

        @tf.function(input_signature=[texts, vectors])
        def embed_item(item, place):
            return {"embedding": tf.math.l2_normalize(place, axis=1)}

        self.embed_query, self.embed_item = embed_query, embed_item


def _describe(dim: int) -> dict:
    return {
        "name": NAME,
        "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "item", "timestamp": {"column": "time"}},
        "items": {
            "table": {"paths": ["i.csv"]},
            "id": "item",
            "features": [{"name": "item", "kind": "id"}, {"name": "place", "kind": "dense", "dim": dim}],
        },
        "queries": {
            "table": {"paths": ["q.csv"]},
            "id": "user",
            "features": [{"name": "user", "kind": "id"}, {"name": "taste", "kind": "dense", "dim": dim}],
        },
    }


def _draw_units(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, dim), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _write_catalogue(root: Path, places: np.ndarray) -> None:
    for first in range(0, len(places), _SHARD_ROWS):
        part = places[first : first + _SHARD_ROWS]
        rows = range(first, first + len(part))
        ids = _texts([f"item-{row}" for row in rows])
        batch = {
            "item_row": _integers(rows),
            "item_id": ids,
            "train_count": _integers([row % 100 for row in rows]),
            "item": ids,
            "place": _vectors(part),
        }
        examples.write_shard(pa.RecordBatch.from_pydict(batch), root, examples.CATALOGUE_SPLIT, f"part-{first}")


def _write_events(root: Path, split: str, tastes: np.ndarray, num_items: int) -> None:
    queries = range(len(tastes))
    users, rows = _texts([f"u{query}" for query in queries]), [query % num_items for query in queries]
    batch = {
        "query_id": users,
        "item_id": _texts([f"item-{row}" for row in rows]),
        "item_row": _integers(rows),
        "timestamp_us": _integers(queries),
        "user": users,
        "taste": _vectors(tastes),
    }
    examples.write_shard(pa.RecordBatch.from_pydict(batch), root, split, "part-0")


def _write_rows(directory: Path, ids: list[bytes], vectors: np.ndarray) -> None:
    embeddings.clear_dir(str(directory))
    columns = {
        "item_row": pa.array(range(len(ids))),
        "item_id": pa.array(ids, pa.binary()),
        "vector": lists.from_vectors(vectors),
        "train_count": pa.array([row % 100 for row in range(len(ids))]),
    }
    embeddings.write_rows(pa.table(columns), str(directory), 0, 0)


def _texts(values: list[str]) -> pa.Array:
    return pa.array([[value.encode()] for value in values], pa.large_list(pa.large_binary()))


def _integers(values) -> pa.Array:
    return pa.array([[value] for value in values], pa.large_list(pa.int64()))


def _vectors(vectors: np.ndarray) -> pa.Array:
    return pa.array(vectors.tolist(), pa.large_list(pa.float32()))
