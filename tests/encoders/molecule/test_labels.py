"""Labelled molecules: what they hold, that packing loses nothing, and that bad SMILES are told."""

import numpy as np
import pytest

from recsys_ssl.encoders.molecule import labels as molecule_labels
from recsys_ssl.encoders.molecule.contexts import MOTIFS, OTHER, ContextVocabulary
from recsys_ssl.encoders.molecule.labels import label_all, label_molecule, pack, unpack
from recsys_ssl.encoders.molecule.smiles import Rejection, featurise

ATOMS = ContextVocabulary(("C_C-SINGLE1", "O_C-SINGLE1"))
BONDS = ContextVocabulary(("(SINGLE-STEREONONE-NONE)_C-(SINGLE-STEREONONE-NONE)1",))


def test_labels_of_ethanol():
    found = label_molecule("CCO", ATOMS, BONDS)
    assert found.atom_classes.tolist() == [2, OTHER, 3]
    assert found.bond_classes.tolist() == [2, 2]
    assert {MOTIFS[i] for i in np.flatnonzero(found.motifs)} == {"fr_Al_OH", "fr_Al_OH_noTert"}
    for ours, theirs in zip(found.graph, featurise("CCO")):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("smiles", ["CCO", "[Na+]", "O.O", "CC(=O)Oc1ccccc1C(=O)O"])
def test_packing_loses_nothing(smiles):
    given = label_molecule(smiles, ATOMS, BONDS)
    found = unpack(pack(given))
    for ours, theirs in zip((*found.graph, *found[1:]), (*given.graph, *given[1:])):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("cut", [0, 4, 20, -1])
def test_a_cut_buffer_is_an_error(cut):
    with pytest.raises(ValueError, match="packed graph"):
        unpack(pack(label_molecule("CCO", ATOMS, BONDS))[:cut])


def test_a_stream_keeps_its_order_and_tells_rejections(monkeypatch):
    monkeypatch.setattr("recsys_ssl.encoders.chunks.CHUNK_SIZE", 2)
    smiles = ["CCO", "C1CC", "", "CC"]
    found = list(label_all(smiles, ATOMS, BONDS))
    assert [found[1], found[2]] == [Rejection(1, "unparsable", "C1CC"), Rejection(2, "empty", "")]
    assert [found[0], found[3]] == [pack(label_molecule(text, ATOMS, BONDS)) for text in ("CCO", "CC")]


def test_a_vocabulary_that_does_not_fit_is_an_error(monkeypatch):
    monkeypatch.setattr(molecule_labels, "MAX_CLASSES", 3)
    with pytest.raises(ValueError, match="at most 3 classes. Received: 4"):
        label_all(["C"], ATOMS, BONDS)
