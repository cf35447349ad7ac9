"""Masked views of molecules: how much of each is hidden, and that the seed decides what."""

import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.molecule.graph import batch_molecules
from recsys_ssl.encoders.molecule.grover import expand_atoms, expand_bonds
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.encoders.molecule.views import hide_parts, mask_molecules

# Of 3, 1, 13, 2, 40 and 10 atoms.
BATCH = batch_molecules(
    [featurise(s) for s in ("CCO", "C", "CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C" * 40, "C" * 10)]
)
BOND_OWNERS = BATCH.molecules[BATCH.sources[::2]]
NUM_MOLECULES = 6


def hidden_of(masked):
    """[num_atoms] and [num_bonds] bool: rows whose codes changed."""
    return (masked.atoms != BATCH.atoms).numpy().any(axis=1), (masked.bonds != BATCH.bonds).numpy().any(axis=1)


def test_what_is_hidden_expands_to_zeros_and_nothing_else_changes():
    atoms, bonds = np.zeros(len(BATCH.atoms), bool), np.zeros(len(BATCH.bonds), bool)
    atoms[[0, 5]], bonds[1] = True, True
    masked = hide_parts(BATCH, tf.constant(atoms), tf.constant(bonds))
    before, after = expand_atoms(BATCH).numpy(), expand_atoms(masked).numpy()
    assert not after[atoms].any()
    np.testing.assert_array_equal(after[~atoms], before[~atoms])
    shown = expand_bonds(masked).numpy()
    assert not shown[bonds].any()
    np.testing.assert_array_equal(shown[~bonds], expand_bonds(BATCH).numpy()[~bonds])


@pytest.mark.parametrize("rate", [0.15, 0.1, 0.5, 0.99])
def test_a_share_of_each_molecule_is_hidden_and_no_padding(rate):
    for mask in (mask_molecules, tf.function(mask_molecules)):
        hidden = hidden_of(mask(BATCH, rate, tf.constant([1, 2], tf.int64)))
        for rows, owners in zip(hidden, (BATCH.molecules, BOND_OWNERS)):
            sizes = np.bincount(owners, minlength=NUM_MOLECULES + 1)[:NUM_MOLECULES]
            # Ten atoms at a rate of 0.1 are one, not two by a rounding error.
            expected = [math.ceil(round(rate * size, 6)) for size in sizes]
            assert np.bincount(owners[rows], minlength=NUM_MOLECULES + 1).tolist() == [*expected, 0]


def test_a_rate_of_zero_hides_nothing():
    masked = mask_molecules(BATCH, 0.0, tf.constant([1, 2], tf.int64))
    for found, expected in zip(masked, BATCH):
        np.testing.assert_array_equal(found, expected)


def test_the_seed_decides_and_all_parts_are_equally_likely():
    mask = tf.function(lambda seed: mask_molecules(BATCH, 0.25, seed), autograph=False)
    masks = [hidden_of(mask(tf.constant([1, step], tf.int64))) for step in range(400)]
    again = hidden_of(mask_molecules(BATCH, 0.25, tf.constant([1, 7], tf.int64)))
    for found, expected in zip(again, masks[7]):
        np.testing.assert_array_equal(found, expected)
    for part, owners in enumerate((BATCH.molecules, BOND_OWNERS)):
        share = np.mean([mask[part] for mask in masks], axis=0)
        rows = owners == 5  # decane: 3 of 10 atoms, 3 of 9 bonds
        expected = 3 / rows.sum()
        np.testing.assert_allclose(share[rows], expected, atol=5 * np.sqrt(expected * (1 - expected) / 400))
    # The atoms and the bonds of a molecule are drawn apart.
    chain = [(mask[0][BATCH.molecules == 4][:39] == mask[1][BOND_OWNERS == 4]).all() for mask in masks]
    assert not any(chain)
