"""The exported towers in a process of their own: raw records in, the embeddings of training out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl import examples, lists
from recsys_ssl.index import raw_inputs
from recsys_ssl.index.embed import embed
from recsys_ssl.training.data import parse
from recsys_ssl.training.export import embed_catalogue, export_towers
from recsys_ssl.training.sequences import SequenceReader
from recsys_ssl.training.train import build_model

SERVE = """
import json, sys
import numpy as np
import tensorflow as tf

export_dir, inputs, outputs = sys.argv[1:]
signatures, raw, embedded = tf.saved_model.load(export_dir).signatures, np.load(inputs), {}
for side in ("embed_item", "embed_query"):
    features = {name.split("/")[1]: tf.constant(raw[name]) for name in raw.files if name.startswith(side + "/")}
    embedded[side] = signatures[side](**features)["embedding"].numpy()
    # One record, and the records the other way round.
    embedded[side + "/first"] = signatures[side](**{n: v[:1] for n, v in features.items()})["embedding"].numpy()
    embedded[side + "/reversed"] = signatures[side](**{n: v[::-1] for n, v in features.items()})["embedding"].numpy()
for name in ("long", "cut", "gaps"):
    features = {"history": tf.constant(raw["histories/" + name]), "taste": tf.constant(raw["histories/taste"])}
    embedded["histories/" + name] = signatures["embed_query"](**features)["embedding"].numpy()
np.savez(outputs, **embedded)
names = {name: sorted(signature.structured_input_signature[1]) for name, signature in signatures.items()}
print(json.dumps(names))
assert "tensorflow_transform" not in sys.modules
"""


def dense(records, name, missing, width=None):
    """The values of a feature as the signature takes them: padded to `width`, or one per record."""
    values = [record[name] for record in records]
    if width is None:
        return np.array([(value or [missing])[0] for value in values])
    return np.array([value + [missing] * (width - len(value)) for value in values])


def count_events(shop):
    return np.bincount([event["item_row"][0] for event in shop.events["train"]], minlength=200)


def make_histories(shop):
    """Histories of 0 to 3 items more than the spec's length, their last items alone, and with gaps between them."""
    (length,) = (feature.length for feature in shop.spec.item_sequences)
    products = [item["product"][0] for item in shop.items]
    whole = [products[7 * query : 7 * query + length + query] for query in range(4)]
    width = length + 9
    gaps = [[b"", *history[:5], b"", b"", *history[5:]] for history in whole]
    padded = {
        name: np.array([history + [b""] * (width - len(history)) for history in histories])
        for name, histories in (("long", whole), ("cut", [history[-length:] for history in whole]), ("gaps", gaps))
    }
    return padded | {"taste": np.array([b"taste 3"] * len(whole))}


