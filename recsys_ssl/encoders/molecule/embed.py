"""Vectors of SMILES from an encoder.

from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.embed import Embedder

embedder = Embedder(store.load("build/molecules/encoder"))
vectors = embedder.embed(["CCO", "c1ccccc1"])  # [2, dim] float32
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from recsys_ssl.encoders.contract import Embedded
from recsys_ssl.encoders.embedding import embed_all
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.files import read_smiles
from recsys_ssl.encoders.molecule.graph import MoleculeBatch, MoleculeGraph, batch_molecules
from recsys_ssl.encoders.molecule.grover import MOLECULES_SPEC, embed_molecules
from recsys_ssl.encoders.molecule.smiles import Rejection, featurise_all

# Padding, and so memory, grows with the atoms of a batch: a batch is full at so many.
_BATCH_ATOMS = 4096

read = read_smiles


class Embedder:
    """Turns SMILES into vectors.

    A vector is the mean of atom_from_atom over the atoms of the molecule, then the mean of atom_from_bond.
    """

    def __init__(self, encoder: MoleculeEncoder):
        self._embed_graphs = _compile(encoder)
        self.dim = encoder.dim
        """Length of a vector."""

    def embed(self, smiles: Iterable[str], rejected: list[Rejection] | None = None, workers: int = 1) -> np.ndarray:
        """The vectors of molecules; for more than memory holds see `embed_stream`.

        Args:
            smiles: [num_molecules] texts.
            rejected: receives the SMILES that give no molecule, their rows are NaN; None: such a SMILES is an error.
            workers: processes that featurise, see `smiles.featurise_all`.

        Returns:
            [num_molecules, dim] float32.

        Raises:
            ValueError: a SMILES gives no molecule and `rejected` is None.
        """
        return embed_all(self, smiles, rejected, workers, "all SMILES must give a molecule", "do not")

    def embed_stream(self, smiles: Iterable[str], rejected: list[Rejection], workers: int = 1) -> Iterator[Embedded]:
        """Embeds a stream batch by batch; a row that comes in no batch was rejected. Arguments as in `embed`."""
        rows: list[int] = []
        graphs: list[MoleculeGraph] = []
        for row, result in enumerate(featurise_all(smiles, workers)):
            if isinstance(result, Rejection):
                rejected.append(result)
                continue
            if graphs and len(result.atoms) + sum(len(graph.atoms) for graph in graphs) > _BATCH_ATOMS:
                yield Embedded(np.array(rows), self._embed_graphs(batch_molecules(graphs)).numpy())
                rows, graphs = [], []
            rows.append(row)
            graphs.append(result)
        if graphs:
            yield Embedded(np.array(rows), self._embed_graphs(batch_molecules(graphs)).numpy())


def _compile(encoder: MoleculeEncoder) -> Callable[[MoleculeBatch], tf.Tensor]:
    """The vectors of a batch, [num_molecules, dim] float32, as a graph."""

    @tf.function(input_signature=[MOLECULES_SPEC], autograph=False)
    def embed(batch: MoleculeBatch) -> tf.Tensor:
        return embed_molecules(encoder, batch)

    return embed
