"""Sets of MoleculeNet with one target as problems of the small graph convolution."""

from __future__ import annotations

from pathlib import Path

from benchmarks.molecules.datasets import DATASETS, load
from benchmarks.tuning.convolution import Problem
from benchmarks.tuning.neighbourhoods import find_neighbourhoods
from recsys_ssl.encoders.molecule.scaffolds import split_randomly


def load_problem(dataset: str, data: Path, seed: int) -> Problem:
    """Molecules of `DATASET.csv` in a directory, split at random, 80/10/10.

    The split is random as that of the paper on samplers; its figures are not those of scaffold splits.

    Args:
        seed: of the split.
    """
    table = load(dataset, data)
    parts = split_randomly(table.texts, seed=seed)
    return Problem(find_neighbourhoods(table.contents), table.targets, parts, DATASETS[dataset].task)
