"""GROVER's encoder against NumPy loops over atoms and edges that read its weights, on made-up molecules."""

import gc
import math
import weakref

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.molecule.graph import ATOM_FIELDS, BOND_FIELDS, MoleculeBatch, batch_molecules
from recsys_ssl.encoders.molecule.grover import (
    Features,
    GTransformer,
    SelfAttentiveReadout,
    draw_hops,
    edge_molecules,
    expand_atoms,
    expand_bonds,
    hop_probabilities,
    mean_readout,
)
from recsys_ssl.encoders.molecule.settings import GroverConfig
from recsys_ssl.seeds import set_initial_weights
from tests.encoders.molecule.grover_by_loop import encode_by_loop, expand_by_loop, softmax
from tests.encoders.molecule.made_graphs import ATOM_ALONE, EMPTY, GRAPHS, SALT, UNBOUND, make_chain, pad_more, permute

DIM, HEADS = 8, 2
ATTENTIONS = pytest.mark.parametrize("attention", ["atoms", "heads"])


def make_config(**changes):
    return GroverConfig(**{"hidden_dim": DIM, "num_heads": HEADS, "dropout": 0.0} | changes)


def make_model(seed=1, **changes):
    """An encoder whose weights are all random, biases and slopes too."""
    set_initial_weights(seed)
    model, rng = GTransformer(make_config(**changes)), np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign_add(rng.normal(scale=0.3, size=variable.shape))
    return model


def of_molecule(batch, outputs, molecule):
    """The rows of one molecule."""
    atoms = batch.molecules == molecule
    edges = batch.molecules[batch.sources] == molecule
    return [tensor.numpy()[rows] for tensor, rows in zip(outputs, (atoms, atoms, edges, edges))]


def is_finite(tensors):
    return all(np.isfinite(tensor).all() for tensor in tensors)


# --- Features ----------------------------------------------------------------------------------------------


def test_codes_expand_to_the_one_hot_vectors_of_the_loop():
    batch = batch_molecules([SALT])
    atoms, edges = expand_by_loop(SALT)
    assert atoms.shape[1] == sum(ATOM_FIELDS.values()) == 151
    assert edges.shape[1] == 151 + sum(BOND_FIELDS.values()) == 165
    np.testing.assert_allclose(expand_atoms(batch)[: len(atoms)], atoms)
    assert expand_atoms(batch).shape == (len(batch.atoms), 151)
    kernel = np.random.default_rng(6).normal(size=(165, 3)).astype(np.float32)
    features = Features(expand_atoms(batch), expand_bonds(batch), batch.sources)
    np.testing.assert_allclose(features.project_atoms(kernel[:151])[: len(atoms)], atoms @ kernel[:151], rtol=1e-4)
    assert features.project_edges(kernel).shape == (len(batch.sources), 3)
    np.testing.assert_allclose(features.project_edges(kernel)[: len(edges)], edges @ kernel, rtol=1e-4, atol=1e-5)


# --- Size --------------------------------------------------------------------------------------------------


def count_by_hand(dim, heads):
    """The parameters of one block per view and of four feed-forward networks."""
    count = 0
    for features in (151, 165):
        projection = features * dim + 1 + 2 * dim
        messages = 3 * heads * (dim * dim + 1)
        attention = 3 * (dim * dim + dim) + dim * dim + heads * dim * dim
        feed_forward = (features + dim + 1) * 4 * dim + 1 + (4 * dim + 1) * dim + 2 * dim
        count += projection + messages + attention + 2 * dim + 2 * feed_forward
    return count


@ATTENTIONS
@pytest.mark.parametrize(("size", "millions"), [("base", 48.4), ("large", 107.1)])
def test_the_encoder_has_as_many_parameters_as_the_paper_tells(size, millions, attention):
    config = GroverConfig(GroverConfig.SIZES[size], attention=attention)
    with tf.Graph().as_default():  # variables without values
        count = sum(variable.shape.num_elements() for variable in GTransformer(config).trainable_variables)
    assert count == count_by_hand(config.hidden_dim, 4)
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "num_heads must divide hidden_dim. Received: num_heads=3, hidden_dim=8."),
        ({"depth": 0}, "depth must be 1 or more"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"attention": "bonds"}, "attention must be one of"),
    ],
)
def test_a_config_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


# --- Against the loops -------------------------------------------------------------------------------------