@pytest.fixture(scope="module")
def served(shop, unharmed, tmp_path_factory):
    """Embeddings by a process that knows the SavedModel alone."""
    items, queries, root = shop.items, shop.events["test"], tmp_path_factory.mktemp("serve")
    raw = {f"embed_item/{name}": dense(items, name, b"") for name in ("product", "brand", "title")}
    raw["embed_item/tags"] = dense(items, "tags", b"", width=3)
    raw["embed_item/price"] = dense(items, "price", np.nan).astype(np.float32)
    raw["embed_item/shape"] = np.array([item["shape"] or [np.nan] * 2 for item in items], np.float32)
    raw["embed_item/train_count"] = count_events(shop).astype(np.float32)  # for the popularity prior
    raw["embed_query/taste"] = dense(queries, "taste", b"")
    raw["embed_query/history"] = dense(queries, "history", b"", width=5)
    raw |= {f"histories/{name}": values for name, values in make_histories(shop).items()}
    np.savez(root / "raw.npz", **raw)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TF_USE_LEGACY_KERAS")
    }
    arguments = [str(Path(unharmed.directory) / "export"), str(root / "raw.npz"), str(root / "served.npz")]
    child = subprocess.run(
        [sys.executable, "-c", SERVE, *arguments], cwd=root, env=environment, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return {"signatures": json.loads(child.stdout.splitlines()[-1]), **np.load(root / "served.npz")}


@pytest.fixture(scope="module")
def trained(shop, shop_inputs, cfm_config, unharmed):
    """Embeddings on the path of training: encoded files through the best checkpoint."""
    model, catalogue = build_model(shop.spec, cfm_config, shop_inputs)
    (best,) = Path(unharmed.directory, "checkpoints").glob("*/best")
    tf.train.Checkpoint(model=model).restore(tf.train.latest_checkpoint(str(best))).expect_partial()
    shards = examples.list_shards(shop_inputs.interactions_dir, "test")
    serialized = tf.stack(list(tf.data.TFRecordDataset(shards, compression_type="GZIP")))
    return {
        "embed_item": model.vectorize_items(
            catalogue.gather(tf.range(200, dtype=tf.int64)), tf.constant(catalogue.train_counts)
        ).numpy(),
        "embed_query": model.vectorize_queries(parse(serialized, model.query_layout, False).query).numpy(),
    }


@pytest.mark.parametrize("side", ["embed_item", "embed_query"])
def test_raw_records_get_the_embeddings_of_training(served, trained, side):
    np.testing.assert_allclose(served[side], trained[side], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(served[side][:, :-1], axis=1), 1.0, rtol=1e-5)
    assert len(np.unique(served[side].round(4), axis=0)) > 20


@pytest.mark.parametrize("side", ["embed_item", "embed_query"])
def test_a_record_is_embedded_alike_alone_and_in_any_place(served, side):
    np.testing.assert_allclose(served[f"{side}/first"], served[side][:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(served[f"{side}/reversed"], served[side][::-1], rtol=1e-4, atol=1e-5)


def test_of_a_history_beyond_the_specs_length_the_last_items_are_read(served):
    np.testing.assert_allclose(served["histories/long"], served["histories/cut"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(served["histories/gaps"], served["histories/cut"], rtol=1e-5, atol=1e-6)
    assert len(np.unique(served["histories/cut"].round(4), axis=0)) == 4


def test_the_last_coordinate_is_the_popularity_prior(served, shop, cfm_config):
    counts = count_events(shop)
    relative = np.maximum(counts, 0.5) / counts.mean()
    expected = cfm_config.temperature * cfm_config.popularity_prior * np.log(relative)
    np.testing.assert_allclose(served["embed_item"][:, -1], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(served["embed_query"][:, -1], 1.0)


def test_the_best_model_is_the_exported_one(unharmed, trained):
    np.testing.assert_array_equal(unharmed.embeddings, trained["embed_item"])


def test_served_embeddings_find_the_items_of_the_query_taste(shop, served):
    """Recall@10 of the test events against that of the ten items bought most."""
    rows = np.array([event["item_row"][0] for event in shop.events["test"]])
    top = np.argsort(-served["embed_query"] @ served["embed_item"].T, axis=1)[:, :10]
    popular = np.isin(rows, np.argsort(-count_events(shop))[:10]).mean()
    assert popular < 0.3
    assert (top == rows[:, np.newaxis]).any(axis=1).mean() > popular + 0.25


def test_the_signatures_take_the_raw_features_by_name(served, shop):
    assert served["signatures"] == {
        "embed_query": sorted(feature.name for feature in shop.spec.query_features),
        "embed_item": sorted([*(feature.name for feature in shop.spec.item_features), "train_count"]),
    }


# --- Towers that read sequences --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sequential(shop, shop_inputs, make_config, tmp_path_factory):
    """Towers with a transformer as they are in memory and as they were saved, with weights far from the first."""
    path = str(tmp_path_factory.mktemp("sequential"))
    config = make_config(history={"encoder": "transformer"}, popularity_prior=0.5)
    model, catalogue = build_model(shop.spec, config, shop_inputs)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    export_towers(model, shop.spec, shop.encoded.query_transform, shop.encoded.item_transform, path, catalogue)
    return model, catalogue, tf.saved_model.load(path)


def raw_queries(shop, width=5):
    events = shop.events["test"]
    raw = {"taste": dense(events, "taste", b""), "history": dense(events, "history", b"", width)}
    raw |= {"history_us": dense(events, "history_us", -1, width), "timestamp_us": dense(events, "timestamp_us", -1)}
    return raw


def ask(sequential, raw):
    tensors = {name: tf.constant(values) for name, values in raw.items()}
    return sequential[2].signatures["embed_query"](**tensors)["embedding"].numpy()


def test_saved_towers_read_a_raw_history_as_validation_reads_an_encoded_one(shop, shop_inputs, sequential):
    model, catalogue, _ = sequential
    reader, items = SequenceReader(shop.spec, catalogue), embed_catalogue(model, catalogue)
    shards = examples.list_shards(shop_inputs.interactions_dir, "test")
    serialized = tf.stack(list(tf.data.TFRecordDataset(shards, compression_type="GZIP")))
    batch = parse(serialized, model.query_layout, False, reader)
    expected = model.vectorize_queries(batch.query, model.read_histories(batch.histories, items)).numpy()
    raw = raw_queries(shop)
    np.testing.assert_allclose(ask(sequential, raw), expected, rtol=1e-4, atol=1e-5)
    # Gaps between the items and further width change nothing; other times do.
    gaps = {name: np.insert(raw[name], 1, missing, axis=1) for name, missing in (("history", b""), ("history_us", -1))}
    np.testing.assert_allclose(ask(sequential, raw | gaps), expected, rtol=1e-4, atol=1e-5)
    later = ask(sequential, raw | {"timestamp_us": raw["timestamp_us"] + 10**12})
    has_history = np.array([len(event["history"]) > 0 for event in shop.events["test"]])
    assert (np.abs(later - expected).max(axis=1) > 1e-4).tolist() == has_history.tolist()


def test_times_need_not_be_known_and_stand_where_the_items_do(shop, sequential):
    raw = raw_queries(shop)
    none = {"history_us": np.full([len(raw["taste"]), 1], -1), "timestamp_us": np.full(len(raw["taste"]), -1)}
    partly = {"history_us": np.full([len(raw["taste"]), 7], -1)}
    np.testing.assert_allclose(ask(sequential, raw | none), ask(sequential, raw | partly), rtol=1e-5, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Give one time for each item"):
        ask(sequential, raw | {"history_us": np.full([len(raw["taste"]), 5], 10)})


def test_beam_embeds_raw_records_with_their_times(shop, sequential):
    """The batch job's own function, on the records as ingestion wrote them."""
    _, _, towers = sequential
    specs = raw_inputs.input_specs(towers, "embed_query")
    assert {name: (spec.dtype, spec.shape.rank) for name, spec in specs.items()} == {
        "taste": (tf.string, 1),
        "history": (tf.string, 2),
        "history_us": (tf.int64, 2),
        "timestamp_us": (tf.int64, 1),
    }
    batches = examples.read_batches(examples.list_shards(shop.raw.interactions, "test"))
    columns = [embed(towers, "embed_query", specs, records) for records in batches]
    assert all(set(found) == {"vector"} for found in columns)
    found = np.concatenate([lists.to_vectors(found["vector"]) for found in columns])
    np.testing.assert_allclose(found, ask(sequential, raw_queries(shop)), rtol=1e-4, atol=1e-5)
