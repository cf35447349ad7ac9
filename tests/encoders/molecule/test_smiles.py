import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from recsys_ssl.encoders.molecule.graph import (
    ATOM_COLUMNS,
    ATOM_DIM,
    ATOM_FIELDS,
    BOND_COLUMNS,
    BOND_DIM,
    BOND_FIELDS,
    MoleculeGraph,
    from_bytes,
    to_bytes,
)
from recsys_ssl.encoders.molecule.smiles import MoleculeError, Rejection, featurise, featurise_all, parse

DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "histidine": "N[C@@H](Cc1c[nH]cn1)C(=O)O",
    "penicillin": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "imatinib": "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(-c2cccnc2)n1",
    "salt": "C[N+](C)(C)C.[O-]S(=O)(=O)c1ccccc1",
    "cubane": "C12C3C4C1C5C2C3C45",
    "sulfur": "FS(F)(F)(F)(F)F",
    "isotopes": "[13CH3]C([2H])([2H])O",
    "alkyne": "C#CC/C=C/C#N",
    "dummy": "*C[Si](C)(C)[U+6]",
}

# An sp3 carbon; the tests say what differs from it.
CARBON = {
    "atomic_number": 6 - 1,
    "degree": 4,
    "formal_charge": 0 + 2,
    "chiral_tag": 0,
    "num_hydrogens": 0,
    "hybridization": 2,
    "implicit_valence": 0,
}
OXYGEN = CARBON | {"atomic_number": 8 - 1, "degree": 2}
SINGLE, DOUBLE, TRIPLE, AROMATIC, OTHER_TYPE = range(5)


def atom_codes(graph, atom=0):
    """The fields of an atom without the flags that are 0."""
    codes = dict(zip(ATOM_COLUMNS, graph.atoms[atom].tolist()))
    return {name: code for name, code in codes.items() if code or name in CARBON}


def hydrogens(number):
    return {"num_hydrogens": number, "implicit_valence": number}


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
        assert a.shape == b.shape


# --- By hand -----------------------------------------------------------------------------------------


def test_ethanol():
    graph = featurise("CCO")
    assert atom_codes(graph, 0) == CARBON | hydrogens(3)
    assert atom_codes(graph, 1) == CARBON | hydrogens(2)
    assert atom_codes(graph, 2) == OXYGEN | hydrogens(1) | {"h_acceptor": 1, "h_donor": 1}
    np.testing.assert_allclose(graph.masses, [0.12011, 0.12011, 0.15999])
    assert graph.bonds.tolist() == [[SINGLE, 0, 0, 0]] * 2
    assert graph.ends.tolist() == [[0, 1], [1, 2]]
    assert [array.dtype for array in graph] == [np.uint8, np.float32, np.uint8, np.int32]


def test_benzene():
    graph = featurise("c1ccccc1")
    carbon = CARBON | hydrogens(1) | {"degree": 3, "hybridization": 1, "aromatic": 1, "in_ring_6": 1}
    assert [atom_codes(graph, atom) for atom in range(6)] == [carbon] * 6
    assert graph.bonds.tolist() == [[AROMATIC, 1, 1, 0]] * 6
    assert sorted(map(sorted, graph.ends.tolist())) == [[0, 1], [0, 5], [1, 2], [2, 3], [3, 4], [4, 5]]


def test_acetic_acid():
    graph = featurise("CC(=O)O")
    assert atom_codes(graph, 1) == CARBON | {"degree": 3, "hybridization": 1, "acidic": 1}
    assert atom_codes(graph, 2) == OXYGEN | {"degree": 1, "hybridization": 1, "h_acceptor": 1}
    assert atom_codes(graph, 3) == OXYGEN | hydrogens(1) | {"hybridization": 1, "h_donor": 1}
    assert graph.bonds.tolist() == [[SINGLE, 0, 0, 0], [DOUBLE, 1, 0, 0], [SINGLE, 1, 0, 0]]


def test_a_quaternary_ammonium_is_charged_and_basic():
    nitrogen = atom_codes(featurise("C[N+](C)(C)C"), 1)
    assert nitrogen == CARBON | {"atomic_number": 7 - 1, "formal_charge": 1 + 2, "basic": 1}


@pytest.mark.parametrize(
    ("smiles", "code"),
    [("[N-3]", 5), ("[O-2]", 0), ("[OH-]", 1), ("O", 2), ("[NH4+]", 3), ("[Mg+2]", 4), ("[Al+3]", 5), ("[U+6]", 5)],
)
def test_each_charge_has_its_code_and_large_ones_are_unknown(smiles, code):
    assert atom_codes(featurise(smiles))["formal_charge"] == code