@ATTENTIONS
@pytest.mark.parametrize("hops", [0, 1, 3])
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_the_encoder_equals_the_loop(attention, hops, num_blocks):
    model = make_model(attention=attention, num_blocks=num_blocks)
    batch = batch_molecules(GRAPHS)
    outputs = model(batch, hops=hops)
    for molecule, graph in enumerate(GRAPHS):
        if len(graph.ends):
            for actual, expected in zip(of_molecule(batch, outputs, molecule), encode_by_loop(model, graph, hops)):
                np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_self_attentive_readout_equals_the_loop(scale):
    rng, batch = np.random.default_rng(5), batch_molecules(GRAPHS)
    values = scale * rng.normal(size=(len(batch.atoms), DIM)).astype(np.float32)
    layer = SelfAttentiveReadout(attn_hidden=6, attn_out=3)
    actual = layer(values, batch.molecules, batch.num_molecules)
    first, second = layer.get_weights()
    expected = []
    for molecule in range(len(GRAPHS)):
        rows = values[batch.molecules == molecule]
        scores = (np.tanh(rows @ first) @ second).T
        expected.append(np.concatenate([softmax(of_mean) @ rows for of_mean in scores]))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_mean_readout_is_the_mean_of_real_rows():
    values = tf.constant([[2.0, 0.0], [9.0, 9.0], [4.0, 1.0], [5.0, 6.0]])
    actual = mean_readout(values, tf.constant([0, 3, 0, 2]), tf.constant(3))
    np.testing.assert_allclose(actual, [[(2 + 4) / 2, (0 + 1) / 2], [0, 0], [5, 6]])


def test_a_molecule_without_bonds_reads_zeros_off_its_edges():
    batch = batch_molecules(GRAPHS)
    values = tf.ones([len(batch.sources), DIM])
    molecules = edge_molecules(batch)
    has_bonds = [float(len(graph.ends) > 0) for graph in GRAPHS]
    np.testing.assert_allclose(mean_readout(values, molecules, batch.num_molecules)[:, 0], has_bonds)
    actual = SelfAttentiveReadout(4, 2)(values, molecules, batch.num_molecules)
    np.testing.assert_allclose(actual, np.outer(has_bonds, np.ones(2 * DIM)), rtol=1e-6)


# --- Invariance --------------------------------------------------------------------------------------------


@ATTENTIONS
def test_the_order_of_atoms_and_edges_does_not_matter(attention):
    model, batch = make_model(attention=attention, num_blocks=2), batch_molecules(GRAPHS)
    permuted, old_atoms, old_edges = permute(batch)
    expected, actual = model(batch), model(permuted)
    for order, before, after in zip((old_atoms, old_atoms, old_edges, old_edges), expected, actual):
        padding = (permuted.molecules if order is old_atoms else permuted.molecules[permuted.sources]) == len(GRAPHS)
        np.testing.assert_allclose(after.numpy()[~padding], before.numpy()[order][~padding], rtol=1e-5, atol=1e-5)


@ATTENTIONS
def test_the_other_molecules_of_a_batch_and_its_padding_do_not_matter(attention):
    model, others = make_model(attention=attention), [make_chain(70, seed=7), *GRAPHS[1:]]
    alone, together = batch_molecules([SALT]), batch_molecules([*others, SALT])
    padded = pad_more(alone, num_atoms=50, num_bonds=3000)
    expected = of_molecule(alone, model(alone), 0)
    for batch, molecule in ((together, len(others)), (padded, 0)):
        for actual, rows in zip(of_molecule(batch, model(batch), molecule), expected):
            np.testing.assert_allclose(actual, rows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("attention", "reaches"), [("atoms", True), ("heads", False)])
def test_only_attention_over_atoms_reaches_beyond_the_messages(attention, reaches):
    model, chain = make_model(attention=attention), make_chain(12)
    changed = chain._replace(masses=chain.masses + np.eye(12, dtype=np.float32)[11])
    before, after = (model(batch_molecules([graph])).atom_from_atom[0] for graph in (chain, changed))
    assert (np.abs(before - after).max() > 1e-4) == reaches


# --- Bad shapes of molecules -------------------------------------------------------------------------------


@ATTENTIONS
@pytest.mark.parametrize(
    "batch",
    [EMPTY, batch_molecules([ATOM_ALONE]), batch_molecules([UNBOUND]), pad_more(batch_molecules([SALT]), 5, 4000)],
    ids=["all padding", "one atom", "no bond", "much padding"],
)
def test_odd_batches_are_finite_with_finite_gradients(batch, attention):
    model, readout = make_model(attention=attention, dropout=0.1, depth=8), SelfAttentiveReadout(4, 2)
    with tf.GradientTape() as tape:
        outputs = model(batch, training=True, hops=7)
        molecules = (batch.molecules, batch.molecules, edge_molecules(batch), edge_molecules(batch))
        vectors = [readout(values, of, batch.num_molecules) for values, of in zip(outputs, molecules)]
        loss = tf.add_n([tf.reduce_sum(vector**2) for vector in vectors])
    assert is_finite(outputs)
    assert is_finite(vectors)
    assert [vector.shape for vector in vectors] == [(batch.num_molecules, 2 * DIM)] * 4
    gradients = tape.gradient(loss, model.trainable_variables)
    assert is_finite(tf.convert_to_tensor(gradient) for gradient in gradients)


