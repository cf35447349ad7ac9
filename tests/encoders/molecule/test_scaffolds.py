"""Scaffold splits of hand-made molecules, against the rules worked by hand and chemprop's loop over sets."""

from collections import defaultdict
from random import Random

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from recsys_ssl.encoders.molecule.scaffolds import scaffold, scaffold_balanced, scaffold_deterministic
from recsys_ssl.encoders.molecule.smiles import MoleculeError
from recsys_ssl.evaluation.prediction import Split

SPLITS = pytest.mark.parametrize("split", [scaffold_balanced, scaffold_deterministic])


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
        ],
        ids=["chain", "aspirin", "linked rings", "stereo"],
    )
    def test_keeps_rings_and_linkers(self, smiles, expected):
        assert scaffold(smiles) == expected


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


@SPLITS
class TestInput:
    def test_nothing_gives_nothing(self, split):
        assert [part.tolist() for part in split([])] == [[], [], []]

    @pytest.mark.parametrize("sizes", [(0.8, 0.2), (0.8, 0.3, 0.1), (1.0, 0.0, 0.0), (0.5, 0.6, -0.1)])
    def test_sizes_must_be_shares(self, split, sizes):
        with pytest.raises(ValueError, match="three positive shares that sum to 1"):
            split(["CCO"], sizes)

    def test_a_bad_smiles_is_an_error(self, split):
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
