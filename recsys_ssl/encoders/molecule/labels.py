"""Molecules with the labels of self-supervised pre-training, packed into one buffer each.

About 1.2 kB for a drug-like molecule and 2 ms of one core to make it, half of that for the motifs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple, Union

import numpy as np

from recsys_ssl.encoders.chunks import map_chunks
from recsys_ssl.encoders.molecule.contexts import ContextVocabulary, atom_contexts, bond_contexts, motifs
from recsys_ssl.encoders.molecule.graph import NUM_MOTIFS, MoleculeGraph, from_bytes, to_bytes
from recsys_ssl.encoders.molecule.smiles import MAX_ATOMS, MoleculeError, Rejection, encode_molecule, parse

MAX_CLASSES = 1 << 16
"""Most classes of a vocabulary: classes are packed as uint16."""

_CLASS = np.dtype("<u2")
_MOTIF_BYTES = -(-NUM_MOTIFS // 8)


class LabelledMolecule(NamedTuple):
    """One molecule and its labels."""

    graph: MoleculeGraph
    atom_classes: np.ndarray
    """[num_atoms] uint16 class of each atom's context."""
    bond_classes: np.ndarray
    """[num_bonds] uint16 class of each bond's context."""
    motifs: np.ndarray
    """[85] uint8, 1 where the molecule has the functional group."""


def label_molecule(
    smiles: str, atom_vocabulary: ContextVocabulary, bond_vocabulary: ContextVocabulary, max_atoms: int = MAX_ATOMS
) -> LabelledMolecule:
    """Featurises and labels a SMILES.

    Raises:
        MoleculeError: see `recsys_ssl.encoders.molecule.smiles.parse`.
    """
    molecule = parse(smiles, max_atoms)
    return LabelledMolecule(
        graph=encode_molecule(molecule),
        atom_classes=atom_vocabulary.encode(atom_contexts(molecule)).astype(_CLASS),
        bond_classes=bond_vocabulary.encode(bond_contexts(molecule)).astype(_CLASS),
        motifs=motifs(molecule),
    )


def pack(molecule: LabelledMolecule) -> bytes:
    """One buffer: the graph, classes of atoms, classes of bonds, motifs as bits."""
    labels = (molecule.atom_classes.astype(_CLASS), molecule.bond_classes.astype(_CLASS), np.packbits(molecule.motifs))
    return to_bytes(molecule.graph) + b"".join(part.tobytes() for part in labels)


def unpack(buffer: bytes) -> LabelledMolecule:
    """The molecule that `pack` packed.

    Raises:
        ValueError: the buffer has not the length that its numbers of atoms and bonds tell.
    """
    num_atoms, num_bonds = np.frombuffer(buffer, "<i4", 2).tolist() if len(buffer) >= 8 else (0, 0)
    bonds_at = len(buffer) - _MOTIF_BYTES - _CLASS.itemsize * num_bonds
    atoms_at = bonds_at - _CLASS.itemsize * num_atoms
    graph = from_bytes(buffer[: max(atoms_at, 0)])
    return LabelledMolecule(
        graph=graph,
        atom_classes=np.frombuffer(buffer, _CLASS, num_atoms, atoms_at),
        bond_classes=np.frombuffer(buffer, _CLASS, num_bonds, bonds_at),
        motifs=np.unpackbits(np.frombuffer(buffer, np.uint8, _MOTIF_BYTES, len(buffer) - _MOTIF_BYTES))[:NUM_MOTIFS],
    )


def label_all(
    smiles: Iterable[str], atom_vocabulary: ContextVocabulary, bond_vocabulary: ContextVocabulary, workers: int = 1
) -> Iterator[Union[bytes, Rejection]]:
    """Labels a stream: one result per SMILES, in their order, packed by `pack`, or why there is none.

    For `workers` see `recsys_ssl.encoders.molecule.smiles.featurise_all`.

    Raises:
        ValueError: a vocabulary has more than `MAX_CLASSES` classes.
    """
    largest = max(atom_vocabulary.size, bond_vocabulary.size)
    if largest > MAX_CLASSES:
        raise ValueError(f"a vocabulary must have at most {MAX_CLASSES} classes. Received: {largest}. Raise min_count.")
    label = partial(_label_chunk, atom_vocabulary=atom_vocabulary, bond_vocabulary=bond_vocabulary)
    return (result for chunk in map_chunks(label, enumerate(smiles), workers) for result in chunk)


def _label_chunk(
    rows: list[tuple[int, str]], atom_vocabulary: ContextVocabulary, bond_vocabulary: ContextVocabulary
) -> list[Union[bytes, Rejection]]:
    results: list[Union[bytes, Rejection]] = []
    for row, smiles in rows:
        try:
            results.append(pack(label_molecule(smiles, atom_vocabulary, bond_vocabulary)))
        except MoleculeError as error:
            results.append(Rejection(row, error.reason, smiles))
    return results