@pytest.mark.parametrize(
    ("smiles", "atom", "code"),
    [("C[C@@H](N)O", 1, 1), ("C[C@H](N)O", 1, 2), ("CC(N)O", 1, 0), ("F[Pt@SP1](F)(Cl)Cl", 1, 4)],
    ids=["clockwise", "counterclockwise", "unspecified", "square-planar"],
)
def test_chiral_tags(smiles, atom, code):
    assert atom_codes(featurise(smiles), atom)["chiral_tag"] == code


@pytest.mark.parametrize(
    ("smiles", "field", "code"),
    [
        ("*", "atomic_number", 100),
        ("[Fm]", "atomic_number", 99),
        ("[Md]", "atomic_number", 100),
        ("C#N", "hybridization", 0),
        ("P(F)(F)(F)(F)F", "hybridization", 3),
        ("P(F)(F)(F)(F)F", "degree", 5),
        ("S(F)(F)(F)(F)(F)F", "hybridization", 4),
        ("S(F)(F)(F)(F)(F)F", "degree", 6),
        ("[Na+]", "hybridization", 5),
        ("C", "num_hydrogens", 4),
        ("C", "implicit_valence", 4),
        ("[CH4]", "implicit_valence", 0),
    ],
)
def test_other_codes(smiles, field, code):
    assert atom_codes(featurise(smiles))[field] == code


@pytest.mark.parametrize(
    ("smiles", "bond", "codes"),
    [
        ("C#N", 0, [TRIPLE, 0, 0, 0]),
        ("C/C=C/C", 1, [DOUBLE, 0, 0, 3]),
        ("C/C=C\\C", 1, [DOUBLE, 0, 0, 2]),
        ("C1CC1", 0, [SINGLE, 0, 1, 0]),
        ("N->[Fe]", 0, [OTHER_TYPE, 0, 0, 0]),
    ],
    ids=["triple", "E", "Z", "ring", "dative"],
)
def test_bonds(smiles, bond, codes):
    assert featurise(smiles).bonds[bond].tolist() == codes


def test_an_atom_of_two_rings_has_both_sizes_and_large_rings_have_none():
    spiro = featurise("C1CC12CCCCC2")
    assert atom_codes(spiro, 2) == CARBON | {"in_ring_3": 1, "in_ring_6": 1}
    assert not featurise("C1" + "C" * 7 + "C1").atoms[:, 12:].any()


def test_isotopes_differ_in_mass():
    np.testing.assert_allclose(featurise("[2H]C").masses, [0.020141, 0.12011], atol=1e-6)


@pytest.mark.parametrize(("smiles", "num_atoms"), [("C", 1), ("[Na+].[Cl-]", 2)], ids=["methane", "salt"])
def test_a_molecule_without_bonds_keeps_its_shapes(smiles, num_atoms):
    graph = featurise(smiles)
    assert [array.shape for array in graph] == [(num_atoms, 18), (num_atoms,), (0, 4), (0, 2)]
    assert_same(from_bytes(to_bytes(graph)), graph)


def test_a_chain_of_150_atoms():
    graph = featurise("C" * 150)
    assert len(graph.atoms) == 150
    assert graph.ends.tolist() == [[i, i + 1] for i in range(149)]
    assert Counter(graph.atoms[:, ATOM_COLUMNS.index("num_hydrogens")].tolist()) == {2: 148, 3: 2}


@pytest.mark.parametrize(
    ("smiles", "reason", "message"),
    [
        ("", "empty", "must not be empty"),
        (" \t", "empty", "must not be empty"),
        ("C1CC", "unparsable", "RDKit accepts. Received: 'C1CC'"),
        ("C(C)(C)(C)(C)C", "unparsable", "RDKit accepts"),
        ("no molecule", "unparsable", "RDKit accepts"),
        ("C\udc80", "unparsable", "RDKit accepts"),
        (None, "unparsable", "Received: None"),
        ("C" * 501, "too_large", "at most 500 atoms. Received: 501"),
    ],
    ids=["empty", "blank", "open-ring", "valence", "words", "surrogate", "missing", "large"],
)
def test_a_bad_smiles_says_why(smiles, reason, message, capfd):
    with pytest.raises(MoleculeError, match=message) as caught:
        featurise(smiles)
    assert caught.value.reason == reason
    assert isinstance(caught.value, ValueError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, str(copy)) == (reason, str(caught.value))
    assert capfd.readouterr().err == ""  # RDKit prints nothing of its own


def test_the_limit_of_atoms_is_inclusive_and_can_be_raised():
    assert len(featurise("C" * 500).atoms) == 500
    donors = featurise("O" * 1200, max_atoms=1200).atoms[:, ATOM_COLUMNS.index("h_acceptor")]
    assert donors.all()  # more matches than RDKit returns by default


