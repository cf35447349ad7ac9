"""Both variants of the exported recommender, each asked in a process of its own."""

import json
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

from recsys_ssl.index import embeddings, export, raw_inputs, scann_index
from recsys_ssl.serving.recommender import load_recommender, recommend

VARIANTS = ["scann", "brute_force"]


@pytest.fixture(scope="module")
def models(towers_dir, items_dir, queries_dir, spec, tmp_path_factory):
    """Variant -> directory of its SavedModel."""
    root = tmp_path_factory.mktemp("models")
    scann_index.index_items(items_dir, queries_dir, root / "index")
    export.export_scann(towers_dir, root / "index", root / "scann", spec)
    export.export_brute_force(towers_dir, items_dir, root / "brute_force", spec)
    return {variant: str(root / variant) for variant in VARIANTS}


@pytest.fixture(scope="module", params=VARIANTS)
def model(request, models):
    return load_recommender(models[request.param])


@pytest.fixture(scope="module")
def rank(towers_dir, items_dir):
    """Raw inputs of embed_query -> ids and scores of all items, best first, by NumPy."""
    towers, items = tf.saved_model.load(towers_dir), embeddings.read_items(items_dir)

    def ranked(user="", gender="", age=float("nan"), history=()):
        inputs = {"user": [user], "gender": [gender], "history": [list(history)]}
        inputs = {name: tf.constant(value, tf.string) for name, value in inputs.items()}
        inputs["history"] = tf.reshape(inputs["history"], [1, -1])
        query = towers.signatures["embed_query"](age=tf.constant([age]), **inputs)["embedding"].numpy()[0]
        scores = items.vectors @ query
        order = np.argsort(-scores, kind="stable")
        return [f"film-{row}" for row in order], scores[order]

    return ranked


ASK = """
import json, sys
from recsys_ssl.serving.recommender import load_recommender, recommend
answer = recommend(load_recommender(sys.argv[1]), json.loads(sys.argv[2]), k=5, exclude=json.loads(sys.argv[3]))
print(json.dumps([answer.item_ids, answer.scores, sorted({name.split(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_fresh_process(models, rank, variant):
    features = {"user": ["u1", "u2"], "history": [["film-1", "film-2"], []], "age": [25.0, None]}
    ids, scores = rank("u1", age=25.0, history=["film-1", "film-2"])
    arguments = [json.dumps(features), json.dumps([ids[1:3], []])]
    command = [sys.executable, "-c", ASK, models[variant], *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    got_ids, got_scores, modules = json.loads(answer.stdout)
    assert got_ids == [ids[:1] + ids[3:7], rank("u2")[0][:5]]
    np.testing.assert_allclose(got_scores[0], np.concatenate([scores[:1], scores[3:7]]), atol=1e-5)
    # A server of the plain variant needs no ScaNN, and no server needs Beam.
    assert ("scann" in modules) == (variant == "scann")
    assert "apache_beam" not in modules


def test_brute_force_loads_in_bare_tensorflow(models, rank):
    code = """
