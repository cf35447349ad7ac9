"""GROVER's encoder against NumPy loops over atoms and edges that read its weights, on made-up molecules."""

import gc
import math
import weakref
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.molecule import grover_layers
from recsys_ssl.encoders.molecule.graph import (
    ATOM_COLUMNS,
    ATOM_FIELDS,
    BOND_COLUMNS,
    BOND_FIELDS,
    MoleculeBatch,
    MoleculeGraph,
    batch_molecules,
)
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
from tests.encoders.molecule.grover_by_loop import (
    attend_over_heads_by_loop,
    attend_within_molecules_by_loop,
    directed_edges,
    encode_by_loop,
    expand_by_loop,
    pass_messages_by_loop,
    softmax,
    sum_neighbours_by_loop,
    sum_previous_by_loop,
)

DIM, HEADS = 8, 2
ATTENTIONS = pytest.mark.parametrize("attention", ["atoms", "heads"])


def make_config(**changes):
    return GroverConfig(**{"hidden_dim": DIM, "num_heads": HEADS, "dropout": 0.0} | changes)


def make_model(seed=1, **changes):
    """An encoder whose weights are all random, biases and slopes too."""
    model, rng = GTransformer(make_config(**changes)), np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign_add(rng.normal(scale=0.3, size=variable.shape))
    return model


def make_graph(ends, num_atoms, seed=0):
    """A molecule of random codes with these bonds."""
    rng = np.random.default_rng([seed, num_atoms])
    atoms = np.stack([rng.integers(0, max(ATOM_FIELDS[name], 2), num_atoms) for name in ATOM_COLUMNS], axis=1)
    # Code 4 of the type is a type that has no dimension of its own.
    sizes = {"type": 5, "conjugated": 2, "in_ring": 2, "stereo": 7}
    bonds = np.stack([rng.integers(0, sizes[name], len(ends)) for name in BOND_COLUMNS], axis=1)
    return MoleculeGraph(
        atoms.astype(np.uint8),
        rng.uniform(0.01, 2.0, num_atoms).astype(np.float32),
        bonds.astype(np.uint8),
        np.array(ends, np.int32).reshape(-1, 2),
    )


def make_chain(num_atoms, seed=0):
    return make_graph([(i, i + 1) for i in range(num_atoms - 1)], num_atoms, seed)


# A ring of three with a tail, and a separate pair: two fragments of one molecule.
SALT = make_graph([(0, 1), (2, 1), (2, 0), (2, 3), (5, 4)], 6)
ATOM_ALONE = make_chain(1)
UNBOUND = make_graph([], 3)
GRAPHS = [SALT, ATOM_ALONE, make_chain(4), UNBOUND]
EMPTY = batch_molecules([])


def permute(batch, seed=0):
    """The same molecules with all real atoms, all bonds and the two directions of every bond in another order.

    Returns:
        The batch, the old atom at each new row, and the old edge at each new row.
    """
    rng = np.random.default_rng(seed)
    old_atoms = np.arange(len(batch.atoms))
    num_real = int((batch.molecules < batch.num_molecules).sum())
    old_atoms[:num_real] = rng.permutation(num_real)
    old_bonds = rng.permutation(len(batch.bonds))
    turned = rng.integers(0, 2, len(old_bonds))
    old_edges = np.stack([2 * old_bonds + turned, 2 * old_bonds + 1 - turned], axis=1).ravel()
    new_atoms = np.argsort(old_atoms).astype(np.int32)
    permuted = MoleculeBatch(
        atoms=batch.atoms[old_atoms],
        masses=batch.masses[old_atoms],
        bonds=batch.bonds[old_bonds],
        sources=new_atoms[batch.sources[old_edges]],
        targets=new_atoms[batch.targets[old_edges]],
        molecules=batch.molecules[old_atoms],
        num_molecules=batch.num_molecules,
    )
    return permuted, old_atoms, old_edges


def pad_more(batch, num_atoms, num_bonds):
    """The batch with so many more padding rows."""
    edges = {"constant_values": len(batch.atoms) + num_atoms - 1}
    is_padding = batch.molecules[batch.sources] == batch.num_molecules
    last = np.int32(edges["constant_values"])
    return MoleculeBatch(
        atoms=np.pad(batch.atoms, [(0, num_atoms), (0, 0)]),
        masses=np.pad(batch.masses, (0, num_atoms)),
        bonds=np.pad(batch.bonds, [(0, num_bonds), (0, 0)]),
        sources=np.pad(np.where(is_padding, last, batch.sources), (0, 2 * num_bonds), **edges),
        targets=np.pad(np.where(is_padding, last, batch.targets), (0, 2 * num_bonds), **edges),
        molecules=np.pad(batch.molecules, (0, num_atoms), constant_values=batch.num_molecules),
        num_molecules=batch.num_molecules,
    )


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