# --- Against the definition ----------------------------------------------------------------------------


def one_hot(code, size):
    return [float(code == i) for i in range(size)]


def expand(graph):
    """[num_atoms, 151] and [num_bonds, 14]: what a model makes of the codes."""
    atoms, bonds = [], []
    for row, mass in zip(graph.atoms.tolist(), graph.masses.tolist()):
        codes, values = dict(zip(ATOM_COLUMNS, row)), []
        for name, size in ATOM_FIELDS.items():
            values += [mass] if name == "mass" else [codes[name]] if size == 1 else one_hot(codes[name], size)
        atoms.append(values)
    for row in graph.bonds.tolist():
        codes, values = {"null": 0} | dict(zip(BOND_COLUMNS, row)), []
        for name, size in BOND_FIELDS.items():
            values += [codes[name]] if size == 1 else one_hot(codes[name], size)
        bonds.append(values)
    return np.array(atoms), np.array(bonds)


def choice(value, known):
    return [float(value == other) for other in known] + [float(value not in known)]


def define(smiles):
    """The same vectors straight from RDKit; the pharmacophore flags from its feature fingerprint."""
    molecule = Chem.MolFromSmiles(smiles)
    donor, acceptor, basic, acidic = 1, 2, 16, 32
    invariants, rings = rdMolDescriptors.GetFeatureInvariants(molecule), molecule.GetRingInfo()
    kinds = Chem.HybridizationType
    atoms = [
        choice(atom.GetAtomicNum(), range(1, 101))
        + choice(atom.GetTotalDegree(), range(6))
        + choice(atom.GetFormalCharge(), range(-2, 3))
        + choice(int(atom.GetChiralTag()), range(4))
        + choice(atom.GetTotalNumHs(), range(5))
        + choice(atom.GetHybridization(), [kinds.SP, kinds.SP2, kinds.SP3, kinds.SP3D, kinds.SP3D2])
        + [atom.GetIsAromatic(), 0.01 * atom.GetMass()]
        + choice(atom.GetValence(Chem.ValenceType.IMPLICIT), range(7))
        + [bool(invariants[i] & flag) for flag in (acceptor, donor, acidic, basic)]
        + [rings.IsAtomInRingOfSize(i, size) for size in range(3, 9)]
        for i, atom in enumerate(molecule.GetAtoms())
    ]
    types = Chem.BondType
    bonds = [
        [0]
        + choice(bond.GetBondType(), [types.SINGLE, types.DOUBLE, types.TRIPLE, types.AROMATIC])[:4]
        + [bond.GetIsConjugated(), bond.IsInRing()]
        + choice(int(bond.GetStereo()), range(6))
        for bond in molecule.GetBonds()
    ]
    ends = [[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] for bond in molecule.GetBonds()]
    return np.array(atoms, float), np.array(bonds, float), ends


def test_the_expansions_are_151_and_14_wide():
    assert (ATOM_DIM, BOND_DIM) == (151, 14)
    atoms, bonds = expand(featurise("CCO"))
    assert (atoms.shape, bonds.shape) == ((3, 151), (2, 14))


@pytest.mark.parametrize("smiles", DRUGS.values(), ids=DRUGS)
def test_codes_expand_to_the_definition(smiles):
    graph = featurise(smiles)
    atoms, bonds, ends = define(smiles)
    for expanded, defined in zip(expand(graph), (atoms, bonds)):
        np.testing.assert_allclose(expanded, defined, rtol=1e-6)
    assert graph.ends.tolist() == ends


def as_multisets(graph, ignored=()):
    """Atoms as codes and masses, bonds as codes and the atoms at their ends, without order."""
    columns = [i for i, name in enumerate(ATOM_COLUMNS) if name not in ignored]
    atoms = [(*row, mass) for row, mass in zip(graph.atoms[:, columns].tolist(), graph.masses.tolist())]
    bonds = [(*row, *sorted(atoms[end] for end in ends)) for row, ends in zip(graph.bonds.tolist(), graph.ends)]
    return Counter(atoms), Counter(bonds)


@pytest.mark.parametrize("smiles", DRUGS.values(), ids=DRUGS)
def test_the_order_of_atoms_does_not_matter(smiles):
    # Clockwise and counterclockwise are relative to the order of the neighbours.
    ignored = ("chiral_tag",) if "@" in smiles else ()
    expected = as_multisets(featurise(smiles), ignored)
    for seed in range(3):
        shuffled = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=seed)[0]
        assert as_multisets(featurise(shuffled), ignored) == expected


