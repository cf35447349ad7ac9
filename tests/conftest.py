"""Runs before any test module imports TensorFlow, which must find Keras 2 chosen and its log lines off, or NumPy.

Holds the made-up shop that the tests of features and training share: transforming it takes most of their time.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import recsys_ssl  # noqa: F401

# isort: split
import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest


def make_records(columns):
    """A RecordBatch of large_list columns from lists of lists of one type; an all-empty column holds bytes."""
    types = {bytes: pa.large_binary(), int: pa.int64(), float: pa.float32()}
    arrays = {}
    for name, lists in columns.items():
        kinds = {type(value) for row in lists for value in row}
        arrays[name] = pa.array(lists, pa.large_list(types[kinds.pop() if kinds else bytes]))
    return pa.RecordBatch.from_pydict(arrays)


@pytest.fixture(scope="session", name="make_records")
def make_records_fixture():
    # Test modules cannot import a conftest, so they get the builder as a fixture.
    return make_records


# --- A slow second implementation of the towers -----------------------------------------------------------


def encode_by_loop(encoder, table, layout, batch, visible=None, kept=None):
    """[num_views, num_records, num_slots * feature_dim], one view, record and slot at a time.

    Reads the weights of a FeatureEncoder; the arguments are those of its call, as arrays.
    """
    num_views = max(1 if visible is None else len(visible), 1 if kept is None else kept.shape[1])
    num_records, feature_dim = int(batch.num_records), table.shape[1]
    defaults = next(variable for variable in encoder.variables if "default" in variable.name).numpy()
    encoded = np.zeros([num_views, num_records, layout.num_slots, feature_dim])
    for view, record, slot in np.ndindex(*encoded.shape[:3]):
        feature, embedded = layout.features[slot], None
        if feature.dim:
            vector = batch.dense[feature.name].numpy()[record]
            if np.isfinite(vector).all():
                projection = next(layer for layer in encoder.submodules if layer.name == feature.name)
                kernel, bias = projection.get_weights()
                embedded = vector / np.sqrt(feature.dim) @ kernel + bias
        else:
            values = np.flatnonzero((batch.records.numpy() == record) & (batch.slots.numpy() == slot))
            values = [i for i in values if kept is None or kept[i, min(view, kept.shape[1] - 1)]]
            if values:
                embedded = table[batch.codes.numpy()[values]].mean(axis=0)
        shown = visible is None or visible[min(view, len(visible) - 1), min(record, visible.shape[1] - 1), slot]
        encoded[view, record, slot] = embedded if shown and embedded is not None else defaults[slot]
    return encoded.reshape(num_views, num_records, -1)


def embed_by_loop(mlp, encoded):
    """[..., embedding_dim] rows of length 1, from the weights of an MLP."""
    *hidden, last = [layer.get_weights() for layer in mlp.layers]
    for kernel, bias in hidden:
        encoded = np.maximum(encoded @ kernel + bias, 0.0)
    embedded = encoded @ last[0] + last[1]
    return embedded / np.linalg.norm(embedded, axis=-1, keepdims=True)


@pytest.fixture(scope="session")
def slow_towers():
    return SimpleNamespace(encode=encode_by_loop, embed=embed_by_loop)


# --- The shop -----------------------------------------------------------------------------------------

NUM_ITEMS = 200
NUM_BRANDS = 20
SHOP_SPEC = {
    "version": 1,
    "name": "shop",
    "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "product", "timestamp": {"column": "time"}},
    "items": {
        "table": {"paths": ["i.csv"]},
        "id": "product",
        "features": [
            {"name": "product", "kind": "id"},
            {"name": "brand", "kind": "categorical", "vocabulary_size": 18},
            {"name": "tags", "kind": "categorical", "multi_valued": True, "min_count": 3, "oov_buckets": 2},
            {"name": "title", "kind": "text", "ngrams": 2, "max_words": 3},
            {"name": "price", "kind": "numeric", "buckets": 4},
            {"name": "shape", "kind": "dense", "dim": 2},
        ],
    },
    "queries": {
        "table": {"paths": ["q.csv"]},
        "id": "user",
        "features": [{"name": "taste", "kind": "categorical"}, {"name": "history", "kind": "item_sequence"}],
    },
    "evaluation": {"group_by": "event"},
}
# Titles of the first items; the others have none, or two words that tell the brand.
TITLES = [
    "Über-Maß CAFÉ",
    "one two three four five",
    "हिन्दी भाषा",
    "cafe\u0301",  # the accent is a character of its own
    "!!! …",
    b"\xff\xfe broken",
    "日本語 \U0001f370 cake",
]


def shop_item(row):
    """Raw features of one item; every kind is missing somewhere."""
    brand, rank = row % NUM_BRANDS, row // NUM_BRANDS
    titles = [*TITLES, *[""] * 13]
    title = titles[row] if row < NUM_BRANDS else f"Brand{brand} thing{rank}"
    title = title if isinstance(title, bytes) else title.encode()
    return {
        "product": [f"p-{row}".encode()],
        # Brand 19 is the rarest but one and brand 18 the rarest: they share the out-of-vocabulary bucket.
        "brand": [] if (brand == 18 and rank > 2) or (brand == 19 and rank > 3) else [f"brand {brand}".encode()],
        "tags": [b"odd", b"rare"]
        if row == 1
        else [tag for bit, tag in enumerate((b"a", b"b\tb", b"c")) if row >> bit & 1],
        "title": [title] if title else [],
        "price": [] if row % 10 == 3 else [float(row)],
        "shape": [] if row % 8 == 5 else [float(row), -2.0 * row + 7.0],
    }


def shop_event(number, rng):
    """A query of taste t buys an item of brand t, the first items of the brand more often."""
    taste = number % NUM_BRANDS
    rank = min(int(rng.geometric(0.3)) - 1, NUM_ITEMS // NUM_BRANDS - 1)
    row = taste + NUM_BRANDS * rank
    past = [f"p-{i}".encode() for i in rng.integers(0, NUM_ITEMS, number % 4)]
    return {
        "query_id": [f"u{number % 97}".encode()],
        "item_id": [f"p-{row}".encode()],
        "item_row": [row],
        "timestamp_us": [1_000_000 * number],
        "example_weight": [1.0 + number % 2],
        "taste": [] if number % 50 == 49 else [f"taste {taste}".encode()],
        "history": [*past, b"gone"] if number % 7 == 6 else past,
    }


@dataclass(frozen=True)
class Shop:
    """Directories of the raw and the transformed shop, and the raw records that they were written from."""

    spec: object
    raw: SimpleNamespace
    """interactions, catalogue."""
    encoded: SimpleNamespace
    """interactions, catalogue, query_transform, item_transform."""
    items: list
    """[num_items] dicts of raw features."""
    events: dict
    """split -> list of dicts."""


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    from recsys_ssl import examples
    from recsys_ssl.features import preprocessing
    from recsys_ssl.spec import FeatureSpec

    root, rng, spec = tmp_path_factory.mktemp("shop"), np.random.default_rng(5), FeatureSpec.model_validate(SHOP_SPEC)
    raw = SimpleNamespace(interactions=str(root / "interactions"), catalogue=str(root / "catalogue"))
    encoded = SimpleNamespace(
        **{
            name: str(root / "encoded" / name)
            for name in ("interactions", "catalogue", "query_transform", "item_transform")
        }
    )
    items = [shop_item(row) for row in range(NUM_ITEMS)]
    events = {"train": [shop_event(i, rng) for i in range(1300)]}
    for number, event in enumerate(events["train"]):
        event["sequence_position"] = [number // 97]
    for split, first in (("eval", 1300), ("test", 1500)):
        events[split] = [shop_event(i, rng) for i in range(first, first + 150)]
        for event in events[split]:
            (time,) = event["timestamp_us"]
            event["history_us"] = [time - 1000**2 * 10**ago for ago in range(len(event["history"]), 0, -1)]
            event["seen_rows"] = sorted({*rng.integers(0, NUM_ITEMS, 5).tolist()} - set(event["item_row"]))
    # A taste that the train split does not have.
    events["test"][0]["taste"] = [b"new"]

    counts = np.bincount([event["item_row"][0] for event in events["train"]], minlength=NUM_ITEMS).tolist()
    catalogue = [
        item | {"item_row": [row], "item_id": item["product"], "train_count": [counts[row]]}
        for row, item in enumerate(items)
    ]
    shards = {"catalogue": [0, 90, NUM_ITEMS], "train": [0, 500, 600, 1300], "eval": [0, 150], "test": [0, 70, 150]}
    for split, cuts in shards.items():
        records, directory = (catalogue, raw.catalogue) if split == "catalogue" else (events[split], raw.interactions)
        batch = make_records({name: [record[name] for record in records] for name in records[0]})
        for shard, (start, stop) in enumerate(itertools.pairwise(cuts)):
            examples.write_shard(batch.slice(start, stop - start), directory, split, f"part-{shard}")
    preprocessing.transform(
        spec,
        raw.interactions,
        raw.catalogue,
        query_transform_dir=encoded.query_transform,
        item_transform_dir=encoded.item_transform,
        transformed_interactions_dir=encoded.interactions,
        transformed_catalogue_dir=encoded.catalogue,
    )
    return Shop(spec, raw, encoded, items, events)


# --- The command line -----------------------------------------------------------------------------------


@pytest.fixture
def cli(capfd):
    """Calls a command in this process: cli("ingest", spec, ...) -> exit status and everything that it printed.

    A process of its own costs ten seconds of imports.
    """
    from typer.testing import CliRunner

    from pipelines.commands.app import app

    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        printed = capfd.readouterr()
        output = result.output + printed.out + printed.err
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # what would have been a trace
        return SimpleNamespace(status=result.exit_code, output=output)

    return call
