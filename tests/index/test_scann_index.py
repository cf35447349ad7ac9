import dataclasses
import shutil

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.index import embeddings, scann_index
from recsys_ssl.index.scann_index import IndexConfig


@pytest.fixture
def make_items(random_unit_vectors):
    def make(num_items, dim=16, seed=0):
        ids = pa.array([b"%d" % row for row in range(num_items)], pa.binary())
        vectors = random_unit_vectors(num_items, dim, seed)
        return embeddings.ItemEmbeddings(ids, vectors, np.zeros(num_items, np.int64))

    return make


# --- Choice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_items", "expected"),
    [
        (1, IndexConfig("brute_force")),
        (19_999, IndexConfig("brute_force")),
        (20_000, IndexConfig("hash", reorder=500)),
        (100_000, IndexConfig("hash", reorder=500)),
        (100_001, IndexConfig("tree", num_leaves=316, num_leaves_to_search=64, reorder=500)),
        (1_000_000, IndexConfig("tree", num_leaves=1000, num_leaves_to_search=200, reorder=500)),
    ],
)
def test_choice_by_number_of_items(num_items, expected):
    assert scann_index.choose_config(IndexConfig(), num_items) == expected


def test_what_is_set_is_kept():
    config = IndexConfig("tree", num_leaves=50, reorder=7)
    assert scann_index.choose_config(config, 1000) == IndexConfig("tree", 50, 10, 7)


@pytest.mark.parametrize(
    ("settings", "num_items", "message"),
    [
        ({}, 0, "at least one item"),
        ({"num_leaves": 3}, 9, r"num_leaves is no setting of method 'brute_force' \(9 items\)"),
        ({"method": "tree", "num_leaves": 3, "num_leaves_to_search": 4}, 19, "must hold. Received: 4, 3, 19"),
        ({"method": "tree", "num_leaves": 20, "num_leaves_to_search": 4}, 19, "must hold. Received: 4, 20, 19"),
        ({"method": "tree"}, 15, "a tree needs 16 items or more. Received: 15. Set index.method=brute_force"),
    ],
)
def test_settings_that_do_not_fit_the_catalogue_are_explained(settings, num_items, message):
    with pytest.raises(ValueError, match=message):
        scann_index.choose_config(IndexConfig(**settings), num_items)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "best"}, "method must be one of"),
        ({"method": "hash", "num_leaves_to_search": 3}, "num_leaves_to_search is no setting of method 'hash'"),
        ({"method": "hash", "reorder": 0}, "reorder must be positive"),
        ({"num_leaves": -1}, "num_leaves must be positive"),
    ],
)
def test_settings_that_fit_no_catalogue_are_refused_before_the_run(settings, message):
    with pytest.raises(ValueError, match=message):
        IndexConfig(**settings)


# --- Search -----------------------------------------------------------------------------------------


def test_search_exactly_on_hand_made_vectors():
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
    rows, scores = scann_index.search_exactly(vectors, np.array([[1, 0], [0, 1]], np.float32), k=3)
    np.testing.assert_array_equal(rows, [[0, 2, 1], [1, 3, 2]])
    np.testing.assert_allclose(scores, [[1, 0.6, 0], [1, 1, 0.8]])


@pytest.mark.parametrize("block_size", [1, 3, 256])
def test_search_exactly_does_not_depend_on_the_blocks(random_unit_vectors, block_size):
    vectors, queries = random_unit_vectors(50), random_unit_vectors(7, seed=1)
    rows, _ = scann_index.search_exactly(vectors, queries, 60, block_size)
    for query, found in zip(queries, rows, strict=True):
        assert found.tolist() == sorted(range(50), key=lambda row: -float(vectors[row] @ query))


def test_small_corpus_is_searched_exactly(make_items, random_unit_vectors):
    items, queries = make_items(300), random_unit_vectors(40, seed=1)
    rows, scores = scann_index.build_index(items).search(queries, 10)
    expected_rows, expected_scores = scann_index.search_exactly(items.vectors, queries, 10)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


@pytest.mark.parametrize("config", [IndexConfig("brute_force"), IndexConfig("hash"), IndexConfig("tree", 10, 10)])
def test_more_neighbours_than_items_end_in_minus_one(make_items, random_unit_vectors, config):
    rows, scores = scann_index.build_index(make_items(40), config).search(random_unit_vectors(2, seed=1), 45)
    assert [sorted(found[:40]) for found in rows.tolist()] == [list(range(40))] * 2
    assert (rows[:, 40:] == -1).all()
    assert (scores[:, 40:] == -np.inf).all()
    assert np.isfinite(scores[:, :40]).all()


def test_one_item(make_items):
    items = make_items(1)
    rows, scores = scann_index.build_index(items).search(items.vectors, 1)
    assert rows.tolist() == [[0]]
    np.testing.assert_allclose(scores, [[1.0]], atol=1e-6)


