"""Molecules as integer codes: one row per atom and per bond, expanded to one-hot vectors by the model.

A graph of 30 atoms and 33 bonds takes 1 kB; its one-hot vectors would take 60 kB. NumPy only, so that models and
input pipelines read graphs without RDKit; `recsys_ssl.encoders.molecule.smiles` makes them.

A choice field of `n` codes counts its known values 0..n-2 in the order of its comment below; n-1 is any other value.

References:
    Rong et al. 2020, arXiv:2007.02835 (GROVER): the 151 atom and 14 bond features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

# Field -> dimensions of its expansion, in the order of the expanded vector.
ATOM_FIELDS = MappingProxyType(
    {
        "atomic_number": 101,  # 1..100
        "degree": 7,  # bonds, those to hydrogens too: 0..5
        "formal_charge": 6,  # -2..2
        "chiral_tag": 5,  # none, clockwise, counterclockwise, other
        "num_hydrogens": 6,  # 0..4
        "hybridization": 6,  # SP, SP2, SP3, SP3D, SP3D2
        "aromatic": 1,
        "mass": 1,
        "implicit_valence": 8,  # 0..6
        "h_acceptor": 1,
        "h_donor": 1,
        "acidic": 1,
        "basic": 1,
        "in_ring_3": 1,
        "in_ring_4": 1,
        "in_ring_5": 1,
        "in_ring_6": 1,
        "in_ring_7": 1,
        "in_ring_8": 1,
    }
)
BOND_FIELDS = MappingProxyType(
    {
        "null": 1,  # not stored: 1 in a row that stands for no bond
        "type": 4,  # single, double, triple, aromatic; code 4, another type, expands to zeros
        "conjugated": 1,
        "in_ring": 1,
        "stereo": 7,  # none, any, Z, E, cis, trans
    }
)
ATOM_DIM = sum(ATOM_FIELDS.values())
BOND_DIM = sum(BOND_FIELDS.values())

# Columns of `MoleculeGraph.atoms`: the choices, then the flags; the mass is apart.
ATOM_CHOICES = tuple(name for name, size in ATOM_FIELDS.items() if size > 1)
ATOM_FLAGS = tuple(name for name, size in ATOM_FIELDS.items() if size == 1 and name != "mass")
ATOM_COLUMNS = ATOM_CHOICES + ATOM_FLAGS
# Columns of `MoleculeGraph.bonds`.
BOND_COLUMNS = ("type", "conjugated", "in_ring", "stereo")
OTHER_BOND_TYPE = BOND_FIELDS["type"]
MASS_SCALE = 0.01

NUM_MOTIFS = 85
"""Functional groups of `recsys_ssl.encoders.molecule.contexts.motifs`."""

_MIN_BUCKET = 64
_HEADER = np.dtype("<i4")


class MoleculeGraph(NamedTuple):
    """One molecule; several fragments (a salt) are one graph."""

    atoms: np.ndarray
    """[num_atoms, 18] uint8 codes, columns `ATOM_COLUMNS`."""
    masses: np.ndarray
    """[num_atoms] float32, mass in dalton times 0.01; isotopes differ."""
    bonds: np.ndarray
    """[num_bonds, 4] uint8 codes, columns `BOND_COLUMNS`; each bond once."""
    ends: np.ndarray
    """[num_bonds, 2] int32, begin and end atom of the bond."""


class MoleculeBatch(NamedTuple):
    """Molecules laid flat and padded: the arrays (or the tensors of the same names) that an encoder takes.

    Real atoms and edges come first. At least one padding atom follows; padding edges, in pairs, lead from the last
    padding atom to itself. Padding codes are all zero.
    """

    atoms: np.ndarray
    """[num_atoms, 18] uint8, see `MoleculeGraph`."""
    masses: np.ndarray
    """[num_atoms] float32."""
    bonds: np.ndarray
    """[num_edges // 2, 4] uint8."""
    sources: np.ndarray
    """[num_edges] int32 atom that the directed edge leaves; edges 2k and 2k + 1 are bond k in its two directions."""
    targets: np.ndarray
    """[num_edges] int32 atom that the directed edge enters."""
    molecules: np.ndarray
    """[num_atoms] int32 molecule of the atom; `num_molecules`, one more than the last, for padding."""
    num_molecules: np.int32
    """Scalar int32, real molecules of the batch."""


def pad_to(size: int) -> int:
    """The least bucket that holds `size` rows: 64, 68, 72, ..., 128, 136, ..., 256, 272, ..., so that few shapes exist.

    Each power of two has sixteen buckets to the next: less than a sixteenth of the rows is padding.
    """
    if size <= _MIN_BUCKET:
        return _MIN_BUCKET
    width = 2 ** (math.ceil(math.log2(size)) - 5)
    return -(-size // width) * width


def batch_molecules(graphs: Sequence[MoleculeGraph]) -> MoleculeBatch:
    """Lays molecules flat, one after the other, and pads them to `pad_to` rows.

    Args:
        graphs: [num_molecules] graphs, each of at least one atom; none gives a batch of padding.
    """
    sizes = np.array([len(graph.atoms) for graph in graphs], np.int64)
    num_atoms, num_bonds = int(sizes.sum()), sum(len(graph.bonds) for graph in graphs)
    atoms = np.zeros((pad_to(num_atoms + 1), len(ATOM_COLUMNS)), np.uint8)
    masses = np.zeros(len(atoms), np.float32)
    molecules = np.full(len(atoms), len(graphs), np.int32)
    bonds = np.zeros((pad_to(2 * num_bonds) // 2, len(BOND_COLUMNS)), np.uint8)
    edges = np.full((len(bonds), 2, 2), len(atoms) - 1, np.int32)
    if graphs:
        np.concatenate([graph.atoms for graph in graphs], out=atoms[:num_atoms])
        np.concatenate([graph.masses for graph in graphs], out=masses[:num_atoms])
        np.concatenate([graph.bonds for graph in graphs], out=bonds[:num_bonds])
        molecules[:num_atoms] = np.repeat(np.arange(len(graphs)), sizes)
        first_atoms = np.cumsum(sizes) - sizes
        ends = np.concatenate([graph.ends + first for graph, first in zip(graphs, first_atoms)])
        edges[:num_bonds, 0] = ends
        edges[:num_bonds, 1] = ends[:, ::-1]
    directed = edges.reshape(-1, 2)
    return MoleculeBatch(
        atoms=atoms,
        masses=masses,
        bonds=bonds,
        sources=np.ascontiguousarray(directed[:, 0]),
        targets=np.ascontiguousarray(directed[:, 1]),
        molecules=molecules,
        num_molecules=np.int32(len(graphs)),
    )


def to_bytes(graph: MoleculeGraph) -> bytes:
    """One buffer: the numbers of atoms and bonds as int32, then ends, masses, atoms and bonds, little-endian."""
    header = np.array([len(graph.atoms), len(graph.bonds)], _HEADER)
    parts = (header, graph.ends.astype("<i4"), graph.masses.astype("<f4"), graph.atoms, graph.bonds)
    return b"".join(part.tobytes() for part in parts)


def from_bytes(buffer: bytes) -> MoleculeGraph:
    """The graph that `to_bytes` packed; its arrays are read-only views of the buffer.

    Raises:
        ValueError: the buffer is shorter or longer than its numbers of atoms and bonds say.
    """
    num_atoms, num_bonds = np.frombuffer(buffer, _HEADER, 2).tolist() if len(buffer) >= 8 else (-1, -1)
    expected = 8 + (8 + len(BOND_COLUMNS)) * num_bonds + (4 + len(ATOM_COLUMNS)) * num_atoms
    if min(num_atoms, num_bonds) < 0 or len(buffer) != expected:
        raise ValueError(
            f"a packed graph must have the length that its header tells. Received: {len(buffer)} bytes for "
            f"{num_atoms} atoms and {num_bonds} bonds. Pack the molecules again."
        )
    masses_at = 8 + 8 * num_bonds
    atoms_at = masses_at + 4 * num_atoms
    bonds_at = atoms_at + len(ATOM_COLUMNS) * num_atoms
    return MoleculeGraph(
        atoms=np.frombuffer(buffer, np.uint8, bonds_at - atoms_at, atoms_at).reshape(-1, len(ATOM_COLUMNS)),
        masses=np.frombuffer(buffer, "<f4", num_atoms, masses_at),
        bonds=np.frombuffer(buffer, np.uint8, len(buffer) - bonds_at, bonds_at).reshape(-1, len(BOND_COLUMNS)),
        ends=np.frombuffer(buffer, "<i4", 2 * num_bonds, 8).reshape(-1, 2),
    )
