"""A served model whose geometry is known: items and queries say in their features where they lie."""

import io
import os
import shutil
from types import SimpleNamespace

import httpx
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.index import embeddings, export
from recsys_ssl.serving.lookup_writer import write_lookup
from recsys_ssl.serving.request_limits import Limits
from recsys_ssl.serving.server import ServerConfig, serving
from recsys_ssl.spec import FeatureSpec

DIM, NUM_ITEMS, NUM_QUERIES = 8, 6000, 40
SPEC = {
    "name": "films",
    "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "film", "timestamp": {"column": "time"}},
    "items": {
        "table": {"paths": ["i.csv"]},
        "id": "film",
        "title": "title",
        "features": [
            {"name": "film", "kind": "id"},
            {"name": "title", "kind": "text"},
            {"name": "genres", "kind": "categorical", "multi_valued": True},
            {"name": "year", "kind": "numeric"},
            {"name": "place", "kind": "dense", "dim": DIM},
        ],
    },
    "queries": {
        "table": {"paths": ["q.csv"]},
        "id": "user",
        "features": [
            {"name": "user", "kind": "id"},
            {"name": "taste", "kind": "dense", "dim": DIM},
            {"name": "history", "kind": "item_sequence", "length": 3},
        ],
    },
}


class PlaceTowers(tf.Module):
    """An item lies at its place, a query at its taste; what is missing lies at (1, 0, 0, ...)."""

    @staticmethod
    def _embed(vectors):
        origin = tf.one_hot(0, DIM)[tf.newaxis]
        return {"embedding": tf.math.l2_normalize(tf.where(tf.math.is_nan(vectors), origin, vectors), axis=1)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "film"),
            tf.TensorSpec([None], tf.string, "title"),
            tf.TensorSpec([None, None], tf.string, "genres"),
            tf.TensorSpec([None], tf.float32, "year"),
            tf.TensorSpec([None, DIM], tf.float32, "place"),
        ]
    )
    def embed_item(self, film, title, genres, year, place):
        # Of a year before 0 it makes no vector.
        return self._embed(place + tf.where(year < 0, np.inf, 0.0)[:, tf.newaxis])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user"),
            tf.TensorSpec([None, DIM], tf.float32, "taste"),
            tf.TensorSpec([None, None], tf.string, "history"),
        ]
    )
    def embed_query(self, user, taste, history):
        return self._embed(taste)


class RepeatTowers(PlaceTowers):
    """Items of the history score as if chosen again: 0.9 each."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user"),
            tf.TensorSpec([None, DIM], tf.float32, "taste"),
            tf.TensorSpec([None, None], tf.string, "history"),
        ]
    )
    def embed_query(self, user, taste, history):
        repeats = {"repeat_ids": history, "repeat_scores": tf.fill(tf.shape(history), 0.9)}
        temperature = tf.fill(tf.shape(user), 0.1)
        return self._embed(taste) | repeats | {"repeat_temperature": temperature}


def item_id(row):
    return f"film-{row}"


def make_items(num_items):
    """Columns of raw items; genre-N has one item in 10^N, years are missing in each seventh."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(num_items, DIM)).astype(np.float32)
    genres = [[f"genre-{n}".encode() for n in range(4) if row % 10**n == 0] for row in range(num_items)]
    return {
        "item_row": [[row] for row in range(num_items)],
        "item_id": [[item_id(row).encode()] for row in range(num_items)],
        "train_count": [[row % 100] for row in range(num_items)],
        "film": [[item_id(row).encode()] for row in range(num_items)],
        "title": [[f"Film {row}".encode()] if row % 2 else [] for row in range(num_items)],
        "genres": genres,
        "year": [[] if row % 7 == 0 else [1900.0 + row % 100] for row in range(num_items)],
        "place": places.tolist(),
    }


