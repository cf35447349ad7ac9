"""Molecules as counts of distinct neighbourhoods of atoms, so that a graph convolution computes each of them once.

After l layers the vector of an atom depends on its neighbourhood of radius l alone, so atoms with the same one, in a
molecule or in several, share a vector: their classes are those of the colour refinement of Weisfeiler and Leman. A
convolution over classes gives the numbers and gradients of one over atoms, to rounding, for a fraction of the time: a
batch of 96 molecules of FreeSolv has 840 atoms, of 230 classes of radius 1 and 400 of radius 2.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from recsys_ssl.encoders.molecule.graph import MoleculeGraph

MOST_LAYERS = 3


@dataclass(frozen=True)
class Neighbourhoods:
    """The classes of the atoms of a data set.

    Attributes:
        features: [num_classes of radius 0, num_features] float32, codes of atoms as one-hot vectors.
        links: per radius l = 1, 2, ..., [num_classes, 2 * num_classes of radius l - 1]: at column 2c a 1 where the atom
            itself is of class c, at 2c + 1 the number of its neighbours that are.
        contents: per radius l = 0, 1, ..., [num_molecules, num_classes], the number of atoms of each class.
    """

    features: np.ndarray
    links: tuple[csr_matrix, ...]
    contents: tuple[csr_matrix, ...]

    @property
    def num_molecules(self) -> int:
        return self.contents[0].shape[0]


class Batch(NamedTuple):
    """Some molecules and the classes that they are made of."""

    features: np.ndarray
    """[num_classes of radius 0, num_features]."""
    links: tuple[csr_matrix, ...]
    """As of `Neighbourhoods`, their rows and columns."""
    transposed: tuple[csr_matrix, ...]
    """The same, for gradients."""
    contents: csr_matrix
    """[num_molecules, num_classes of the largest radius]."""
    contents_transposed: csr_matrix
    sizes: np.ndarray
    """[num_molecules, 1] float32 atoms."""


def find_neighbourhoods(graphs: Sequence[MoleculeGraph]) -> Neighbourhoods:
    """The classes of all atoms up to radius `MOST_LAYERS`."""
    sizes = np.array([len(graph.atoms) for graph in graphs])
    molecules = np.repeat(np.arange(len(graphs)), sizes)
    first = np.cumsum(sizes) - sizes
    neighbours: list[list[int]] = [[] for _ in molecules]
    for graph, start in zip(graphs, first):
        for begin, end in (graph.ends + start).tolist():
            neighbours[begin].append(end)
            neighbours[end].append(begin)
    codes = np.concatenate([graph.atoms for graph in graphs])
    distinct, classes = np.unique(codes, axis=0, return_inverse=True)
    contents, links = [_count(molecules, classes, len(graphs))], []
    for _ in range(MOST_LAYERS):
        before = classes.tolist()
        keys = [
            (before[atom], tuple(sorted(before[other] for other in neighbours[atom]))) for atom in range(len(codes))
        ]
        numbers = _number(keys)
        classes = np.array([numbers[key] for key in keys])
        links.append(_link(numbers, max(before) + 1))
        contents.append(_count(molecules, classes, len(graphs)))
    return Neighbourhoods(_expand(distinct), tuple(links), tuple(contents))


def _number(keys: Iterable[Hashable]) -> dict[Hashable, int]:
    return {key: number for number, key in enumerate(dict.fromkeys(keys))}


def _count(molecules: np.ndarray, classes: np.ndarray, num_molecules: int) -> csr_matrix:
    shape = num_molecules, int(classes.max()) + 1
    return csr_matrix((np.ones(len(classes), np.float32), (molecules, classes)), shape)


def _link(numbers: dict, num_before: int) -> csr_matrix:
    rows, columns = [], []
    for (own, others), number in numbers.items():
        rows += [number] * (1 + len(others))
        columns += [2 * own, *(2 * other + 1 for other in others)]
    # Neighbours of one class are summed.
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(numbers), 2 * num_before))


def _expand(codes: np.ndarray) -> np.ndarray:
    """[num_classes, num_columns] codes as one-hot vectors of the values that there are, but for what never varies."""
    columns = [codes[:, [column]] == np.unique(codes[:, column])[None] for column in range(codes.shape[1])]
    return np.concatenate([found for found in columns if found.shape[1] > 1], axis=1).astype(np.float32)


def take(whole: Neighbourhoods, rows: np.ndarray, layers: int) -> Batch:
    """The molecules of some rows, for a convolution of so many layers."""
    contents, classes = _keep_columns(whole.contents[layers][rows])
    links = []
    for radius in range(layers, 0, -1):
        link = whole.links[radius - 1][classes]
        classes = np.unique(link.indices // 2)
        places = 2 * np.searchsorted(classes, link.indices // 2) + link.indices % 2
        links.append(csr_matrix((link.data, places, link.indptr), (link.shape[0], 2 * len(classes))))
    links.reverse()
    return Batch(
        whole.features[classes],
        tuple(links),
        tuple(link.T.tocsr() for link in links),
        contents,
        contents.T.tocsr(),
        np.asarray(contents.sum(axis=1), np.float32),
    )


def _keep_columns(matrix: csr_matrix) -> tuple[csr_matrix, np.ndarray]:
    """A matrix without its empty columns, and the places of the others."""
    kept = np.unique(matrix.indices)
    places = np.searchsorted(kept, matrix.indices)
    return csr_matrix((matrix.data, places, matrix.indptr), (matrix.shape[0], len(kept))), kept
