"""Properties of molecules by the contract of fine-tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from recsys_ssl.encoders.molecule.graph import MoleculeBatch, MoleculeGraph, batch_molecules
from recsys_ssl.encoders.molecule.grover import MOLECULES_SPEC, GTransformer
from recsys_ssl.encoders.molecule.predictor import MoleculePredictor
from recsys_ssl.encoders.molecule.properties import PropertyTable, read_properties
from recsys_ssl.encoders.molecule.scaffolds import scaffold_balanced, scaffold_deterministic, split_randomly
from recsys_ssl.encoders.molecule.settings import FinetuneConfig, GroverConfig
from recsys_ssl.evaluation.prediction import Task

BATCH_SPEC = MOLECULES_SPEC
SPLITS = {
    "balanced": lambda smiles, seed: scaffold_balanced(smiles, seed=seed),
    "deterministic": lambda smiles, seed: scaffold_deterministic(smiles),
    "random": lambda smiles, seed: split_randomly(smiles, seed=seed),
}
"""Name -> (texts, seed) -> split 80/10/10, by scaffold or at random; the first one is the default."""


def read_table(
    path: Path,
    column: str,
    targets: Optional[Sequence[str]],
    workers: int = 1,
    encoder: Optional[GTransformer] = None,
) -> PropertyTable:
    """See `properties.read_properties`: graphs are those of any encoder."""
    return read_properties(path, column, targets, workers)


def batch(contents: Sequence[MoleculeGraph]) -> MoleculeBatch:
    return batch_molecules(contents)


def make(encoder: GTransformer | GroverConfig, num_tasks: int, task: Task, config: FinetuneConfig) -> MoleculePredictor:
    """A predictor with a copy of the encoder, or with one from scratch of these sizes; dropout is that of `config`."""
    sizes = encoder.config if isinstance(encoder, GTransformer) else encoder
    sizes = dataclasses.replace(sizes, dropout=config.dropout)
    model = MoleculePredictor(sizes, num_tasks, task, config.heads)
    if isinstance(encoder, GTransformer):
        model.encoder.set_weights(encoder.get_weights())
    return model


def restore(encoder: dict[str, Any], num_tasks: int, task: Task, config: FinetuneConfig) -> MoleculePredictor:
    """A predictor whose weights are read afterwards; `encoder` has the fields of `GroverConfig`."""
    return MoleculePredictor(GroverConfig(**encoder), num_tasks, task, config.heads)
