"""Scaffold splits of hand-made molecules, against the rules worked by hand and chemprop's loop over sets."""

from collections import defaultdict
from random import Random

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from recsys_ssl.encoders.molecule.scaffolds import (
    scaffold,
    scaffold_balanced,
    scaffold_deterministic,
    split_randomly,
)
from recsys_ssl.encoders.molecule.smiles import MoleculeError
from recsys_ssl.evaluation.prediction import Split

SCAFFOLD_SPLITS = pytest.mark.parametrize("split", [scaffold_balanced, scaffold_deterministic])
SPLITS = pytest.mark.parametrize("split", [scaffold_balanced, scaffold_deterministic, split_randomly])


def make_molecules(seed=0):
    """[100] SMILES: 40 chains, 15 benzenes, 5 pyridines and 40 rings of their own, in random order."""
    chains = ["C" * (1 + i % 20) for i in range(40)]
    benzenes = ["c1ccccc1" + "C" * i for i in range(15)]
    pyridines = ["c1ccncc1" + "C" * i for i in range(5)]
    linked = ["c1ccccc1" + "C" * i + "C1CCCCC1" for i in range(40)]  # the linker is part of the scaffold
    smiles = chains + benzenes + pyridines + linked
    return [smiles[i] for i in np.random.default_rng(seed).permutation(len(smiles))]


def check_parts(split, num_molecules):
    assert isinstance(split, Split)
    assert np.concatenate(split).dtype == np.int64
    assert sorted(np.concatenate(split).tolist()) == list(range(num_molecules))
    assert all(np.all(np.diff(part) > 0) for part in split)


class TestScaffold:
    @pytest.mark.parametrize(
        ("smiles", "expected"),
        [
            ("CCO", ""),
            ("CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1"),
            ("CCc1ccc(CCC2CCCCC2O)cc1", "c1ccc(CCC2CCCCC2)cc1"),
            ("C[C@H]1CC[C@@H](O)CC1", "C1CCCCC1"),
            ("[CH3:1][C:2](=[O:3])[c:4]1[cH:5][cH:6][cH:7][cH:8][cH:9]1", "c1ccccc1"),
            ("C[c:2]1[cH:1]cc[nH:9]1", "c1cc[nH]c1"),
        ],
        ids=["chain", "aspirin", "linked rings", "stereo", "atom map", "atom map of a part"],
    )
    def test_keeps_rings_and_linkers(self, smiles, expected):
        assert scaffold(smiles) == expected

    def test_is_that_of_chemprop_for_mapped_molecules(self):
        for smiles in make_molecules():
            molecule = Chem.MolFromSmiles(smiles)
            for atom in molecule.GetAtoms():
                atom.SetAtomMapNum(len(smiles) + atom.GetIdx())
            mapped = Chem.MolToSmiles(molecule)
            assert scaffold(mapped) == scaffold(smiles)
            # chemprop clears the numbers of the molecule and takes its scaffold.
            for atom in molecule.GetAtoms():
                atom.SetAtomMapNum(0)
            assert scaffold(mapped) == MurckoScaffold.MurckoScaffoldSmiles(mol=molecule)


@SCAFFOLD_SPLITS
def test_a_split_does_not_see_an_atom_map(split):
    smiles = make_molecules()
    mapped = list(smiles)
    for row in range(0, 100, 2):
        molecule = Chem.MolFromSmiles(smiles[row])
        for atom in molecule.GetAtoms():
            atom.SetAtomMapNum(1 + (row * 7 + atom.GetIdx()) % 50)
        mapped[row] = Chem.MolToSmiles(molecule)
    for part, expected in zip(split(mapped), split(smiles)):
        assert part.tolist() == expected.tolist()


class TestBalanced:
    def test_no_scaffold_is_in_two_parts(self):
        smiles = make_molecules()
        split = scaffold_balanced(smiles, seed=3)
        check_parts(split, 100)
        found = [{scaffold(smiles[row]) for row in part} for part in split]
        assert not found[0] & found[1]
        assert not found[0] & found[2]
        assert not found[1] & found[2]
        assert [len(part) for part in split] == [80, 10, 10]  # singletons fill every gap

    @pytest.mark.parametrize("seed", range(4))
    def test_is_the_split_of_chemprop(self, seed):
        smiles = make_molecules(seed)
        split = scaffold_balanced(smiles, (0.7, 0.2, 0.1), seed)
        for part, expected in zip(split, split_like_chemprop(smiles, (0.7, 0.2, 0.1), seed)):
            assert part.tolist() == sorted(expected)

    def test_large_scaffolds_go_to_train(self):
        smiles = make_molecules()
        for seed in range(5):
            train = scaffold_balanced(smiles, seed=seed).train
            assert sum(scaffold(smiles[row]) in ("", "c1ccccc1") for row in train) == 40 + 15

    def test_seeds_differ_and_repeat(self):
        smiles = make_molecules()
        tests = [scaffold_balanced(smiles, seed=seed).test.tolist() for seed in (0, 1, 0)]
        assert tests[0] == tests[2]
        assert tests[0] != tests[1]