import sys, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
inputs = dict(user=tf.constant(["u3"]), gender=tf.constant(["F"]), age=tf.constant([40.0]))
inputs |= dict(history=tf.constant([["film-9", ""]]), k=tf.constant([3]), exclude=tf.constant([[""]]))
print(b" ".join(model.signatures["recommend"](**inputs)["item_ids"].numpy()[0]).decode())
"""
    command = [sys.executable, "-c", code, models["brute_force"]]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == rank("u3", "F", 40.0, ["film-9"])[0][:3]


def test_signatures(model):
    assert {"embed_query", "embed_item", "recommend", "serving_default"} <= set(model.signatures)
    specs = raw_inputs.input_specs(model, "recommend")
    assert set(specs) == {"user", "gender", "age", "history", "k", "exclude"}
    assert (specs["k"].dtype, specs["k"].shape.rank) == (tf.int32, 1)
    assert (specs["exclude"].dtype, specs["exclude"].shape.rank) == (tf.string, 2)
    assert raw_inputs.input_specs(model, "serving_default") == specs
    # Servers put requests together along the first axis only, which must be free in everything.
    assert all(spec.shape.rank > 0 and spec.shape[0] is None for spec in specs.values())


def test_towers_are_the_exported_ones(model, towers_dir, items_dir, make_catalogue):
    # The genres go through a vocabulary whose file is gone: it must have come along.
    vectors = embeddings.read_items(items_dir).vectors
    specs = raw_inputs.input_specs(model, "embed_item")
    arrays = raw_inputs.to_arrays(make_catalogue(0, 60), specs)
    tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
    embedded = model.signatures["embed_item"](**tensors)["embedding"]
    np.testing.assert_allclose(embedded, vectors, atol=1e-6)


def test_ranking_of_many_queries(model, rank):
    queries = [(f"u{i}", "FM"[i % 2], 20.0 + i, [f"film-{j}" for j in range(i)]) for i in range(20)]
    user, gender, age, history = (list(values) for values in zip(*queries, strict=True))
    answer = recommend(model, {"user": user, "gender": gender, "age": age, "history": history}, k=60)
    for query, ids, scores in zip(queries, *answer, strict=True):
        expected_ids, expected_scores = rank(*query)
        assert ids == expected_ids
        np.testing.assert_allclose(scores, expected_scores, atol=1e-5)


def test_query_that_nothing_is_known_of(model, rank):
    for features in ({}, {"user": [None], "history": [[]], "age": [None]}):
        assert recommend(model, features, k=4).item_ids == [rank()[0][:4]]


def test_every_query_has_its_own_exclusions(model, rank):
    first, second = rank("u1")[0], rank("u2")[0]
    exclude = [first[:3] + first[5:6] + first[:1], ["no such film"]]
    answer = recommend(model, {"user": ["u1", "u2"]}, k=4, exclude=exclude)
    assert answer.item_ids == [[first[3], first[4], first[6], first[7]], second[:4]]


def test_k_beyond_what_is_left(model, rank):
    ids, scores = rank("u1")
    answer = recommend(model, {"user": ["u1"]}, k=100, exclude=[ids[10:]])
    assert answer.item_ids == [ids[:10]]
    np.testing.assert_allclose(answer.scores, [scores[:10]], atol=1e-5)
    assert recommend(model, {"user": ["u1"]}, k=3, exclude=[ids]).item_ids == [[]]
    # Padded to k, that would take 40 GB.
    assert recommend(model, {"user": ["u1"]}, k=2**31 - 1, exclude=[ids[10:]]).item_ids == [ids[:10]]


def test_padding_of_the_signature(model, rank):
    inputs = {"user": tf.constant(["u1"]), "gender": tf.constant([""]), "age": tf.constant([np.nan])}
    inputs |= {"history": tf.constant([[""]]), "exclude": tf.zeros([1, 0], tf.string), "k": tf.constant([63])}
    outputs = model.signatures["recommend"](**inputs)
    assert outputs["item_ids"].shape == outputs["scores"].shape == (1, 63)
    assert [value.decode() for value in outputs["item_ids"].numpy()[0]] == [*rank("u1")[0], "", "", ""]
    assert outputs["scores"].numpy()[0, 60:].tolist() == [tf.float32.min] * 3
    json.dumps(outputs["scores"].numpy().tolist(), allow_nan=False)  # as a server answers


def test_each_query_has_its_own_k(model, rank):
    inputs = {"user": tf.constant(["u1", "u2"]), "gender": tf.constant(["", ""]), "age": tf.constant([np.nan] * 2)}
    inputs |= {"history": tf.constant([[""], [""]]), "exclude": tf.zeros([2, 0], tf.string), "k": tf.constant([2, 4])}
    outputs = model.signatures["serving_default"](**inputs)
    ids = [[value.decode() for value in row] for row in outputs["item_ids"].numpy()]
    assert ids == [[*rank("u1")[0][:2], "", ""], rank("u2")[0][:4]]
    assert outputs["scores"].numpy()[0, 2:].tolist() == [tf.float32.min] * 2
    none = {name: value[:0] for name, value in inputs.items()}
    assert model.signatures["serving_default"](**none)["item_ids"].shape[0] == 0


@pytest.mark.parametrize(
    ("features", "k", "exclude", "error", "message"),
    [
        ({"user": ["u1"]}, 0, None, ValueError, "k must be positive"),
        ({"usr": ["u1"]}, 3, None, ValueError, r"among \['age', 'gender', 'history', 'user'\]. Received: \['usr'\]"),
        ({"user": ["u1"], "age": [1.0, 2.0]}, 3, None, ValueError, "one value per query"),
        ({"user": ["u1"]}, 3, [[], []], ValueError, "one value per query"),
        ({"user": [7]}, 3, None, TypeError, "'user' takes strings. Received: 7"),
        ({"age": ["old"]}, 3, None, TypeError, "'age' takes numbers. Received: 'old'"),
        ({"user": [["u1", "u2"]]}, 3, None, ValueError, "'user' takes one value"),
        (
            {"user": "u1"},
            3,
            None,
            TypeError,
            r"'user' must be a list of one value .*Received: 'u1'. .*\['u1'\]",
        ),
        ({"user": b"u1"}, 3, None, TypeError, "'user' must be a list of one value per query. Received: b'u1'"),
        ({"history": "film-1"}, 3, None, TypeError, "'history' must be a list of one value per query"),
        ({"user": {"u1": 1}}, 3, None, TypeError, "'user' must be a list of one value per query. Received: {'u1': 1}"),
        ({"user": {"u1"}}, 3, None, TypeError, "'user' must be a list of one value per query. Received: {'u1'}"),
        ({"age": 25.0}, 3, None, TypeError, "'age' must be a list of one value per query. Received: 25.0"),
        ({"age": np.float32(25)}, 3, None, TypeError, "'age' must be a list of one value per query"),
        ({"user": None}, 3, None, TypeError, "'user' must be a list of one value per query. Received: None"),
        ({"user": np.array("u1")}, 3, None, TypeError, "'user' must be a list of one value per query"),
        ({"user": ["u1"]}, 3, "film-1", TypeError, "'exclude' must be a list of one value per query"),
        (
            {"user": ["u1"]},
            3,
            ["film-1"],
            TypeError,
            r"one list of ids per query.*'film-1'.*\[\['film-1'\]\]",
        ),
        ({"user": ["u1"]}, 3, [b"film-1"], TypeError, "one list of ids per query. Received: b'film-1'"),
        ({"user": ["u1", "u2"]}, 3, ["film-1", "film-2"], TypeError, "one list of ids per query. Received: 'film-1'"),
        ({"user": ["u1"]}, 3, [[7]], TypeError, "'exclude' takes strings. Received: 7"),
        (
            {"history": [["film-1", None]]},
            3,
            None,
            TypeError,
            "'history' takes strings. Received: None in ",
        ),
        ({"history": [np.array([1, 2])]}, 3, None, TypeError, "'history' takes strings. Received: 1. Write it as in"),
        ({"user": [{"u1": 1}]}, 3, None, TypeError, "'user' takes strings. Received: {'u1': 1}"),
        ({"age": [True]}, 3, None, TypeError, "'age' takes numbers. Received: True"),
        ({"user": ["u1"]}, 3_000_000_000, None, ValueError, "k must be at most 2147483647. Received: k=3000000000."),
        ({"user": ["u1"]}, 2.0, None, TypeError, "k must be a whole number. Received: k=2.0"),
        ({"user": ["u1"]}, True, None, TypeError, "k must be a whole number. Received: k=True"),
        ({"user": ["u1"]}, "2", None, TypeError, "k must be a whole number. Received: k='2'"),
        ("u1", 3, None, TypeError, "features must be a dict of lists. Received: 'u1'"),
        (pd.DataFrame({"user": ["u1"]}), 3, None, TypeError, r"of a pandas DataFrame its .to_dict\('list'\)"),
    ],
)
def test_bad_questions_are_explained(model, features, k, exclude, error, message):
    with pytest.raises(error, match=message):
        recommend(model, features, k, exclude)


HISTORIES = [["film-1", "film-2"], ["film-3"]]


@pytest.mark.parametrize(
    ("user", "age", "histories", "exclude"),
    [
        (("u1", "u2"), (25.0, None), (("film-1", "film-2"), ("film-3",)), (("film-4",), ())),
        (
            np.array(["u1", "u2"]),
            np.array([25, np.nan]),
            [np.array(row) for row in HISTORIES],
            [np.array(["film-4"]), None],
        ),
        (
            np.array(["u1", "u2"], object),
            [np.float32(25), np.nan],
            np.array([*HISTORIES, 0], object)[:2],
            [["film-4"], []],
        ),
        (
            [b"u1", np.str_("u2")],
            [np.int64(25), None],
            [pd.Series(row) for row in HISTORIES],
            pd.Series([["film-4"], []]),
        ),
        (pd.Series(["u1", "u2"]), pd.Series([25.0, None]), pd.Series(HISTORIES), [pd.Series(["film-4"]), pd.NA]),
        (
            pd.Series(["u1", "u2"], dtype="string"),
            pd.Series([25, pd.NA], dtype="Int64"),
            HISTORIES,
            [["film-4"], np.nan],
        ),
        (
            tf.constant(["u1", "u2"]),
            tf.constant([25.0, np.nan]),
            [tf.constant(row) for row in HISTORIES],
            [["film-4"], []],
        ),
        (pa.array(["u1", "u2"]), pa.array([25.0, None]), pa.array(HISTORIES), pa.array([["film-4"], []])),
    ],
    ids=["tuples", "arrays", "object arrays", "scalars", "series", "series of pandas' own types", "tensors", "arrow"],
)
def test_lists_of_every_library_are_read_alike(model, user, age, histories, exclude):
    expected = recommend(model, {"user": ["u1", "u2"], "age": [25.0, None], "history": HISTORIES}, 5, [["film-4"], []])
    assert recommend(model, {"user": user, "age": age, "history": histories}, np.int64(5), exclude) == expected


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, []], ids=["None", "NaN", "NA", "empty"])
def test_what_is_missing_may_be_written_in_several_ways(model, missing):
    expected = recommend(model, {"user": ["u1"]}, k=3)
    found = recommend(model, {"user": ["u1"], "gender": [missing], "age": [missing], "history": [missing]}, k=3)
    assert found == expected


def test_a_single_text_in_place_of_a_list_is_one_value(model):
    expected = recommend(model, {"history": [["film-1"], ["film-2"]]}, k=3)
    assert recommend(model, {"history": ["film-1", b"film-2"]}, k=3) == expected


def test_no_queries(model):
    assert recommend(model, {"user": []}, k=3) == ([], [])


@pytest.mark.parametrize(("k", "message"), [(0, "k must be positive"), (10_001, "k must be at most 10000")])
def test_k_of_the_signature_is_checked(model, k, message):
    inputs = {"user": tf.constant(["u1"]), "gender": tf.constant([""]), "age": tf.constant([1.0])}
    inputs |= {"history": tf.constant([[""]]), "exclude": tf.constant([[""]]), "k": tf.constant([k])}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.signatures["recommend"](**inputs)


# --- Parts ------------------------------------------------------------------------------------------


def test_is_excluded_equals_sets():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 20, (6, 9)).astype(str).astype(object)
    exclude = rng.integers(0, 20, (6, 4)).astype(str).astype(object)
    exclude[2], exclude[3, 1:] = "", ""
    expected = [[item in set(row) for item in items] for items, row in zip(ids, exclude, strict=True)]
    np.testing.assert_array_equal(export.is_excluded(tf.constant(ids), tf.constant(exclude)), expected)


@pytest.mark.parametrize("num_buckets", [2**63 - 1, 40], ids=["no hashes alike", "hashes alike"])
def test_rows_are_found_by_id(monkeypatch, num_buckets):
    """Of 12 ids in 40 buckets two almost always have one hash, by most keys."""
    monkeypatch.setattr(export, "_NUM_BUCKETS", num_buckets)
    rows = export.IdRows(tf.Variable([f"film-{row}" for row in range(12)]))
    asked = [["film-3", ""], ["film-11", "no film"], ["film-0", "film-3"]]
    assert rows.find(tf.constant(asked)).numpy().tolist() == [[3, -1], [11, -1], [0, 3]]
    everything = [f"film-{row}" for row in (*range(12), *range(12, 200))]
    assert rows.find(tf.constant(everything)).numpy().tolist() == [*range(12), *[-1] * 188]
    assert rows.find(tf.zeros([2, 0], tf.string)).shape == (2, 0)
    assert (rows._key > 0) == (num_buckets == 40)


def test_keep_best_keeps_the_order_of_equal_scores():
    ids, scores = tf.constant([["a", "b", "c", "d"]]), tf.constant([[0.5, 0.5, 0.5, -np.inf]])
    best = export.keep_best(ids, scores, tf.constant([["b"]]), tf.constant([4]))
    assert best[0].numpy().tolist() == [[b"a", b"c", b"", b""]]
    assert best[1].numpy().tolist() == [[0.5, 0.5, tf.float32.min, tf.float32.min]]


@pytest.mark.parametrize(
    "config", [scann_index.IndexConfig("hash", reorder=20), scann_index.IndexConfig("tree", 30, 1)]
)
def test_scann_model_searches_the_saved_index(towers_dir, random_unit_vectors, tmp_path, config):
    ids = pa.array([b"%d" % row for row in range(3000)], pa.binary())
    items = embeddings.ItemEmbeddings(ids, random_unit_vectors(3000, dim=8), np.zeros(3000, np.int64))
    index = scann_index.build_index(items, config)
    scann_index.save_index(index, tmp_path / "index")
    export.export_scann(towers_dir, tmp_path / "index", tmp_path / "model")
    model = load_recommender(tmp_path / "model")
    inputs = {"user": tf.constant(["u1"]), "gender": tf.constant([""]), "age": tf.constant([np.nan])}
    inputs["history"] = tf.constant([[""]])
    query = model.signatures["embed_query"](**inputs)["embedding"].numpy()
    rows, scores = index.search(query, 20)
    assert rows.tolist() != scann_index.search_exactly(items.vectors, query, 20)[0].tolist()
    answer = recommend(model, {"user": ["u1"]}, k=20)
    assert answer.item_ids == [[str(row) for row in rows[0]]]
    np.testing.assert_allclose(answer.scores, scores, atol=1e-5)


def test_two_models_in_one_process_do_not_share_an_index(models, towers_dir, random_unit_vectors, tmp_path):
    ids = pa.array([b"other-%d" % row for row in range(90)], pa.binary())
    items = embeddings.ItemEmbeddings(ids, random_unit_vectors(90, dim=8), np.zeros(90, np.int64))
    scann_index.save_index(scann_index.build_index(items), tmp_path / "index")
    export.export_scann(towers_dir, tmp_path / "index", tmp_path / "model")
    first, second = load_recommender(models["scann"]), load_recommender(tmp_path / "model")
    before = recommend(first, {"user": ["u1"]}, k=60)
    other = recommend(second, {"user": ["u1"]}, k=90)
    assert recommend(first, {"user": ["u1"]}, k=60) == before
    assert sorted(other.item_ids[0]) == sorted(f"other-{row}" for row in range(90))


def test_inputs_are_called_as_in_the_spec(items_dir, tmp_path):
    @tf.function(input_signature=[{"Country": tf.TensorSpec([None], tf.string, "Country")}])
    def embed(raw):
        length = tf.cast(tf.strings.length(raw["Country"]), tf.float32)
        return {"embedding": length[:, tf.newaxis] * tf.ones([1, 8])}

    towers = tf.Module()
    towers.embed = embed
    tf.saved_model.save(towers, str(tmp_path / "towers"), signatures={"embed_query": embed, "embed_item": embed})
    export.export_brute_force(tmp_path / "towers", items_dir, tmp_path / "model")
    model = load_recommender(tmp_path / "model")
    assert set(raw_inputs.input_specs(model, "embed_item")) == {"Country"}
    short, long = recommend(model, {"Country": ["Mali", "Suriname"]}, k=3).scores
    np.testing.assert_allclose(long, 2 * np.array(short), rtol=1e-6)


def test_export_errors(towers_dir, items_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="no index in"):
        export.export_scann(towers_dir, tmp_path, tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="no SavedModel in"):
        load_recommender(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(ValueError, match="needs the signature 'embed_query'"):
        export.export_brute_force(tmp_path / "bare", items_dir, tmp_path / "model")


def test_missing_scann_is_explained(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "scann.scann_ops.py", None)
    with pytest.raises(ImportError, match=f"Install the scann.* TensorFlow {tf.__version__}.* the brute-force variant"):
        load_recommender(models["scann"])


def test_scann_of_another_tensorflow_is_explained(models, monkeypatch):
    class Unlinked(types.ModuleType):
        def __getattr__(self, name):
            raise tf.errors.NotFoundError(None, None, "_scann_ops.so: undefined symbol: _ZN4absl")

    monkeypatch.setitem(sys.modules, "scann.scann_ops.py", Unlinked("scann.scann_ops.py"))
    with pytest.raises(ImportError, match="undefined symbol.* Install the scann"):
        load_recommender(models["scann"])
