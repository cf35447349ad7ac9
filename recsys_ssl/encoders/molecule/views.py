"""Masked views of molecules: some atoms and bonds of each are hidden, as in GROVER's pre-training."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from recsys_ssl import seeds
from recsys_ssl.encoders.molecule.graph import (
    ATOM_CHOICES,
    ATOM_COLUMNS,
    BOND_COLUMNS,
    OTHER_BOND_TYPE,
    MoleculeBatch,
)
from recsys_ssl.seeds import Apart

# Outside of every field, so that the one-hot vector is zero; an unknown value has a code, and a dimension, of its own.
_MASKED = 255
_MASKED_ATOM = np.array([_MASKED if name in ATOM_CHOICES else 0 for name in ATOM_COLUMNS], np.uint8)
_MASKED_BOND = np.array([{"type": OTHER_BOND_TYPE, "stereo": _MASKED}.get(name, 0) for name in BOND_COLUMNS], np.uint8)


def hide_parts(molecules: MoleculeBatch, atoms: tf.Tensor, bonds: tf.Tensor) -> MoleculeBatch:
    """The molecules with some atoms and bonds hidden: their features are all zeros once expanded.

    No real atom or bond expands to zeros, and neither does padding, so a masked one is told from all others. Bonds
    themselves stay: the encoder sees that there is an atom or a bond, and between what. Flags and counts of unmasked
    neighbours (degree, hydrogens, rings) are left alone.

    Args:
        atoms: [num_atoms] bool, the atoms to hide.
        bonds: [num_edges // 2] bool, the bonds to hide.
    """
    return molecules._replace(
        atoms=tf.where(atoms[:, tf.newaxis], _MASKED_ATOM, molecules.atoms),
        masses=tf.where(atoms, 0.0, molecules.masses),
        bonds=tf.where(bonds[:, tf.newaxis], _MASKED_BOND, molecules.bonds),
    )


def mask_molecules(molecules: MoleculeBatch, rate: float, seed: tf.Tensor) -> MoleculeBatch:
    """Hides a share of the atoms and of the bonds of each molecule, drawn uniformly: of n rows ceil(rate * n).

    Args:
        rate: in [0, 1); 0 hides nothing.
        seed: [2] int64; the same seed hides the same parts.
    """
    of_bonds = tf.gather(molecules.molecules, molecules.sources[::2])
    atoms = _draw_share(molecules.molecules, molecules.num_molecules, rate, seed)
    of_bonds_seed = seeds.apart(seed, 1, Apart.BONDS)
    return hide_parts(molecules, atoms, _draw_share(of_bonds, molecules.num_molecules, rate, of_bonds_seed))


def _draw_share(owners: tf.Tensor, num_molecules: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """[num_rows] bool; owners is the molecule of each row, ascending, `num_molecules` for padding, which has none."""
    sizes = tf.math.unsorted_segment_sum(tf.ones_like(owners), owners, num_molecules + 1)
    # The rate of a whole number of rows may be a hair above it: 0.1 * 30 > 3.
    quotas = tf.math.ceil(rate * tf.cast(sizes, tf.float64) - 1e-9)
    draws = tf.random.stateless_uniform(tf.shape(owners), seed, dtype=tf.float64)
    # The rows of a molecule in random order: owners are whole numbers and draws are below 1.
    order = tf.argsort(tf.cast(owners, tf.float64) + draws)
    places = tf.range(tf.size(owners)) - tf.gather(tf.cumsum(sizes, exclusive=True), owners)
    chosen = tf.cast(places, tf.float64) < tf.gather(quotas, owners)
    return tf.gather(chosen, tf.math.invert_permutation(order)) & (owners < num_molecules)