class TestDeterministic:
    def test_the_largest_come_first_and_of_equals_the_last_row(self):
        # Rows 0, 2 and 5 have no ring, 1 and 3 are benzenes; 4, 6, 7, 8 and 9 are alone.
        rings = {4: "C1CC1", 6: "C1CCC1", 7: "C1CCCC1", 8: "C1CCCCC1", 9: "C1CCCCCC1"}
        smiles = [rings.get(row, "c1ccccc1C" if row in (1, 3) else "CCO") for row in range(10)]
        split = scaffold_deterministic(smiles)
        check_parts(split, 10)
        # Room of 8: the chains, the benzenes, then 9, 8, 7; room until 9: 6; the rest: 4.
        assert split.train.tolist() == [0, 1, 2, 3, 5, 7, 8, 9]
        assert split.validation.tolist() == [6]
        assert split.test.tolist() == [4]

    def test_a_group_without_room_goes_on_to_the_next_part(self):
        smiles = ["CCO"] * 6 + ["c1ccccc1"] * 4
        split = scaffold_deterministic(smiles, (0.8, 0.1, 0.1))
        assert [part.tolist() for part in split] == [list(range(6)), [], list(range(6, 10))]


class TestRandom:
    CHAINS = tuple("C" * (1 + row) + "O" for row in range(100))  # no ring: by scaffold they are one group

    def test_each_part_has_its_share_of_molecules_without_a_ring(self):
        split = split_randomly(self.CHAINS)
        check_parts(split, 100)
        assert [len(part) for part in split] == [80, 10, 10]
        assert [len(part) for part in split_randomly(self.CHAINS, (0.5, 0.3, 0.2))] == [50, 30, 20]
        assert [len(part) for part in scaffold_balanced(self.CHAINS)] == [0, 0, 100]

    def test_seeds_differ_and_repeat(self):
        tests = [split_randomly(self.CHAINS, seed=seed).test.tolist() for seed in (0, 1, 0)]
        assert tests[0] == tests[2]
        assert tests[0] != tests[1]

    def test_every_row_is_drawn_alike(self):
        counts = np.bincount(
            np.concatenate([split_randomly(self.CHAINS, seed=s).test for s in range(500)]), minlength=100
        )
        assert np.abs(counts - 50).max() < 5 * np.sqrt(500 * 0.1 * 0.9)

    def test_rows_of_one_molecule_stay_together(self):
        smiles = [self.CHAINS[row // 4] for row in range(100)]
        split = split_randomly(smiles)
        check_parts(split, 100)
        found = [{smiles[row] for row in part} for part in split]
        assert sum(map(len, found)) == 25
        assert [len(part) for part in split] == [80, 12, 8]


@SPLITS
class TestInput:
    def test_nothing_gives_nothing(self, split):
        assert [part.tolist() for part in split([])] == [[], [], []]

    @pytest.mark.parametrize("sizes", [(0.8, 0.2), (0.8, 0.3, 0.1), (1.0, 0.0, 0.0), (0.5, 0.6, -0.1)])
    def test_sizes_must_be_shares(self, split, sizes):
        with pytest.raises(ValueError, match="three positive shares that sum to 1"):
            split(["CCO"], sizes)


@SCAFFOLD_SPLITS
def test_a_bad_smiles_is_an_error(split):
    with pytest.raises(MoleculeError, match="must be a SMILES that RDKit accepts"):
        split(["CCO", "C1CC"])


def split_like_chemprop(smiles, sizes, seed):
    """The rule of chemprop v1 on its own data structures."""
    scaffolds = defaultdict(set)
    for row, text in enumerate(smiles):
        scaffolds[MurckoScaffold.MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(text))].add(row)
    sets = list(scaffolds.values())
    limits = [size * len(smiles) for size in sizes]
    big = [rows for rows in sets if len(rows) > min(limits[1:]) / 2]
    small = [rows for rows in sets if len(rows) <= min(limits[1:]) / 2]
    random = Random(seed)
    random.shuffle(big)
    random.shuffle(small)
    parts = [[], [], []]
    for rows in big + small:
        place = next((i for i in (0, 1) if len(parts[i]) + len(rows) <= limits[i]), 2)
        parts[place] += list(rows)
    return parts
