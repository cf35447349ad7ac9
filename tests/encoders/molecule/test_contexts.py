import dataclasses
import itertools
import json
import random
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem

from recsys_ssl.encoders.molecule.contexts import (
    MOTIFS,
    OTHER,
    PAD,
    ContextVocabulary,
    atom_contexts,
    bond_contexts,
    count_contexts,
    motifs,
)
from recsys_ssl.encoders.molecule.graph import NUM_MOTIFS
from recsys_ssl.encoders.molecule.smiles import Rejection, parse

SINGLE, DOUBLE, AROMATIC = (f"({kind}-STEREONONE-NONE)" for kind in ("SINGLE", "DOUBLE", "AROMATIC"))
DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "penicillin": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "salt": "C[N+](C)(C)C.[O-]S(=O)(=O)c1ccccc1",
    "cubane": "C12C3C4C1C5C2C3C45",
    "alkene": "C#CC/C=C/C#N",
    "complex": "N->[Fe](<-N)(Cl)Cl",
}


# --- Contexts by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "contexts"),
    [
        ("CC(=O)O", ["C_C-SINGLE1", "C_C-SINGLE1_O-DOUBLE1_O-SINGLE1", "O_C-DOUBLE1", "O_C-SINGLE1"]),
        ("c1ccccc1", ["C_C-AROMATIC2"] * 6),
        ("C1CC1", ["C_C-SINGLE2"] * 3),
        ("[Na+].[Cl-]", ["Na", "Cl"]),
        ("NC(=N)N", ["N_C-SINGLE1", "C_N-DOUBLE1_N-SINGLE2", "N_C-DOUBLE1", "N_C-SINGLE1"]),
        ("N->[Fe]", ["N_Fe-DATIVE1", "Fe_N-DATIVE1"]),
    ],
    ids=["acetic-acid", "benzene", "cyclopropane", "salt", "guanidine", "dative"],
)
def test_contexts_of_atoms(smiles, contexts):
    assert atom_contexts(parse(smiles)) == contexts


@pytest.mark.parametrize(
    ("smiles", "contexts"),
    [
        ("C", []),
        ("CC", [SINGLE]),
        ("CO", [SINGLE]),
        # The key names the end of the bond, not the neighbour: C for the carbon in the middle.
        ("CCO", [f"{SINGLE}_C-{SINGLE}1"] * 2),
        ("COC", [f"{SINGLE}_O-{SINGLE}1"] * 2),
        ("c1ccccc1", [f"{AROMATIC}_C-{AROMATIC}2"] * 6),
        ("C1CC1", [f"{SINGLE}_C-{SINGLE}2"] * 3),
        (
            "CC(=O)O",
            [f"{SINGLE}_C-{DOUBLE}1_C-{SINGLE}1", f"{DOUBLE}_C-{SINGLE}2", f"{SINGLE}_C-{DOUBLE}1_C-{SINGLE}1"],
        ),
        (
            "C/C=C/C",
            [
                "(SINGLE-STEREONONE-ENDUPRIGHT)_C-(DOUBLE-STEREOE-NONE)1",
                "(DOUBLE-STEREOE-NONE)_C-(SINGLE-STEREONONE-ENDUPRIGHT)2",
                "(SINGLE-STEREONONE-ENDUPRIGHT)_C-(DOUBLE-STEREOE-NONE)1",
            ],
        ),
    ],
    ids=["methane", "ethane", "methanol", "ethanol", "ether", "benzene", "cyclopropane", "acetic-acid", "E-butene"],
)
def test_contexts_of_bonds(smiles, contexts):
    assert bond_contexts(parse(smiles)) == contexts


# --- Against the definition ------------------------------------------------------------------------------


def render(head, keys):
    return "".join([head, *(f"_{key}{count}" for key, count in sorted(Counter(keys).items()))])


def bond_name(bond):
    return f"({bond.GetBondType()}-{bond.GetStereo()}-{bond.GetBondDir()})"


def slow_contexts(molecule):
    """The definition, by looking up each neighbour."""
    atoms = [
        render(atom.GetSymbol(), [f"{bond.GetOtherAtom(atom).GetSymbol()}-{bond.GetBondType()}" for bond in bonds])
        for atom in molecule.GetAtoms()
        for bonds in [atom.GetBonds()]
    ]
    bonds = [
        render(
            bond_name(bond),
            [
                f"{end.GetSymbol()}-{bond_name(other)}"
                for end in (bond.GetBeginAtom(), bond.GetEndAtom())
                for other in end.GetBonds()
                if other.GetIdx() != bond.GetIdx()
            ],
        )
        for bond in molecule.GetBonds()
    ]
    return atoms, bonds


@pytest.mark.parametrize("smiles", DRUGS.values(), ids=DRUGS)
def test_contexts_equal_the_definition(smiles):
    molecule = parse(smiles)
    assert (atom_contexts(molecule), bond_contexts(molecule)) == slow_contexts(molecule)


@pytest.mark.parametrize("smiles", DRUGS.values(), ids=DRUGS)
def test_the_order_of_atoms_does_not_matter(smiles):
    molecule = parse(smiles)
    # Where a double bond has a stereo, the direction of the bonds beside it is the SMILES writer's choice.
    compared = (atom_contexts,) if "/" in smiles else (atom_contexts, bond_contexts, motifs)
    for seed in range(3):
        shuffled = parse(Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=seed)[0])
        for contexts in compared:
            assert Counter(contexts(shuffled)) == Counter(contexts(molecule))
        np.testing.assert_array_equal(motifs(shuffled), motifs(molecule))


