"""Made-up molecules of random codes, and batches that hold the same ones in another way."""

import numpy as np

from recsys_ssl.encoders.molecule.graph import (
    ATOM_COLUMNS,
    ATOM_FIELDS,
    BOND_COLUMNS,
    MoleculeBatch,
    MoleculeGraph,
    batch_molecules,
)


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
