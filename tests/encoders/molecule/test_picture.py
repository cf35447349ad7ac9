"""Structural formulae: the molecule of a graph is the one that was read, and its picture is one."""

import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("rdkit")
from rdkit import Chem

from recsys_ssl.encoders.molecule import picture
from recsys_ssl.encoders.molecule.graph import to_bytes
from recsys_ssl.encoders.molecule.smiles import featurise

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C[N+](C)(C)CC([O-])=O",
    "c1ccc2[nH]ccc2c1",
    "[Na+].[Cl-]",
    "F[P-](F)(F)(F)(F)F",
    "C[N+](=O)[O-]",
    "C/C=C/[C@H](N)C#N",
    "[U]",
]


@pytest.mark.parametrize("smiles", SMILES)
def test_a_graph_becomes_the_molecule_that_it_was_made_of(smiles):
    found = picture.to_molecule(featurise(smiles))
    expected = Chem.MolFromSmiles(smiles)
    assert Chem.MolToSmiles(found, isomericSmiles=False) == Chem.MolToSmiles(expected, isomericSmiles=False)


@pytest.mark.parametrize("smiles", SMILES)
def test_it_is_drawn_bond_by_bond(smiles):
    drawn = picture.draw(to_bytes(featurise(smiles)))
    assert drawn.media_type == "image/svg+xml"
    classes = {element.get("class", "") for element in ElementTree.fromstring(drawn.data).iter()}
    bonds = {part for names in classes for part in names.split() if part.startswith("bond-")}
    assert bonds == {f"bond-{number}" for number in range(Chem.MolFromSmiles(smiles).GetNumBonds())}


def test_codes_without_meaning_and_impossible_valences_are_drawn_too():
    graph = featurise("c1ccccc1C")
    atoms, bonds = graph.atoms.copy(), graph.bonds.copy()
    atoms[0, 0] = 100  # an element that the codes do not name
    bonds[-1, 0] = 4  # a bond of another type
    assert picture.draw(to_bytes(graph._replace(atoms=atoms, bonds=bonds))).data.startswith(b"<?xml")


def test_what_is_no_graph_is_told():
    with pytest.raises(ValueError, match="a packed graph must have the length"):
        picture.draw(b"no graph")
