"""A stand-in for trained towers and a small data set, in the layout of the real ones."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.index import embed
from recsys_ssl.spec import FeatureSpec

DIM = 8
NUM_ITEMS = 60
GENRES = [b"comedy", b"drama", b"noir", b"war"]


class HashTowers(tf.Module):
    """Sums random vectors of hashed values, and of vocabulary entries, so that there is an asset to keep."""

    def __init__(self, vocabulary_path):
        super().__init__()
        self.table = tf.Variable(tf.random.stateless_normal([499, DIM], [1, 2]), trainable=False)
        self.vectors = tf.Variable(tf.random.stateless_normal([10, DIM], [3, 4]), trainable=False)
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(str(vocabulary_path), tf.string, line, tf.int64, number)
        self.genre_vocabulary = tf.lookup.StaticVocabularyTable(initializer, num_oov_buckets=1)

    def hashed(self, values):
        vectors = tf.gather(self.table, tf.strings.to_hash_bucket_fast(values, 499))
        return vectors * tf.cast(tf.not_equal(values, ""), tf.float32)[..., tf.newaxis]

    @staticmethod
    def number(values, default):
        return tf.where(tf.math.is_nan(values), default, values)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "film"),
            tf.TensorSpec([None], tf.string, "title"),
            tf.TensorSpec([None, None], tf.string, "genres"),
            tf.TensorSpec([None, 3], tf.float32, "colour"),
        ]
    )
    def embed_item(self, film, title, genres, colour):
        genre = tf.gather(self.vectors, self.genre_vocabulary.lookup(genres))
        genre *= tf.cast(tf.not_equal(genres, ""), tf.float32)[..., tf.newaxis]
        total = 1.0 + self.hashed(film) + self.hashed(title) + tf.reduce_sum(genre, 1)
        total += tf.matmul(self.number(colour, 0.5), self.vectors[5:8])
        return {"embedding": tf.math.l2_normalize(total, 1)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user"),
            tf.TensorSpec([None], tf.string, "gender"),
            tf.TensorSpec([None], tf.float32, "age"),
            tf.TensorSpec([None, None], tf.string, "history"),
        ]
    )
    def embed_query(self, user, gender, age, history):
        total = 1.0 + self.hashed(user) + self.hashed(gender) + tf.reduce_sum(self.hashed(history), 1)
        total += self.number(age, 30.0)[:, tf.newaxis] / 30.0 * self.vectors[8]
        return {"embedding": tf.math.l2_normalize(total, 1)}


def save_towers(path, same_as_items=False):
    vocabulary_path = path.parent / "genres.txt"
    vocabulary_path.write_bytes(b"\n".join(GENRES) + b"\n")
    towers = HashTowers(vocabulary_path)
    embed_query = towers.embed_item if same_as_items else towers.embed_query
    tf.saved_model.save(towers, str(path), signatures={"embed_query": embed_query, "embed_item": towers.embed_item})
    # From here on the vocabulary exists in the SavedModel only.
    vocabulary_path.unlink()
    return str(path)


def records(**columns):
    """A RecordBatch of large_list columns; a record's None is a missing feature."""
    types = {bytes: pa.large_binary(), int: pa.int64(), float: pa.float32()}
    arrays = {}
    for name, lists in columns.items():
        kinds = {type(value) for row in lists if row for value in row}
        arrays[name] = pa.array(lists, pa.large_list(types[kinds.pop() if kinds else int]))
    return pa.RecordBatch.from_pydict(arrays)


def item_id(row):
    return f"film-{row}".encode()


def catalogue_records(first, last):
    rows = range(first, last)
    return records(
        item_row=[[row] for row in rows],
        item_id=[[item_id(row)] for row in rows],
        film=[[item_id(row)] for row in rows],
        title=[[] if row % 7 == 0 else [f"A film {row % 5}".encode()] for row in rows],
        genres=[[GENRES[i] for i in range(4) if row >> i & 1] for row in rows],
        colour=[None if row % 3 == 0 else [row / 60, 0.5, 1.0] for row in rows],
        train_count=[[row * 2] for row in rows],
    )