@pytest.mark.parametrize("config", [IndexConfig("brute_force"), IndexConfig("hash"), IndexConfig("tree", 20, 8, 50)])
def test_saved_index_finds_the_same_wherever_it_lies(make_items, random_unit_vectors, tmp_path, config):
    index, queries = scann_index.build_index(make_items(1000), config), random_unit_vectors(30, seed=1)
    scann_index.save_index(index, tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    loaded = scann_index.load_index(tmp_path / "there")
    np.testing.assert_array_equal(loaded.search(queries, 10)[0], index.search(queries, 10)[0])
    assert loaded.item_ids.equals(index.item_ids)
    assert loaded.config == index.config


def test_another_method_can_replace_a_saved_index(make_items, random_unit_vectors, tmp_path):
    items, queries = make_items(1000), random_unit_vectors(5, seed=1)
    scann_index.save_index(scann_index.build_index(items, IndexConfig("tree", 20, 8)), tmp_path)
    scann_index.save_index(scann_index.build_index(items), tmp_path)
    rows, _ = scann_index.load_index(tmp_path).search(queries, 10)
    np.testing.assert_array_equal(rows, scann_index.search_exactly(items.vectors, queries, 10)[0])
    assert not (tmp_path / "ah_codebook.pb").exists()


def test_bad_vectors_and_missing_index_are_explained(make_items, tmp_path):
    items = make_items(5)
    with pytest.raises(ValueError, match=r"item vectors must be finite\. Received: length nan in row 3"):
        scann_index.build_index(dataclasses.replace(items, vectors=items.vectors * [[1], [1], [1], [np.nan], [1]]))
    with pytest.raises(FileNotFoundError, match="no index in"):
        scann_index.load_index(tmp_path)


# --- Recall -----------------------------------------------------------------------------------------


class FixedIndex:
    """Returns the rows that it is told to."""

    def __init__(self, rows):
        self.rows = np.array(rows)

    def search(self, queries, k):
        return self.rows[:, :k], np.zeros((len(queries), k), np.float32)


def test_recall_by_hand():
    angles = np.radians([0, 10, 20, 30, 40, 50])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    queries = vectors[[0, 5]]
    # The first query's best are 0, 1, 2, 3; the second's 5, 4, 3, 2.
    index = FixedIndex([[0, 2, 3, -1], [5, 4, 1, 3]])
    recall = scann_index.measure_recall(index, vectors, queries, ks=(1, 2, 4))
    assert recall == {1: (1 + 1) / 2, 2: (1 / 2 + 2 / 2) / 2, 4: (3 / 4 + 3 / 4) / 2}


def test_ties_with_the_last_one_count_as_found():
    vectors = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8], [0, 1]], np.float32)
    recall = scann_index.measure_recall(FixedIndex([[0, 2]]), vectors, vectors[:1], ks=(2,))
    assert recall == {2: 1.0}


def test_recall_against_sets_of_ids(make_items, random_unit_vectors):
    items, queries = make_items(3000), random_unit_vectors(50, seed=1)
    index = scann_index.build_index(items, IndexConfig("tree", 54, 5, reorder=30))
    found, expected = index.search(queries, 50)[0], scann_index.search_exactly(items.vectors, queries, 50)[0]
    recall = scann_index.measure_recall(index, items.vectors, queries)
    for k in (10, 50):
        shares = [len(set(f[:k]) & set(e[:k])) / k for f, e in zip(found.tolist(), expected.tolist(), strict=True)]
        assert recall[k] == pytest.approx(np.mean(shares))
    assert recall[50] < 0.95


def test_recall_rises_with_the_leaves_to_exact(make_items, random_unit_vectors):
    items, queries = make_items(3000), random_unit_vectors(50, seed=1)
    recalls = [
        scann_index.measure_recall(
            scann_index.build_index(items, IndexConfig("tree", 54, leaves, reorder=500)), items.vectors, queries
        )[50]
        for leaves in (2, 10, 54)
    ]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.6
    assert recalls[-1] > 0.99


def test_recall_of_fewer_items_than_k_and_of_no_queries(make_items, random_unit_vectors):
    items = make_items(12)
    index = scann_index.build_index(items)
    recall = scann_index.measure_recall(index, items.vectors, random_unit_vectors(5, seed=1))
    assert recall == {10: 1.0, 50: 1.0}
    with pytest.raises(ValueError, match="at least one held-out query"):
        scann_index.measure_recall(index, items.vectors, np.empty((0, 16), np.float32))


def test_index_of_the_catalogue_is_reported(items_dir, queries_dir, tmp_path):
    report = scann_index.index_items(items_dir, queries_dir, tmp_path, num_queries=25)
    assert report == scann_index.IndexReport.from_json((tmp_path / "index.json").read_text())
    assert (report.num_items, report.dim, report.num_queries) == (60, 8, 25)
    assert report.config == IndexConfig("brute_force")
    assert report.recall == {10: 1.0, 50: 1.0}
    assert 0 < report.latency_p50_ms <= report.latency_p99_ms
    assert report.size_bytes >= 60 * 8 * 4
    again = scann_index.index_items(items_dir, queries_dir, tmp_path, num_queries=25)
    assert again.recall == report.recall
