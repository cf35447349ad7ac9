"""Indexing as the pipeline does it, and what is served held against what was embedded."""

import os
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipelines.stages.check_serving import SkewError, require_no_skew
from pipelines.stages.index import Served, export_control, index_arm
from recsys_ssl import lists, provenance
from recsys_ssl.index import embed, embeddings, raw_inputs, warmup
from recsys_ssl.index.scann_index import IndexConfig
from recsys_ssl.serving.recommender import Recommender
from recsys_ssl.serving.skew import measure_skew


@pytest.fixture(scope="module")
def indexed(films, film_spec, repeat_towers_dir, make_records):
    """The towers know of repeats, and each of the 80 held-out events has three of them, which may come again."""
    root = films.root / "indexed"
    records = make_records(films.events["test"])
    towers = provenance.load_saved_model(repeat_towers_dir)
    embedded = embed.embed(towers, "embed_query", raw_inputs.input_specs(towers, "embed_query"), records)
    rows = np.array(films.events["test"]["item_row"])[:, 0]
    seen = pa.array([list(range(row - row % 10, row - row % 10 + 5)) for row in rows.tolist()])
    os.makedirs(root / "queries")
    table = pa.table({"item_row": pa.array(rows), "seen_rows": seen, **embedded})
    for part, some in enumerate((table.slice(0, 50), table.slice(50))):
        embeddings.write_rows(some, str(root / "queries"), 0, part)
    served = Served(*(str(root / name) for name in ("index", "scann", "inverted-lists", "brute-force")))
    places = str(films.root / "items"), str(root / "queries"), str(films.root / "interactions")
    index_arm(film_spec, repeat_towers_dir, *places, str(films.root / "catalogue"), served, IndexConfig("hash"))
    items, queries, interactions = places
    control = str(root / "control")
    export_control(film_spec, repeat_towers_dir, items, interactions, str(films.root / "catalogue"), control)
    return SimpleNamespace(served=served, control=control, items=items, queries=queries, interactions=interactions)


@pytest.fixture(scope="module")
def recommenders(indexed):
    return {name: Recommender(getattr(indexed.served, name)) for name in ("scann", "inverted_lists", "brute_force")}


@pytest.mark.parametrize(("variant", "is_exact"), [("scann", False), ("inverted_lists", True), ("brute_force", True)])
def test_served_scores_are_the_pipelines(indexed, recommenders, variant, is_exact):
    places = indexed.items, indexed.queries, indexed.interactions
    assert require_no_skew(recommenders[variant], variant, is_exact, *places) < 1e-5


def test_the_control_is_served_as_the_treatment_is(indexed, recommenders):
    """Of the same towers, it answers as the treatment's exact search does, also a query by its id."""
    control = Recommender(indexed.control)
    assert require_no_skew(control, "control", True, indexed.items, indexed.queries, indexed.interactions) < 1e-5
    assert control.replay_samples() == recommenders["brute_force"].replay_samples()
    assert control.lookup.list_queries("", 3) == recommenders["brute_force"].lookup.list_queries("", 3) != []


def test_so_many_queries_are_compared_as_are_asked_for(indexed, recommenders):
    places = indexed.items, indexed.queries, indexed.interactions
    assert measure_skew(recommenders["scann"], *places, False).num_queries == 80
    skew = measure_skew(recommenders["scann"], *places, False, num_queries=70)
    assert (skew.num_queries, skew.num_popular) == (70, 0)


@pytest.mark.parametrize("column", ["vector", "repeat_scores", "seen_rows"])
def test_what_is_embedded_otherwise_is_found(indexed, recommenders, tmp_path, column):
    """A coordinate of the last query, what its repeats score, or which items it leaves out."""
    for path in os.listdir(indexed.queries):
        table = pq.read_table(os.path.join(indexed.queries, path))
        values = table[column].to_pylist()
        values[-1] = list(range(6000 - 3)) if column == "seen_rows" else [value + 0.01 for value in values[-1]]
        kind = pa.list_(pa.int64()) if column == "seen_rows" else pa.list_(pa.float32())
        changed = lists.from_vectors(np.array(values, np.float32)) if column == "vector" else pa.array(values, kind)
        pq.write_table(table.set_column(table.schema.get_field_index(column), column, changed), tmp_path / path)
    places = indexed.items, str(tmp_path), indexed.interactions
    if column == "seen_rows":  # then the request leaves them out as well
        assert require_no_skew(recommenders["brute_force"], "model", True, *places) < 1e-5
    else:
        with pytest.raises(SkewError, match="served scores must equal the pipeline's to 1e-05. Received: a difference"):
            require_no_skew(recommenders["scann"], "model", False, *places)


@pytest.mark.parametrize("variant", ["scann", "inverted_lists", "brute_force"])
def test_models_hold_sample_requests_with_their_answers_for_servers(indexed, recommenders, variant):
    directory = getattr(indexed.served, variant)
    path = os.path.join(directory, "assets.extra", "tf_serving_warmup_requests")
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(path)]
    assert len(logs) == 21  # one a query, and all at once
    request = logs[0].predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("films", "recommend")
    assert set(request.inputs) == {"k", "exclude", "user", "taste", "history"}
    assert tf.make_ndarray(request.inputs["user"]).tolist() == [b"u0"]
    assert recommenders[variant].replay_samples() == (21, pytest.approx(0.0, abs=1e-6))


def test_another_answer_than_expected_is_told(indexed, recommenders, tmp_path):
    (tmp_path / "assets.extra").mkdir()
    path = os.path.join(indexed.served.brute_force, warmup.WARMUP_FILE)
    with tf.io.TFRecordWriter(str(tmp_path / warmup.WARMUP_FILE)) as writer:
        for record in tf.data.TFRecordDataset(path).take(1).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            scores = tf.make_ndarray(log.predict_log.response.outputs["scores"]) - 0.25
            log.predict_log.response.outputs["scores"].CopyFrom(tf.make_tensor_proto(scores))
            writer.write(log.SerializeToString())
    model = recommenders["brute_force"].model
    assert warmup.replay_warmup(model, tmp_path) == (1, pytest.approx(0.25))
    assert warmup.replay_warmup(model, tmp_path / "nothing") == (0, 0.0)


def test_models_share_what_lies_beside_them(indexed):
    for name in ("lookup.sqlite", "items.parquet"):
        files = {os.stat(os.path.join(model, "assets.extra", name)).st_ino for model in indexed.served.models}
        assert len(files) == 1
