"""A large variable is read whole without a copy, whatever else is read of it."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.index import embeddings, export, inverted_lists, scann_index
from recsys_ssl.index.variables import take_rows
from recsys_ssl.serving.recommender import load_recommender


def is_copied(variable):
    first, second = variable.read_value(), variable.read_value()
    addresses = {np.asarray(memoryview(value)).__array_interface__["data"][0] for value in (first, second)}
    return len(addresses) == 2


def test_rows_are_taken_without_marking_the_variable():
    vectors = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    rows = [[3, 0], [1, 1]]
    variable, gathered = tf.Variable(vectors), tf.Variable(vectors)
    np.testing.assert_array_equal(take_rows(variable, tf.constant(rows)), vectors[rows])
    assert not is_copied(variable)
    # What it is there for; when TensorFlow no longer does so, it may go.
    tf.gather(gathered, rows)
    assert is_copied(gathered)


@pytest.mark.parametrize("search", ["brute_force", "scann"])
def test_the_items_of_a_served_model_are_never_copied(search, towers_dir, items_dir, tmp_path):
    if search == "scann":
        scann_index.save_index(scann_index.build_index(embeddings.read_items(items_dir)), tmp_path / "index")
        export.export_scann(towers_dir, tmp_path / "index", tmp_path / "model")
    else:
        export.export_brute_force(towers_dir, items_dir, tmp_path / "model")
    model = load_recommender(tmp_path / "model")
    model.look_up(tf.constant([0, 1], tf.int64))
    model.find(
        {
            "user": tf.constant([""]),
            "gender": tf.constant([""]),
            "age": tf.constant([1.0]),
            "history": tf.constant([[""]]),
        },
        tf.constant(2),
    )
    assert not is_copied(model.index.vectors if search == "brute_force" else model.index.state.dataset)


def test_the_blocks_of_inverted_lists_are_never_copied(random_unit_vectors):
    vectors = random_unit_vectors(100, dim=8)
    blocks = inverted_lists.make_blocks(vectors, block_size=8)
    index = inverted_lists.InvertedLists(vectors, blocks, num_probed=2)
    index.search(tf.constant(vectors[:1]), tf.constant(2), tf.constant(0))
    index.look_up(tf.constant([0, 1]))
    assert not is_copied(index.vectors)
