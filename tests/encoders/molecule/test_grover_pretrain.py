"""Pre-training's heads and losses: losses in NumPy arithmetic, what a mask hides, repeatable dropout."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.dropout import DropoutSeed
from recsys_ssl.encoders.molecule import contexts as molecule_contexts
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.graph import ATOM_COLUMNS, NUM_MOTIFS, MoleculeGraph, batch_molecules
from recsys_ssl.encoders.molecule.grover import expand_atoms, expand_bonds
from recsys_ssl.encoders.molecule.grover_layers import Dropout
from recsys_ssl.encoders.molecule.grover_pretrain import (
    LOSS_WEIGHTS,
    NO_TARGET,
    OTHER,
    GroverPretrainer,
    Predictions,
    PretrainBatch,
    count_correct,
    mask_targets,
    pretrain_losses,
    summarise_counts,
    total_loss,
)
from recsys_ssl.encoders.molecule.settings import GroverConfig

CONFIG = GroverConfig(hidden_dim=8, num_heads=2, dropout=0.0)
NUM_ATOM_CLASSES, NUM_BOND_CLASSES = 5, 4


def make_graph(ends, num_atoms, seed=0):
    """A molecule of ordinary codes with these bonds."""
    rng = np.random.default_rng(seed)
    ends = np.array(ends, np.int32).reshape(-1, 2)
    return MoleculeGraph(
        rng.integers(0, 2, [num_atoms, len(ATOM_COLUMNS)], np.uint8),
        rng.uniform(0.1, 0.3, num_atoms).astype(np.float32),
        rng.integers(0, 2, [len(ends), 4], np.uint8),
        ends,
    )


RING = make_graph([(0, 1), (1, 2), (2, 0), (2, 3)], 4, seed=1)
PAIR = make_graph([(0, 1)], 2, seed=2)
ION = make_graph([], 1, seed=3)


def make_batch(graphs, atoms=(), bonds=(), seed=0):
    """A batch with these targets: row -> class."""
    molecules = batch_molecules(graphs)
    atom_classes, bond_classes = (np.zeros(len(part), np.int32) for part in (molecules.atoms, molecules.bonds))
    for classes, targets in ((atom_classes, atoms), (bond_classes, bonds)):
        for row, target in dict(targets).items():
            classes[row] = target
    motifs = np.random.default_rng(seed).integers(0, 2, [len(graphs), NUM_MOTIFS], np.uint8)
    return PretrainBatch(molecules, atom_classes, bond_classes, motifs)


BATCH = make_batch([RING, PAIR, ION], {0: 2, 3: 4, 5: 1}, {1: 3, 4: 2})


@pytest.fixture(scope="module", params=[True, False], ids=["masked", "shown"])
def model(request):
    return make_model(request.param)


def make_model(mask_inputs, config=CONFIG):
    keras.utils.set_random_seed(1)
    model = GroverPretrainer(MoleculeEncoder(config), NUM_ATOM_CLASSES, NUM_BOND_CLASSES, mask_inputs)
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.2, size=variable.shape))
    return model


def flatten(predictions):
    return np.concatenate([np.ravel(tensor) for tensor in tf.nest.flatten(predictions)])


def test_classes_are_those_of_the_vocabularies():
    assert (NO_TARGET, OTHER) == (molecule_contexts.PAD, molecule_contexts.OTHER)


# --- Masks -----------------------------------------------------------------------------------------------


def test_a_masked_row_expands_to_zeros_and_no_other_row_does():
    masked = mask_targets(BATCH)
    atoms = np.any(expand_atoms(masked).numpy(), axis=1)
    assert np.flatnonzero(~atoms).tolist() == [0, 3, 5]
    np.testing.assert_array_equal(expand_atoms(masked).numpy()[atoms], expand_atoms(BATCH.molecules).numpy()[atoms])
    bonds = expand_bonds(masked).numpy()
    assert np.flatnonzero(~np.any(bonds, axis=1)).tolist() == [1, 4]
    kept = np.any(bonds, axis=1)
    np.testing.assert_array_equal(bonds[kept], expand_bonds(BATCH.molecules).numpy()[kept])


def test_an_unknown_value_is_no_mask():
    unknown = BATCH.molecules._replace(
        atoms=np.full_like(BATCH.molecules.atoms, 1) * np.array([[100, 6, 5, 4, 5, 5, 7, *[0] * 11]], np.uint8),
        masses=np.zeros_like(BATCH.molecules.masses),
        bonds=np.full_like(BATCH.molecules.bonds, 1) * np.array([[4, 0, 0, 6]], np.uint8),
    )
    assert np.any(expand_atoms(unknown).numpy(), axis=1).all()
    assert np.any(expand_bonds(unknown).numpy(), axis=1).all()


def test_a_masked_model_cannot_see_its_targets(model):
    """Any other code and mass of the targets gives the very same predictions; with inputs shown it does not."""
    rng, molecules = np.random.default_rng(7), BATCH.molecules
    expected = flatten(model(BATCH))
    for _ in range(3):
        atoms, masses, bonds = molecules.atoms.copy(), molecules.masses.copy(), molecules.bonds.copy()
        for row in (0, 3, 5):
            atoms[row] = rng.integers(0, 5, len(ATOM_COLUMNS))
            masses[row] = rng.uniform(0.0, 2.0)
        for row in (1, 4):
            bonds[row] = rng.integers(0, 4, 4)
        other = BATCH._replace(molecules=molecules._replace(atoms=atoms, masses=masses, bonds=bonds))
        found = flatten(model(other))
        if model.mask_inputs:
            np.testing.assert_array_equal(found, expected)
        else:
            assert np.abs(found - expected).max() > 1e-3


def test_what_is_no_target_is_seen(model):
    atoms = BATCH.molecules.atoms.copy()
    atoms[1, 0] = 50
    found = flatten(model(BATCH._replace(molecules=BATCH.molecules._replace(atoms=atoms))))
    assert np.abs(found - flatten(model(BATCH))).max() > 1e-3


# --- Heads -----------------------------------------------------------------------------------------------


def test_predictions_have_a_row_for_each_target_and_molecule(model):
    predictions = model(BATCH)
    assert [logits.shape for logits in predictions.atoms] == [(3, NUM_ATOM_CLASSES)] * 2
    assert [logits.shape for logits in predictions.bonds] == [(2, NUM_BOND_CLASSES)] * 2
    assert [logits.shape for logits in predictions.motifs] == [(3, NUM_MOTIFS)] * 4


def test_heads_read_their_outputs(model):
    """Every head by its own weights in NumPy, from the encoder's outputs."""
    masked = mask_targets(BATCH) if model.mask_inputs else BATCH.molecules
    outputs, predictions = [values.numpy() for values in model.encoder(masked)], model(BATCH)
    by_name = lambda layer: [weight.numpy() for weight in layer.weights]  # noqa: E731
    for values, head, logits in zip(outputs, model._atom_heads, predictions.atoms):
        kernel, bias = by_name(head)
        np.testing.assert_allclose(logits, values[[0, 3, 5]] @ kernel + bias, rtol=1e-4, atol=1e-5)
    for values, head, reverse, logits in zip(outputs[2:], model._bond_heads, model._reverse_heads, predictions.bonds):
        (kernel, bias), (back,) = by_name(head), by_name(reverse)
        forward, backward = values[[2, 8]], values[[3, 9]]
        np.testing.assert_allclose(logits, forward @ kernel + backward @ back + bias, rtol=1e-4, atol=1e-5)
    # Atoms of the three molecules, then edges; the ion has none, so that its mean is zero.
    rows = [*[(slice(0, 4), slice(4, 6), slice(6, 7))] * 2, *[(slice(0, 8), slice(8, 10), None)] * 2]
    for values, head, logits, parts in zip(outputs, model._motif_heads, predictions.motifs, rows):
        kernel, bias = by_name(head)
        means = [values[part].mean(axis=0) if part else np.zeros(8) for part in parts]
        np.testing.assert_allclose(logits, means @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_a_molecule_does_not_depend_on_its_neighbours_in_the_batch(model):
    alone = model(make_batch([PAIR], {1: 1}, {0: 2}))
    together = model(BATCH)
    np.testing.assert_allclose(alone.atoms[0][0], together.atoms[0][2], atol=1e-5)
    np.testing.assert_allclose(alone.bonds[1][0], together.bonds[1][1], atol=1e-5)
    np.testing.assert_allclose(alone.motifs[3][0], together.motifs[3][1], atol=1e-5)


# --- Losses ----------------------------------------------------------------------------------------------


def softmax(row):
    return [math.exp(x) / sum(map(math.exp, row)) for x in row]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


ATOM_LOGITS = [[[0.0, 1.0, 2.0], [0.5, -1.0, 0.0]], [[1.0, 1.0, 1.0], [0.0, 3.0, 0.0]]]
BOND_LOGITS = [[[0.0, 2.0]], [[1.0, -1.0]]]
MOTIF_LOGITS = [-2.0, 0.5, 1.5, -1.0]


@pytest.fixture
def worked():
    """Two atoms of classes 2 and 1, a bond of class 1, one molecule whose even motifs are present."""
    motifs = np.arange(NUM_MOTIFS)[None] % 2 == 0
    batch = make_batch([PAIR], {0: 2, 1: 1}, {0: 1})._replace(motifs=motifs.astype(np.uint8))
    predictions = Predictions(
        atoms=tuple(map(tf.constant, ATOM_LOGITS)),
        bonds=tuple(map(tf.constant, BOND_LOGITS)),
        motifs=tuple(tf.fill([1, NUM_MOTIFS], logit) for logit in MOTIF_LOGITS),
    )
    return predictions, batch


def test_losses_by_hand(worked):
    losses = {name: value.numpy() for name, value in pretrain_losses(*worked).items()}
    atom = sum(-math.log(softmax(branch[0])[2]) / 2 - math.log(softmax(branch[1])[1]) / 2 for branch in ATOM_LOGITS)
    bond = sum(-math.log(softmax(branch[0])[1]) for branch in BOND_LOGITS)
    # 43 of the 85 motifs are present.
    motif = sum(-(43 * math.log(sigmoid(x)) + 42 * math.log(1 - sigmoid(x))) / 85 for x in MOTIF_LOGITS)
    logs = [[[math.log(p) for p in softmax(row)] for row in branch] for branch in ATOM_LOGITS]
    atom_apart = sum((a - b) ** 2 for rows in zip(*logs) for a, b in zip(*rows)) / 6
    logs = [[math.log(p) for p in softmax(branch[0])] for branch in BOND_LOGITS]
    bond_apart = sum((a - b) ** 2 for a, b in zip(*logs)) / 2
    p = [sigmoid(x) for x in MOTIF_LOGITS]
    expected = {
        "atom_loss": atom,
        "bond_loss": bond,
        "motif_loss": motif,
        "atom_disagreement": atom_apart,
        "bond_disagreement": bond_apart,
        "motif_disagreement": (p[0] - p[1]) ** 2 + (p[2] - p[3]) ** 2,
    }
    assert losses == pytest.approx(expected, rel=1e-5)
    total = atom + bond + motif + 0.1 * atom_apart + 0.1 * bond_apart + expected["motif_disagreement"]
    assert total_loss(pretrain_losses(*worked)).numpy() == pytest.approx(total, rel=1e-5)


def test_equal_branches_do_not_disagree(worked):
    predictions, batch = worked
    same = Predictions((predictions.atoms[0],) * 2, (predictions.bonds[0],) * 2, (predictions.motifs[0],) * 4)
    losses = pretrain_losses(same, batch)
    assert [losses[name].numpy() for name in LOSS_WEIGHTS if name.endswith("disagreement")] == [0.0, 0.0, 0.0]


def test_without_bonds_their_part_is_zero_and_gradients_are_finite():
    model, batch = make_model(True), make_batch([ION, ION], {0: 2, 1: 3})
    with tf.GradientTape() as tape:
        losses = pretrain_losses(model(batch, training=True, hops=2), batch)
        loss = total_loss(losses)
    assert losses["bond_loss"].numpy() == losses["bond_disagreement"].numpy() == 0.0
    gradients = [gradient for gradient in tape.gradient(loss, model.trainable_variables) if gradient is not None]
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)


