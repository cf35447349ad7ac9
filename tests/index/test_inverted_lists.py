"""Inverted lists against exact search."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.index import export, inverted_lists, scann_index

NUM_ITEMS, DIM, BLOCK = 3000, 16, 16


@pytest.fixture(scope="module")
def vectors():
    """Items around 40 places, one of which has a fifth of them, some of these equal."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(40, DIM))
    place = np.where(rng.random(NUM_ITEMS) < 0.2, 0, rng.integers(40, size=NUM_ITEMS))
    vectors = (places[place] + 0.5 * rng.normal(size=(NUM_ITEMS, DIM))).astype(np.float32)
    vectors[:20] = vectors[0]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def blocks(vectors):
    return inverted_lists.make_blocks(vectors, BLOCK)


def test_every_item_is_in_one_block_and_blocks_are_well_filled(blocks, vectors):
    rows = blocks.rows[blocks.rows >= 0]
    assert sorted(rows.tolist()) == list(range(NUM_ITEMS))
    assert blocks.rows.shape[1] == BLOCK
    assert NUM_ITEMS / blocks.rows.size > 0.75
    for mean, of_block in zip(blocks.means, blocks.rows):
        np.testing.assert_allclose(mean, vectors[of_block[of_block >= 0]].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("k", [1, 10, 200, NUM_ITEMS + 5])
def test_when_every_block_is_scored_the_search_is_exact(blocks, vectors, k):
    index = inverted_lists.InvertedLists(vectors, blocks, num_probed=len(blocks.means))
    queries = vectors[::500] + 0.1
    scores, rows = index.search(tf.constant(queries), tf.constant(k), tf.constant(0))
    _, exact_scores = scann_index.search_exactly(vectors, queries, k)
    np.testing.assert_allclose(scores, exact_scores, atol=1e-5)
    np.testing.assert_allclose(np.einsum("qd,qkd->qk", queries, vectors[rows.numpy()]), scores, atol=1e-5)


def test_few_blocks_give_what_lies_in_the_nearest(blocks, vectors):
    """A loop in its place: the blocks whose means score best, and the best of their items."""
    index = inverted_lists.InvertedLists(vectors, blocks, num_probed=3)
    query = vectors[7] + 0.2
    scores, rows = index.search(tf.constant(query[np.newaxis]), tf.constant(5), tf.constant(2))
    nearest = np.argsort(-blocks.means @ query)[:3]
    items = [row for block in nearest for row in blocks.rows[block] if row >= 0]
    expected = sorted((float(vectors[row] @ query) for row in items), reverse=True)[:7]
    np.testing.assert_allclose(scores[0], expected, atol=1e-5)
    assert set(rows.numpy()[0]) <= set(items)


def test_more_items_than_the_blocks_of_a_search_hold_take_more_blocks(blocks, vectors):
    index = inverted_lists.InvertedLists(vectors, blocks, num_probed=1)
    scores, _ = index.search(tf.constant(vectors[:1]), tf.constant(300), tf.constant(50))
    assert np.isfinite(scores.numpy()).all()
    assert scores.shape == (1, 350)


def test_vectors_are_found_by_row(blocks, vectors):
    index = inverted_lists.InvertedLists(vectors, blocks, num_probed=1)
    rows = np.array([[5, NUM_ITEMS - 1], [0, 77]])
    np.testing.assert_array_equal(index.look_up(tf.constant(rows)), vectors[rows])


@pytest.mark.parametrize("recall", [0.9, 0.95, 0.99])
def test_so_many_blocks_are_searched_that_the_recall_is_reached_and_no_more(blocks, vectors, recall):
    queries = vectors[np.random.default_rng(1).choice(NUM_ITEMS, 100)] + 0.05
    best, _ = scann_index.search_exactly(vectors, queries, 10)
    probed = inverted_lists.choose_num_probed(blocks, queries, best, recall)

    def measure(num_probed):
        index = inverted_lists.InvertedLists(vectors, blocks, num_probed)
        rows = index.search(tf.constant(queries), tf.constant(10), tf.constant(0))[1].numpy()
        return np.mean([len(set(found) & set(wanted)) / 10 for found, wanted in zip(rows, best)])

    assert measure(probed) >= recall
    assert probed == 1 or measure(probed - 1) < recall
    assert probed < len(blocks.means) / 2


def test_the_export_searches_large_catalogues_only_in_part(vectors):
    index = export.make_inverted_lists(vectors, vectors[:50] + 0.05, num_best=10)
    assert isinstance(index, inverted_lists.InvertedLists)
    assert index._block_size == inverted_lists.choose_block_size(NUM_ITEMS) == 2 ** round(np.log2(NUM_ITEMS**0.5 / 5))
    assert 1 <= index.num_probed < index.num_blocks
