"""A pre-trained molecule encoder on disk, and vectors of molecules from it.

from recsys_ssl.encoders.molecule.embed import MoleculeEncoder

encoder = MoleculeEncoder.load("build/molecules/encoder")
vectors = encoder.embed(["CCO", "c1ccccc1"])  # [2, dim] float32
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recsys_ssl import artifacts
from recsys_ssl.encoders.config import PretrainConfig
from recsys_ssl.encoders.molecule.contexts import ContextVocabulary
from recsys_ssl.encoders.molecule.graph import MoleculeBatch, MoleculeGraph, batch_molecules
from recsys_ssl.encoders.molecule.grover import GroverConfig, GTransformer, embed_molecules
from recsys_ssl.encoders.molecule.shards import ATOM_VOCABULARY_FILE, BOND_VOCABULARY_FILE
from recsys_ssl.encoders.molecule.smiles import Rejection, featurise_all
from recsys_ssl.encoders.pretrain_step import MOLECULES_SPEC

_CONFIG_FILE, _WEIGHTS_FILE = "config.json", "weights.npz"
# Padding, and so memory, grows with the atoms of a batch: a batch is full at so many.
_BATCH_ATOMS = 4096


def save_encoder(
    encoder: GTransformer,
    directory: str | os.PathLike,
    pretraining: PretrainConfig,
    atom_vocabulary: ContextVocabulary,
    bond_vocabulary: ContextVocabulary,
) -> None:
    """Writes weights, settings and the vocabularies that the encoder learnt with; replaces what was there."""
    settings = artifacts.to_json({"grover": encoder.config, "pretrain": pretraining})
    with artifacts.whole_directory(directory) as unfinished:
        (unfinished / _CONFIG_FILE).write_text(settings, encoding="utf-8")
        (unfinished / ATOM_VOCABULARY_FILE).write_text(atom_vocabulary.to_json(), encoding="utf-8")
        (unfinished / BOND_VOCABULARY_FILE).write_text(bond_vocabulary.to_json(), encoding="utf-8")
        np.savez(unfinished / _WEIGHTS_FILE, *encoder.get_weights())


def load_encoder(directory: str | os.PathLike) -> GTransformer:
    """The encoder that `save_encoder` wrote, a pre-training run to WORKDIR/encoder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: its weights are those of another encoder.
    """
    directory = Path(directory)
    if not (directory / _CONFIG_FILE).is_file() or not (directory / _WEIGHTS_FILE).is_file():
        raise FileNotFoundError(
            f"a molecule encoder must have {_CONFIG_FILE} and {_WEIGHTS_FILE}. Received: {str(directory)!r}. "
            "Name the directory encoder/ of a finished `recsys-ssl pretrain molecule`."
        )
    settings = json.loads((directory / _CONFIG_FILE).read_text(encoding="utf-8"))
    encoder = GTransformer(GroverConfig(**settings["grover"]))
    with np.load(directory / _WEIGHTS_FILE) as stored:
        weights = [stored[f"arr_{i}"] for i in range(len(stored.files))]
    if [weight.shape for weight in weights] != [weight.shape for weight in encoder.weights]:
        raise ValueError(
            f"{_WEIGHTS_FILE} must fit {_CONFIG_FILE}. Received: {len(weights)} weights, {len(encoder.weights)} "
            f"expected, in {str(directory)!r}. Write the encoder again."
        )
    encoder.set_weights(weights)
    return encoder


def read_pretraining(directory: str | os.PathLike) -> PretrainConfig:
    """The settings that made the encoder of a directory.

    Raises:
        FileNotFoundError: there is none.
    """
    return PretrainConfig(**json.loads((Path(directory) / _CONFIG_FILE).read_text(encoding="utf-8"))["pretrain"])


class EmbeddedMolecules(NamedTuple):
    """Some molecules of a stream and their vectors."""

    rows: np.ndarray
    """[num_molecules] int64 place of each SMILES among those given."""
    vectors: np.ndarray
    """[num_molecules, dim] float32."""


class MoleculeEncoder:
    """An encoder that turns SMILES into vectors.

    A vector is the mean of atom_from_atom over the atoms of the molecule, then the mean of atom_from_bond.
    """

    def __init__(self, encoder: GTransformer):
        self._embed_graphs = _compile(encoder)
        self.dim = 2 * encoder.config.hidden_dim
        """Length of a vector."""

    @classmethod
    def load(cls, directory: str | os.PathLike) -> MoleculeEncoder:
        """Reads WORKDIR/encoder of a pre-training run; raises as `load_encoder`."""
        return cls(load_encoder(directory))

    def embed(self, smiles: Iterable[str], rejected: list[Rejection] | None = None, workers: int = 1) -> np.ndarray:
        """The vectors of molecules; for more than memory holds see `embed_stream`.

        Args:
            smiles: [num_molecules] texts.
            rejected: receives the SMILES that give no molecule, their rows are NaN; None: such a SMILES is an error.
            workers: processes that featurise, see `recsys_ssl.encoders.molecule.smiles.featurise_all`.

        Returns:
            [num_molecules, dim] float32.

        Raises:
            ValueError: a SMILES gives no molecule and `rejected` is None.
        """
        smiles = list(smiles)
        found: list[Rejection] = []
        vectors = np.full([len(smiles), self.dim], np.nan, np.float32)
        for batch in self.embed_stream(smiles, found, workers):
            vectors[batch.rows] = batch.vectors
        if rejected is None and found:
            row, reason, text = found[0]
            raise ValueError(
                f"all SMILES must give a molecule. Received: {len(found)} of {len(smiles)} that do not, the first "
                f"{text!r:.99} at {row} ({reason}). Remove them, or pass rejected=[] to have them listed."
            )
        if rejected is not None:
            rejected.extend(found)
        return vectors

    def embed_stream(
        self, smiles: Iterable[str], rejected: list[Rejection], workers: int = 1
    ) -> Iterator[EmbeddedMolecules]:
        """Embeds a stream batch by batch; a row that comes in no batch was rejected. Arguments as in `embed`."""
        rows: list[int] = []
        graphs: list[MoleculeGraph] = []
        for row, result in enumerate(featurise_all(smiles, workers)):
            if isinstance(result, Rejection):
                rejected.append(result)
                continue
            if graphs and len(result.atoms) + sum(len(graph.atoms) for graph in graphs) > _BATCH_ATOMS:
                yield EmbeddedMolecules(np.array(rows), self._embed_graphs(batch_molecules(graphs)).numpy())
                rows, graphs = [], []
            rows.append(row)
            graphs.append(result)
        if graphs:
            yield EmbeddedMolecules(np.array(rows), self._embed_graphs(batch_molecules(graphs)).numpy())


def _compile(encoder: GTransformer) -> Callable[[MoleculeBatch], tf.Tensor]:
    """The vectors of a batch, [num_molecules, dim] float32, as a graph."""

    @tf.function(input_signature=[MOLECULES_SPEC], autograph=False)
    def embed(batch: MoleculeBatch) -> tf.Tensor:
        return embed_molecules(encoder, batch)

    return embed