def test_every_weight_learns():
    model = make_model(True)
    with tf.GradientTape() as tape:
        loss = total_loss(pretrain_losses(model(BATCH, training=True, hops=2), BATCH))
    gradients = tape.gradient(loss, model.trainable_variables)
    # The softmax does not change when all keys of a molecule move by the same vector.
    still = [v.name for g, v in zip(gradients, model.trainable_variables) if g is None or not np.any(g.numpy())]
    assert [name for name in still if "key/bias" not in name] == []


# --- Counts ----------------------------------------------------------------------------------------------


def test_counts_by_hand(worked):
    predictions, batch = worked
    counts = {name: value.numpy() for name, value in count_correct(predictions, batch).items()}
    # Atoms: the first branch finds class 2 of the first atom only; of equal logits argmax takes class 0, and the
    # second branch finds class 1 of the second atom. Bonds: the first branch alone is right.
    expected = {"atom_targets": 2, "atom_other": 1, "atom_top1": (1 + 1) / 2}
    expected |= {"bond_targets": 1, "bond_other": 1, "bond_top1": 1 / 2}
    # Two of the four outputs predict all motifs, the others none: 43 present, 42 absent.
    expected |= {"motif_true_positives": 2 * 43, "motif_errors": 2 * 42 + 2 * 43}
    assert counts == expected
    rates = summarise_counts(counts)
    assert rates == {
        "atom_top1": 0.5,
        "atom_other": 0.5,
        "bond_top1": 0.5,
        "bond_other": 1.0,
        "motif_f1": pytest.approx(4 * 43 / (4 * 43 + 2 * 42 + 2 * 43)),
    }