# --- Motifs ----------------------------------------------------------------------------------------------


def test_there_are_85_motifs_in_order_of_their_names():
    assert len(MOTIFS) == NUM_MOTIFS == 85
    assert list(MOTIFS) == sorted(MOTIFS)
    assert MOTIFS[:4] == ("fr_Al_COO", "fr_Al_OH", "fr_Al_OH_noTert", "fr_ArN")
    assert MOTIFS[-1] == "fr_urea"


@pytest.mark.parametrize(
    ("smiles", "names"),
    [
        ("C", set()),
        ("c1ccccc1", {"fr_benzene"}),
        ("CCO", {"fr_Al_OH", "fr_Al_OH_noTert"}),
        ("CC(=O)O", {"fr_Al_COO", "fr_COO", "fr_COO2", "fr_C_O"}),
        ("NC(N)=O", {"fr_urea", "fr_NH2", "fr_C_O", "fr_C_O_noCOO", "fr_priamide", "fr_amide"}),
        ("C[N+](C)(C)C", {"fr_quatN", "fr_NH0"}),
    ],
    ids=["methane", "benzene", "ethanol", "acetic-acid", "urea", "ammonium"],
)
def test_motifs(smiles, names):
    found = motifs(parse(smiles))
    assert (found.dtype, found.shape) == (np.uint8, (85,))
    assert {name for name, present in zip(MOTIFS, found) if present} == names


# --- Vocabularies ----------------------------------------------------------------------------------------

COUNTS = {"C_C-SINGLE1": 2, "N": 1, "O": 5, "B": 2}


def test_tokens_are_sorted_by_count_and_then_alphabetically():
    vocabulary = ContextVocabulary.from_counts(COUNTS)
    assert vocabulary.tokens == ("O", "B", "C_C-SINGLE1", "N")
    assert vocabulary.size == 2 + 4
    shuffled = random.Random(0).sample(sorted(COUNTS.items()), 4)
    assert ContextVocabulary.from_counts(dict(shuffled)) == vocabulary


def test_rare_tokens_and_those_beyond_the_largest_size_are_left_out():
    assert ContextVocabulary.from_counts(COUNTS, min_count=2).tokens == ("O", "B", "C_C-SINGLE1")
    assert ContextVocabulary.from_counts(COUNTS, max_size=2).tokens == ("O", "B")
    assert ContextVocabulary.from_counts(COUNTS, min_count=3, max_size=2).tokens == ("O",)
    for options in ({"min_count": 0}, {"max_size": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            ContextVocabulary.from_counts(COUNTS, **options)


def test_classes_begin_after_pad_and_other():
    vocabulary = ContextVocabulary.from_counts(COUNTS)
    classes = vocabulary.encode(["B", "O", "Xe", "O"])
    assert (PAD, OTHER) == (0, 1)
    assert classes.tolist() == [3, 2, OTHER, 2]
    assert classes.dtype == np.int32
    assert vocabulary.encode([]).shape == (0,)
    assert ContextVocabulary(()).encode(["C"]).tolist() == [OTHER]


def test_the_json_is_frozen_and_read_back():
    vocabulary = ContextVocabulary.from_counts(COUNTS, min_count=2)
    text = '{\n  "tokens": [\n    "O",\n    "B",\n    "C_C-SINGLE1"\n  ]\n}\n'
    assert vocabulary.to_json() == text
    assert ContextVocabulary.from_json(text) == vocabulary
    with pytest.raises(dataclasses.FrozenInstanceError):
        vocabulary.tokens = ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a vocabulary must be"),
        ('{"tokens": "C"}', "a vocabulary must be"),
        ('{"tokens": ["C", 1]}', "a vocabulary must be"),
        ('{"tokens": ["C", "N", "C"]}', "tokens must be distinct. Received: 'C' 2 times"),
    ],
)
def test_other_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        ContextVocabulary.from_json(text)


# --- Counting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, 3, 512])
def test_one_pass_counts_both_and_tells_what_it_could_not(chunk_size, monkeypatch):
    monkeypatch.setattr("recsys_ssl.encoders.chunks.CHUNK_SIZE", chunk_size)
    counts = count_contexts(iter(["CCO", "", "CC", "C1CC", "CCO", "C"]))
    assert counts.atoms == {"C_C-SINGLE1": 2 + 2, "C_C-SINGLE1_O-SINGLE1": 2, "O_C-SINGLE1": 2, "C": 1}
    assert counts.bonds == {f"{SINGLE}_C-{SINGLE}1": 4, SINGLE: 1}
    assert counts.num_molecules == 4
    assert counts.rejections == [Rejection(1, "empty", ""), Rejection(3, "unparsable", "C1CC")]


def test_the_order_of_molecules_does_not_change_a_vocabulary():
    texts = set()
    for seed in range(3):
        counts = count_contexts(random.Random(seed).sample(sorted(DRUGS.values()), len(DRUGS)))
        texts.add(tuple(ContextVocabulary.from_counts(c).to_json() for c in (counts.atoms, counts.bonds)))
    assert len(texts) == 1
    (atom_json, _) = texts.pop()
    expected = Counter(itertools.chain.from_iterable(atom_contexts(parse(smiles)) for smiles in DRUGS.values()))
    assert json.loads(atom_json)["tokens"] == sorted(expected, key=lambda token: (-expected[token], token))