# --- Hops, traces, graphs ----------------------------------------------------------------------------------


def test_hop_probabilities_are_those_of_the_truncated_normal():
    def below(z):
        return (1 + math.erf(z / math.sqrt(2))) / 2

    inside = below(3) - below(-3)
    # Depth 3: no hop for x in [0, 2), n hops for x in [n + 1, n + 2), x with mean 3.
    expected = [
        below(-1) - below(-3),
        below(0) - below(-1),
        below(1) - below(0),
        below(2) - below(1),
        below(3) - below(2),
    ]
    np.testing.assert_allclose(hop_probabilities(3), np.array(expected) / inside, rtol=1e-12)
    # Depth 6: x in [3, 9), 2..7 hops.
    np.testing.assert_allclose(hop_probabilities(6)[:2], [0, 0])
    np.testing.assert_allclose(hop_probabilities(6) @ np.arange(8), 6 - 1.5)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_hops_are_drawn_with_their_probabilities(depth):
    draw_all = tf.function(lambda numbers: tf.map_fn(lambda number: draw_hops(depth, [number, 0]), numbers))
    draws = draw_all(tf.range(2000)).numpy()
    shares = np.bincount(draws, minlength=depth + 2) / len(draws)
    assert len(shares) == depth + 2
    np.testing.assert_allclose(shares, hop_probabilities(depth), atol=4 * math.sqrt(0.25 / len(draws)))
    assert draw_hops(depth, [5, 6]) == draw_hops(depth, [5, 6])


def test_training_draws_hops_and_inference_does_not():
    model, batch = make_model(), batch_molecules([SALT])
    by_hops = [model(batch, hops=hops).bond_from_bond.numpy() for hops in range(5)]
    np.testing.assert_array_equal(model(batch).bond_from_bond, by_hops[3 - 1])
    np.testing.assert_array_equal(model(batch).bond_from_bond, by_hops[3 - 1])
    tf.random.set_seed(8)
    drawn = []
    for _ in range(25):
        outputs = model(batch, training=True).bond_from_bond
        drawn += [hops for hops, expected in enumerate(by_hops) if np.allclose(outputs, expected, rtol=0, atol=1e-6)]
    assert len(drawn) == 25
    assert len(set(drawn)) >= 3


def test_dropout_is_for_training_only():
    model, batch = make_model(dropout=0.5), batch_molecules([SALT])
    same, other = (model(batch, training=training, hops=2).atom_from_bond for training in (False, True))
    np.testing.assert_array_equal(same, model(batch, hops=2).atom_from_bond)
    assert not np.allclose(same, other)


@ATTENTIONS
def test_one_trace_serves_all_hop_counts_and_all_batches_of_a_bucket(attention):
    model = make_model(attention=attention, dropout=0.1)

    @tf.function
    def loss_of(batch, hops):
        return tf.add_n([tf.reduce_mean(output) for output in model(batch, training=True, hops=hops)])

    losses = [
        loss_of(MoleculeBatch(*map(tf.constant, batch_molecules(graphs))), tf.constant(hops))
        for graphs, hops in ((GRAPHS, 0), (GRAPHS, 4), ([SALT], 1), ([make_chain(30)], 2), ([], 3))
    ]
    assert is_finite(losses)
    assert loss_of.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("training", [False, True])
def test_a_graph_is_freed_with_its_function(training):
    model, batch = make_model(dropout=0.1), batch_molecules(GRAPHS)

    def trace():
        @tf.function(autograph=False)
        def find_gradients():
            with tf.GradientTape() as tape:
                loss = tf.add_n([tf.reduce_sum(output**2) for output in model(batch, training=training)])
            return tape.gradient(loss, model.trainable_variables)

        return weakref.ref(find_gradients.get_concrete_function().graph)

    graph = trace()
    gc.collect()
    assert graph() is None


@ATTENTIONS
def test_eager_equals_graph(attention):
    model, batch = make_model(attention=attention), batch_molecules(GRAPHS)

    def step():
        with tf.GradientTape() as tape:
            outputs = model(batch)
            loss = tf.add_n([tf.reduce_sum(output[:8] ** 2) for output in outputs])
        return [*outputs, *map(tf.convert_to_tensor, tape.gradient(loss, model.trainable_variables))]

    for eager, graph in zip(step(), tf.function(step)(), strict=True):
        np.testing.assert_allclose(graph, eager, rtol=1e-3, atol=1e-4)