@pytest.mark.parametrize("smiles", ["C" * 20_001, "C" * 10_000_000, "C(" * 50_000 + "C" + ")" * 50_000])
def test_a_text_that_is_too_long_for_a_molecule_is_not_parsed(monkeypatch, smiles):
    monkeypatch.setattr(Chem, "MolFromSmiles", None)
    with pytest.raises(MoleculeError, match="at most 500 atoms. Received: a text of [0-9,]* characters") as raised:
        featurise(smiles)
    assert raised.value.reason == "too_large"
    assert len(str(raised.value)) < 250


# --- Many molecules ------------------------------------------------------------------------------------

ROWS = ["CCO", "", "c1ccccc1", "C1CC", "C" * 501, "C"]
EXPECTED = [Rejection(1, "empty", ""), Rejection(3, "unparsable", "C1CC"), Rejection(4, "too_large", "C" * 501)]


def check_results(results, rows):
    assert len(results) == len(rows)
    for row, (smiles, result) in enumerate(zip(rows, results)):
        if isinstance(result, Rejection):
            assert (result.row, result.smiles) == (row, smiles)
        else:
            assert_same(result, featurise(smiles))


@pytest.mark.parametrize("chunk_size", [1, 4, 512])
def test_a_stream_keeps_its_order_and_loses_nothing(chunk_size, monkeypatch):
    monkeypatch.setattr("recsys_ssl.encoders.chunks.CHUNK_SIZE", chunk_size)
    results = list(featurise_all(iter(ROWS)))
    check_results(results, ROWS)
    assert [result for result in results if isinstance(result, Rejection)] == EXPECTED


def test_workers_give_the_same(monkeypatch):
    monkeypatch.setattr("recsys_ssl.encoders.chunks.CHUNK_SIZE", 16)
    rows = (ROWS + list(DRUGS.values())) * 8
    results = list(featurise_all(rows, workers=2))
    check_results(results, rows)
    assert Counter(r.reason for r in results if isinstance(r, Rejection)) == {
        "empty": 8,
        "unparsable": 8,
        "too_large": 8,
    }


def test_a_stream_is_read_as_its_results_are_taken():
    endless = featurise_all(itertools.repeat("C"))
    assert len(list(itertools.islice(endless, 3))) == 3
    assert list(featurise_all([])) == []


def test_workers_must_be_positive():
    with pytest.raises(ValueError, match="workers must be at least 1. Received: workers=0"):
        featurise_all(["C"], workers=0)


# --- Atom maps -------------------------------------------------------------------------------------------

MAPPABLE = [
    "CCO",
    "O=C(OCc1ccccc1)c1ccc(C)cc1",
    "c1cc[nH]c1",
    "C[C@H](N)C(=O)O",
    "C/C=C\\C",
    "[Na+].[Cl-]",
    "[13CH4]",
    "C[N+](C)(C)C",
    "CC(=O)[O-]",
    "[CH3]",
    "CS(=O)(=O)c1ccc(F)cc1Br",
    "OB(O)c1ccccc1",
    "[2H]C",
    "CP(C)C",
    "C[Si](C)(C)C",
    "c1ccc2[nH]ccc2c1",
    "O=c1cc[nH]cc1",
]


def with_map(smiles, first=1):
    """The same atoms in the same order, each with a number."""
    molecule = Chem.MolFromSmiles(smiles)
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(first + atom.GetIdx())
    return Chem.MolToSmiles(molecule, canonical=False)


def without_map(mapped):
    """RDKit's text of the mapped molecule, its numbers cleared."""
    molecule = Chem.MolFromSmiles(mapped)
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(0)
    # Read again: brackets that only held a number go.
    return Chem.MolToSmiles(molecule, canonical=False)


@pytest.mark.parametrize("smiles", MAPPABLE)
def test_an_atom_map_changes_nothing(smiles):
    mapped = with_map(smiles)
    plain = without_map(mapped)
    assert ":" in mapped
    ours, expected = featurise(mapped), featurise(plain)
    for name in MoleculeGraph._fields:
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name), err_msg=f"{name} of {mapped}")
    assert Chem.MolToSmiles(parse(mapped)) == Chem.MolToSmiles(parse(plain)) == Chem.CanonSmiles(smiles)


def test_an_atom_map_of_a_part_changes_nothing():
    ours, expected = featurise("[CH3:7]Cc1ccccc1[OH:2]"), featurise("CCc1ccccc1O")
    for name in MoleculeGraph._fields:
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name))


def test_bonds_written_by_a_colon_are_no_map():
    ours, expected = featurise("c1:c:c:c:c:c:1"), featurise("c1ccccc1")
    for name in MoleculeGraph._fields:
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name))