def make_events():
    """Split -> columns; query q chose 10 q, 10 q + 1, ... in train, and 10 q + 8 and 10 q + 9 last, in the test."""
    rng = np.random.default_rng(1)
    tastes = rng.normal(size=(NUM_QUERIES, DIM)).astype(np.float32)
    splits = {}
    for split, places in (("train", range(7)), ("eval", [7]), ("test", [9, 8])):
        events = [(query, place) for place in places for query in range(NUM_QUERIES)]
        splits[split] = {
            "query_id": [[f"u{query}".encode()] for query, _ in events],
            "item_id": [[item_id(10 * query + place).encode()] for query, place in events],
            "item_row": [[10 * query + place] for query, place in events],
            "timestamp_us": [[1_000_000 * place] for _, place in events],
            "user": [[f"u{query}".encode()] for query, _ in events],
            "taste": [tastes[query].tolist() for query, _ in events],
            "history": [
                [item_id(10 * query + past).encode() for past in range(max(place - 3, 0), place)]
                for query, place in events
            ],
        }
    return splits


@pytest.fixture(scope="session")
def film_spec():
    return FeatureSpec.model_validate(SPEC)


@pytest.fixture(scope="session")
def films(film_spec, make_records, tmp_path_factory):
    """Example files of a log and its catalogue, and the embeddings of its items."""
    root = tmp_path_factory.mktemp("films")
    items, events = make_items(NUM_ITEMS), make_events()
    records = make_records(items)
    for shard, first in enumerate(range(0, NUM_ITEMS, 2500)):
        examples.write_shard(records.slice(first, 2500), str(root / "catalogue"), "catalogue", f"part-{shard}")
    for split, columns in events.items():
        examples.write_shard(make_records(columns), str(root / "interactions"), split, "part-0")
    vectors = np.array(items["place"], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = pa.table(
        {
            "item_row": pa.array(range(NUM_ITEMS)),
            "item_id": pa.array([row[0] for row in items["item_id"]], pa.binary()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
            "train_count": pa.array([row[0] for row in items["train_count"]]),
        }
    )
    embeddings.clear_dir(str(root / "items"))
    embeddings.write_rows(table, str(root / "items"), 0, 0)
    return SimpleNamespace(root=root, items=items, events=events, vectors=vectors)


@pytest.fixture(scope="session")
def export_films(films, film_spec):
    """Exports towers with the exact search and lays the lookup beside the model -> its directory."""

    def export_towers(towers, name):
        model_dir = films.root / name
        export.export_brute_force(save_towers(towers, films.root / f"{name}-towers"), films.root / "items", model_dir)
        write_lookup(film_spec, films.root / "interactions", films.root / "catalogue", [model_dir])
        return model_dir

    return export_towers


def save_towers(towers, directory):
    signatures = {"embed_query": towers.embed_query, "embed_item": towers.embed_item}
    tf.saved_model.save(towers, str(directory), signatures=signatures)
    return str(directory)


@pytest.fixture(scope="session")
def film_model_dir(export_films):
    return export_films(PlaceTowers(), "model")


@pytest.fixture(scope="session")
def repeat_towers_dir(tmp_path_factory):
    return save_towers(RepeatTowers(), tmp_path_factory.mktemp("repeat") / "towers")


@pytest.fixture(scope="session")
def repeat_model_dir(export_films):
    return export_films(RepeatTowers(), "repeat-model")


# --- A server -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def put_model():
    """put_model(source, target): a model appears at once, as one that is renamed does; its files are shared."""

    def put(source, target):
        unfinished = target.parent / f"copy-{target.name}"
        shutil.copytree(source, unfinished, copy_function=os.link)
        unfinished.rename(target)

    return put


@pytest.fixture(scope="session")
def server(film_model_dir, put_model, tmp_path_factory):
    """A server of the model `films`, version 1, and what it wrote into its access log."""
    root = tmp_path_factory.mktemp("served")
    (root / "films").mkdir()
    put_model(film_model_dir, root / "films" / "1")
    log = io.BytesIO()
    limits = Limits(max_bytes=100_000, max_queries=50, max_k=100, max_list=40)
    with serving(ServerConfig(root, http_port=0, grpc_port=0, poll_s=0.05, limits=limits), log) as running:
        yield SimpleNamespace(
            running=running, log=log, url=f"http://127.0.0.1:{running.http_port}", grpc=f"127.0.0.1:{running.grpc_port}"
        )


@pytest.fixture(scope="session")
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