def event_records(first, last):
    rows = range(first, last)
    return records(
        query_id=[[f"u{row % 9}".encode()] for row in rows],
        item_id=[[item_id(row * 3 % NUM_ITEMS)] for row in rows],
        item_row=[[row * 3 % NUM_ITEMS] for row in rows],
        timestamp_us=[[1_000_000 * row] for row in rows],
        example_weight=[[1.0] for _ in rows],
        user=[[f"u{row % 9}".encode()] for row in rows],
        gender=[[] if row % 4 == 0 else [b"FM"[row % 2 : row % 2 + 1]] for row in rows],
        age=[[] if row % 5 == 0 else [20.0 + row] for row in rows],
        history=[[item_id(i) for i in range(row % 12)] for row in rows],
        seen_rows=[list(range(row % 6)) for row in rows],
    )


def page_event_records(first, last):
    rows = range(first, last)
    return records(
        query_id=[[item_id(row * 7 % 11)] for row in rows],
        item_row=[[row % NUM_ITEMS] for row in rows],
        query_row=[[row * 7 % 11] for row in rows],
        seen_rows=[[row * 7 % 11] for row in rows],
    )


@pytest.fixture(scope="session")
def spec():
    return FeatureSpec.model_validate(
        {
            "version": 1,
            "name": "films",
            "events": {
                "paths": ["events.csv"],
                "query_id": "user",
                "item_id": "film",
                "timestamp": {"column": "time"},
            },
            "items": {
                "table": {"paths": ["films.csv"]},
                "id": "film",
                "features": [
                    {"name": "film", "kind": "id"},
                    {"name": "title", "kind": "text"},
                    {"name": "genres", "kind": "categorical", "multi_valued": True, "separator": "|"},
                    {"name": "colour", "kind": "dense", "dim": 3},
                ],
            },
            "queries": {
                "table": {"paths": ["users.csv"]},
                "id": "user",
                "features": [
                    {"name": "user", "kind": "id"},
                    {"name": "gender", "kind": "categorical"},
                    {"name": "age", "kind": "numeric"},
                    {"name": "history", "kind": "item_sequence"},
                ],
            },
            "evaluation": {"slices": ["gender"]},
        }
    )


@pytest.fixture(scope="session")
def page_spec(spec):
    values = spec.model_dump() | {"queries": {"same_as_items": True}, "evaluation": {"slices": ["genres"]}}
    values["events"]["timestamp"], values["split"]["kind"] = None, "random"
    return FeatureSpec.model_validate(values)


@pytest.fixture(scope="session")
def towers_dir(tmp_path_factory):
    return save_towers(tmp_path_factory.mktemp("towers") / "model")


@pytest.fixture(scope="session")
def page_towers_dir(tmp_path_factory):
    return save_towers(tmp_path_factory.mktemp("page_towers") / "model", same_as_items=True)


@pytest.fixture(scope="session")
def catalogue_dir(tmp_path_factory):
    """60 items in shards of 25, 25 and 10."""
    path = str(tmp_path_factory.mktemp("catalogue"))
    for shard, first in enumerate(range(0, NUM_ITEMS, 25)):
        examples.write_shard(catalogue_records(first, min(first + 25, NUM_ITEMS)), path, "catalogue", f"part-{shard}")
    return path


@pytest.fixture(scope="session")
def interactions_dir(tmp_path_factory):
    """40 test events in two shards."""
    path = str(tmp_path_factory.mktemp("interactions"))
    examples.write_shard(event_records(0, 30), path, "test", "part-0")
    examples.write_shard(event_records(30, 40), path, "test", "part-1")
    return path


@pytest.fixture(scope="session")
def items_dir(towers_dir, catalogue_dir, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("items"))
    embed.embed_items(towers_dir, catalogue_dir, path)
    return path


@pytest.fixture(scope="session")
def queries_dir(towers_dir, interactions_dir, catalogue_dir, spec, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("queries"))
    embed.embed_queries(towers_dir, interactions_dir, catalogue_dir, "test", spec, path)
    return path


# Test modules cannot import a conftest, so they get the builders as fixtures.
@pytest.fixture(scope="session")
def make_records():
    return records


@pytest.fixture(scope="session")
def make_catalogue():
    return catalogue_records


@pytest.fixture(scope="session")
def make_page_events():
    return page_event_records


@pytest.fixture(scope="session")
def random_unit_vectors():
    def make(num_rows, dim=16, seed=0):
        vectors = np.random.default_rng(seed).normal(size=(num_rows, dim)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return make
