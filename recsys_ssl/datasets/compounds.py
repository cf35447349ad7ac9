"""Measured activities of compounds on protein targets as a feedback log: a target is a query, a compound an item."""

from __future__ import annotations

import pandas as pd
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

_RADIUS = 1  # bonds around the atom of a substructure


def describe_compounds(smiles: pd.Series) -> pd.DataFrame:
    """What a compound is made of, as categorical features; values of one feature are joined with `|`.

    Args:
        smiles: [num_compounds] str.

    Returns:
        scaffold: Bemis-Murcko scaffold as SMILES, empty without a ring; rings: SMILES of its rings; substructures:
        Morgan identifiers of every atom's surroundings up to one bond (hexadecimal); heavy_atoms: their number.

    Raises:
        ValueError: a SMILES that RDKit cannot read.

    References:
        Bemis and Murcko 1996, J. Med. Chem. Rogers and Hahn 2010, J. Chem. Inf. Model.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=_RADIUS)
    return pd.DataFrame([_describe(text, generator) for text in smiles], index=smiles.index)


def _describe(smiles: str, generator) -> dict[str, object]:
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"a compound must be a valid SMILES. Received: {smiles!r}. Remove the row.")
    rings = {Chem.MolFragmentToSmiles(molecule, ring) for ring in molecule.GetRingInfo().AtomRings()}
    return {
        "scaffold": MurckoScaffold.MurckoScaffoldSmiles(mol=molecule),
        "rings": "|".join(sorted(rings)),
        "substructures": "|".join(
            sorted(f"{key:08x}" for key in generator.GetSparseCountFingerprint(molecule).GetNonzeroElements())
        ),
        "heavy_atoms": molecule.GetNumHeavyAtoms(),
    }
