"""Eight data sets of MoleculeNet, read from CSV files as GROVER's repository has them.

References:
    Wu et al. 2018, arXiv:1703.00564, "MoleculeNet: a benchmark for molecular machine learning".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from recsys_ssl.encoders.molecule.properties import PropertyTable, read_properties
from recsys_ssl.encoders.molecule.scaffolds import scaffold_balanced, scaffold_deterministic
from recsys_ssl.evaluation.prediction import Split

Family = Literal["balanced", "deterministic"]


@dataclass(frozen=True)
class Dataset:
    """One file; every column but that of the SMILES is a target.

    Attributes:
        label: its name in tables.
        task: "classification" or "regression".
        rows: molecules and targets that the file has.
        smiles: column of the SMILES.
    """

    label: str
    task: str
    rows: tuple[int, int]
    smiles: str = "smiles"


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "bbbp": Dataset("BBBP", "classification", (2039, 1)),
        "bace": Dataset("BACE", "classification", (1513, 1), smiles="mol"),
        "clintox": Dataset("ClinTox", "classification", (1478, 2)),
        "tox21": Dataset("Tox21", "classification", (7831, 12)),
        "sider": Dataset("SIDER", "classification", (1427, 27)),
        "esol": Dataset("ESOL", "regression", (1128, 1)),
        "freesolv": Dataset("FreeSolv", "regression", (642, 1)),
        "lipo": Dataset("Lipo", "regression", (4200, 1)),
    }
)


def load(name: str, data: Path) -> PropertyTable:
    """Reads `NAME.csv` of a directory; rows that give no molecule are in `rejections`."""
    return read_properties(data / f"{name}.csv", DATASETS[name].smiles)


def split(smiles: list[str], family: Family, seed: int) -> Split:
    """80/10/10 by scaffold; a deterministic split is the same for every seed."""
    return scaffold_balanced(smiles, seed=seed) if family == "balanced" else scaffold_deterministic(smiles)
