"""The layers of GROVER against NumPy loops over atoms, edges and heads."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.molecule import grover_layers
from tests.encoders.molecule.grover_by_loop import (
    attend_over_heads_by_loop,
    attend_within_molecules_by_loop,
    directed_edges,
    pass_messages_by_loop,
    sum_neighbours_by_loop,
    sum_previous_by_loop,
)
from tests.encoders.molecule.made_graphs import SALT

DIM, HEADS = 8, 2


@pytest.mark.parametrize("view", ["atoms", "edges"])
@pytest.mark.parametrize("hops", [0, 1, 4])
def test_messages_equal_the_loop(view, hops):
    graph, rng = SALT, np.random.default_rng(2)
    edges = directed_edges(graph)
    sources, targets = np.array(edges, np.int32).T
    num_rows = len(graph.atoms) if view == "atoms" else len(edges)
    sums, by_loop = {
        "atoms": (grover_layers.sum_neighbours, sum_neighbours_by_loop),
        "edges": (grover_layers.sum_previous, sum_previous_by_loop),
    }[view]
    layer = grover_layers.MessagePassing(sums, DIM, num_networks=3, dropout=0.0)
    kernel, slope = layer.get_weights()
    slope = np.array([0.25, 0.0, -0.5]).reshape(slope.shape)  # each network its own
    layer.set_weights([kernel, slope])
    inputs = rng.normal(size=(num_rows, DIM)).astype(np.float32)
    actual = layer(inputs, grover_layers.Edges(sources, targets, tf.constant(len(graph.atoms))), hops)
    expected = pass_messages_by_loop(inputs, edges, kernel, slope, hops, by_loop)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_prelu_and_its_gradients_are_those_of_its_formula():
    rng = np.random.default_rng(9)
    x = tf.constant(rng.normal(size=(2, 5, 3)), tf.float32)
    upstream = tf.constant(rng.normal(size=(2, 5, 3)), tf.float32)
    slope = tf.constant([[[0.25]], [[-0.5]]])
    found = []
    formula = lambda x, slope: tf.maximum(x, 0.0) + slope * tf.minimum(x, 0.0)  # noqa: E731
    for function in (grover_layers.prelu, partial(grover_layers.prelu, training=True), formula):
        with tf.GradientTape() as tape:
            tape.watch([x, slope])
            outputs = function(x, slope)
        found.append([outputs, *tape.gradient(outputs, [x, slope], upstream)])
    for inference, training, expected in zip(*found, strict=True):
        np.testing.assert_allclose(inference, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(training, expected, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_mean_and_passes_gradients_where_it_keeps():
    layer, inputs = grover_layers.Dropout(0.25), tf.Variable(tf.fill([201, 101], 2.0))
    with tf.GradientTape() as tape:
        outputs = layer(inputs, training=True)
    kept = outputs.numpy() != 0
    # 20,301 draws: 0.25 within five standard deviations of 0.003.
    assert kept.mean() == pytest.approx(0.75, abs=0.0152)
    np.testing.assert_allclose(outputs.numpy()[kept], 2 / 0.75, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(outputs, inputs), kept / 0.75, rtol=1e-6)
    np.testing.assert_array_equal(layer(inputs, training=False), inputs)


def make_attention_inputs(num_rows, seed=3):
    return np.random.default_rng(seed).normal(size=(3, HEADS, num_rows, DIM)).astype(np.float32)


@pytest.mark.parametrize(
    "sizes", [[3, 1, 0, 5], [1], [64, 65, 2], [300, 1, 130, 129], []], ids=["small", "one", "edge", "large", "none"]
)
@pytest.mark.parametrize("in_order", [True, False])
def test_attention_within_molecules_equals_the_loop(sizes, in_order):
    # Rows in the order of their molecules or mixed, with two rows of padding.
    molecules = np.repeat(np.arange(len(sizes) + 1, dtype=np.int32), [*sizes, 2])
    if not in_order:
        molecules = np.random.default_rng(4).permutation(molecules)
    q, k, v = make_attention_inputs(len(molecules))
    groups = grover_layers.group_by_size(tf.constant(molecules), tf.constant(len(sizes)))
    expected = attend_within_molecules_by_loop(q, k, v, np.where(molecules == len(sizes), -1, molecules))
    actual = grover_layers.attend_within_molecules(*map(tf.constant, (q, k, v)), groups)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_large_molecule_pads_only_its_like():
    sizes = [500, *[30] * 60, 90]
    molecules = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    groups = grover_layers.group_by_size(tf.constant(molecules), tf.constant(len(sizes)))
    assert [tuple(group.rows.shape) for group in groups] == [(60, 30), (1, 90), (0, 0), (1, 500)]


def test_attention_over_heads_equals_the_loop():
    q, k, v = make_attention_inputs(5)
    actual = grover_layers.attend_over_heads(*map(tf.constant, (q, k, v)))
    np.testing.assert_allclose(actual, attend_over_heads_by_loop(q, k, v), rtol=1e-5, atol=1e-5)


def test_attention_over_one_head_gives_the_values():
    q, k, v = make_attention_inputs(5)[:, :1]
    actual = grover_layers.attend_over_heads(*map(tf.constant, (q, k, v)))
    np.testing.assert_allclose(actual, v.transpose([1, 0, 2]), rtol=1e-6)

    layer = grover_layers.MultiHeadAttention(DIM, 1, "heads", dropout=0.0)
    *_, value, bias, output, mixture = layer.get_weights()
    actual = layer(tf.concat([q, k, v], axis=0), [])
    np.testing.assert_allclose(actual, (v[0] @ value + bias) @ output @ mixture, rtol=1e-4, atol=1e-5)
