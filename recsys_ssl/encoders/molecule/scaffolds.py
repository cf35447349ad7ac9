"""Splits of molecules by scaffold: no ring system of the training molecules comes again in validation or test.

Two families, both in wide use and both called "scaffold split"; numbers of one must not be compared with numbers of
the other. The same model scores far higher on balanced splits: BBBP 0.94 against 0.70 of the GROVER papers. Molecules
without a ring share the empty scaffold: a data set of them can only be split at random, which is the easiest split.

References:
    Bemis and Murcko 1996, J. Med. Chem. 39, 2887: the scaffold, rings and what links them.
    Yang et al. 2019, arXiv:1904.01561 (chemprop): the balanced split, which GROVER's fine-tuning uses.
    Wu et al. 2018, arXiv:1703.00564 (MoleculeNet): the deterministic split, in the order of DeepChem.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random

import numpy as np
from rdkit.Chem.Scaffolds import MurckoScaffold

from recsys_ssl import seeds
from recsys_ssl.encoders.molecule.smiles import parse
from recsys_ssl.evaluation.prediction import Split

SIZES = (0.8, 0.1, 0.1)


def scaffold(smiles: str) -> str:
    """The Bemis-Murcko scaffold as SMILES without stereo and atom map; empty for a molecule without a ring.

    Raises:
        MoleculeError: see `recsys_ssl.encoders.molecule.smiles.parse`.
    """
    return MurckoScaffold.MurckoScaffoldSmiles(mol=parse(smiles), includeChirality=False)


def scaffold_balanced(smiles: Sequence[str], sizes: tuple[float, float, float] = SIZES, seed: int = 0) -> Split:
    """The split of GROVER and chemprop v1: large scaffolds into train, the others in random order.

    Groups of molecules of one scaffold are put, one by one, into the first part that still has room for them; what
    has room nowhere goes to test. Groups larger than half of validation or test come first. Seeds give the splits
    that chemprop's code gives, row by row, but parts are sorted.

    Args:
        smiles: [num_molecules] text that RDKit accepts, rejected ones taken out before.
        sizes: shares of train, validation and test; they sum to 1.
        seed: of the order of the groups.

    Raises:
        ValueError: sizes do not sum to 1 or are not positive.
        MoleculeError: a SMILES that RDKit does not accept.
    """
    _check(sizes)
    groups = _group(smiles)
    room_train, room_validation, room_test = (size * len(smiles) for size in sizes)
    large = [rows for rows in groups if len(rows) > room_validation / 2 or len(rows) > room_test / 2]
    small = [rows for rows in groups if not (len(rows) > room_validation / 2 or len(rows) > room_test / 2)]
    random = Random(seed)
    random.shuffle(large)
    random.shuffle(small)
    train: list[int] = []
    validation: list[int] = []
    test: list[int] = []
    for rows in large + small:
        if len(train) + len(rows) <= room_train:
            train += rows
        elif len(validation) + len(rows) <= room_validation:
            validation += rows
        else:
            test += rows
    return _sorted(train, validation, test)


def scaffold_deterministic(smiles: Sequence[str], sizes: tuple[float, float, float] = SIZES) -> Split:
    """The split of DeepChem, and of papers that name GEM's or Uni-Mol's protocol: the rarest scaffolds into test.

    Groups of molecules of one scaffold come in order of their size, the largest first, and among equals the one whose
    first molecule comes last in the data; that tie-break decides the split where most scaffolds have one molecule.
    Scaffolds are without stereo, as in DeepChem.

    Arguments and errors are those of `scaffold_balanced`.
    """
    _check(sizes)
    until_train, until_validation = sizes[0] * len(smiles), (sizes[0] + sizes[1]) * len(smiles)
    train: list[int] = []
    validation: list[int] = []
    test: list[int] = []
    for rows in sorted(_group(smiles), key=lambda rows: (len(rows), rows[0]), reverse=True):
        if len(train) + len(rows) <= until_train:
            train += rows
        elif len(train) + len(validation) + len(rows) <= until_validation:
            validation += rows
        else:
            test += rows
    return _sorted(train, validation, test)


def split_randomly(smiles: Sequence[str], sizes: tuple[float, float, float] = SIZES, seed: int = 0) -> Split:
    """Any molecule may be in any part, but rows of one text are in the same; sizes are kept but for such rows.

    Arguments and errors are those of `scaffold_balanced`.
    """
    _check(sizes)
    of_text: dict[str, list[int]] = {}
    for row, text in enumerate(smiles):
        of_text.setdefault(text, []).append(row)
    texts = list(of_text)
    order = seeds.generator(seed, seeds.FinetuneStream.SPLIT).permutation(len(texts))
    until_validation, until_test = (round(share * len(smiles)) for share in (sizes[0], sizes[0] + sizes[1]))
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    num_rows = 0
    for place in order:
        rows = of_text[texts[place]]
        parts[(num_rows >= until_validation) + (num_rows >= until_test)].extend(rows)
        num_rows += len(rows)
    return _sorted(*parts)


def _group(smiles: Iterable[str]) -> list[list[int]]:
    """Ascending rows of each scaffold, scaffolds in order of their first row."""
    groups: dict[str, list[int]] = {}
    for row, text in enumerate(smiles):
        groups.setdefault(scaffold(text), []).append(row)
    return list(groups.values())


def _check(sizes: tuple[float, float, float]) -> None:
    if len(sizes) != 3 or min(sizes) <= 0 or not math.isclose(sum(sizes), 1.0):
        raise ValueError(f"sizes must be three positive shares that sum to 1. Received: {sizes}. Use {SIZES}.")


def _sorted(*parts: list[int]) -> Split:
    return Split(*(np.array(sorted(part), np.int64) for part in parts))
