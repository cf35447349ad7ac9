"""Packed graphs as people see them: structural formulae in SVG, drawn by RDKit where that is installed."""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D

from recsys_ssl.encoders.contract import Picture
from recsys_ssl.encoders.molecule.graph import (
    ATOM_COLUMNS,
    ATOM_FIELDS,
    BOND_COLUMNS,
    MoleculeGraph,
    from_bytes,
)

_SIZE = 240
_BONDS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
_COLUMN = {name: place for place, name in enumerate(ATOM_COLUMNS)}
_OF_ATOM = ("atomic_number", "formal_charge", "num_hydrogens")
_TYPE = BOND_COLUMNS.index("type")


def draw(packed: bytes) -> Picture:
    """The structural formula, without wedges.

    Raises:
        ValueError: it is no packed graph.
    """
    molecule = to_molecule(from_bytes(packed))
    drawer = rdMolDraw2D.MolDraw2DSVG(_SIZE, _SIZE)
    drawer.drawOptions().clearBackground = False  # type: ignore[assignment]
    with rdBase.BlockLogs():
        try:
            prepared = rdMolDraw2D.PrepareMolForDrawing(molecule)
        except (Chem.KekulizeException, Chem.AtomValenceException):
            prepared = rdMolDraw2D.PrepareMolForDrawing(molecule, kekulize=False, forceCoords=True)
    drawer.DrawMolecule(prepared)
    drawer.FinishDrawing()
    return Picture("image/svg+xml", drawer.GetDrawingText().encode("utf-8"))


def to_molecule(graph: MoleculeGraph) -> Chem.Mol:
    """RDKit's molecule of a graph; what codes do not tell (rare elements, charges and bonds, sides) is left open."""
    molecule = Chem.RWMol()
    for codes in graph.atoms.tolist():
        number, charge, hydrogens = (codes[_COLUMN[name]] for name in _OF_ATOM)
        atom = Chem.Atom(number + 1 if number < ATOM_FIELDS["atomic_number"] - 1 else 0)
        atom.SetFormalCharge(charge - 2 if charge < ATOM_FIELDS["formal_charge"] - 1 else 0)
        atom.SetNumExplicitHs(hydrogens if hydrogens < ATOM_FIELDS["num_hydrogens"] - 1 else 0)
        atom.SetNoImplicit(True)
        atom.SetIsAromatic(bool(codes[_COLUMN["aromatic"]]))
        molecule.AddAtom(atom)
    for (begin, end), codes in zip(graph.ends.tolist(), graph.bonds.tolist(), strict=True):
        kind = codes[_TYPE]
        molecule.AddBond(begin, end, _BONDS[kind] if kind < len(_BONDS) else Chem.BondType.ZERO)
        molecule.GetBondBetweenAtoms(begin, end).SetIsAromatic(kind == len(_BONDS) - 1)
    found = molecule.GetMol()
    found.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(found)
    return found