def test_nothing_to_count_is_zero():
    names = ("targets", "top1", "other")
    counts = {f"{part}_{name}": 0.0 for part, name in itertools.product(("atom", "bond"), names)}
    rates = summarise_counts(counts | {"motif_true_positives": 0.0, "motif_errors": 0.0})
    assert set(rates.values()) == {0.0}


# --- Dropout ---------------------------------------------------------------------------------------------


def test_dropout_is_a_function_of_seed_and_step():
    config = GroverConfig(hidden_dim=8, num_heads=2, dropout=0.4)
    model = make_model(True, config)
    dropout = DropoutSeed(model)

    @tf.function
    def predict(step):
        dropout.reset(0, step)
        return model(BATCH, training=True, hops=tf.constant(3))

    first, again, next_step = (flatten(predict(tf.constant(step, tf.int64))) for step in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - next_step).max() > 1e-3
    # Another model, as after a restart, repeats it, in no graph too.
    restarted = make_model(True, config)
    other = DropoutSeed(restarted)
    for seed, is_same in ((0, True), (1, False)):
        other.reset(seed, tf.constant(5, tf.int64))
        found = flatten(restarted(BATCH, training=True, hops=tf.constant(3)))
        assert np.allclose(found, first, atol=1e-5) == is_same


def test_dropout_layers_and_hops_have_masks_of_their_own_and_the_right_rate():
    layer = Dropout(0.25)
    model = keras.Sequential([layer])
    dropout = DropoutSeed(model)
    dropout.reset(0, tf.constant(3, tf.int64))
    first, second = (layer(tf.ones([100, 100]), training=True).numpy() for _ in range(2))
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
    # 10,000 draws: 0.25 within five standard deviations of 0.0043.
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.022)
    assert ((first == 0) & (second == 0)).mean() == pytest.approx(0.25**2, abs=0.0125)
    np.testing.assert_array_equal(layer(tf.ones([3]), training=False), np.ones(3))
