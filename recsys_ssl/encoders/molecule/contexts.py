"""What an atom, a bond and a molecule are surrounded by or made of: the labels of self-supervised pretraining.

The contexts of atoms and bonds are strings; a vocabulary, counted in one pass over the molecules and then frozen with
the model, turns them into classes. Motifs are functional groups and need no vocabulary.

References:
    Rong et al. 2020, arXiv:2007.02835 (GROVER): contextual property prediction with k = 1, graph-level motifs.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import NamedTuple, Optional

import numpy as np
from rdkit import Chem
from rdkit.Chem import Fragments

from recsys_ssl import artifacts
from recsys_ssl.encoders.chunks import map_chunks
from recsys_ssl.encoders.molecule.smiles import MAX_ATOMS, MoleculeError, Rejection, parse

MOTIFS = tuple(sorted(name for name in vars(Fragments) if name.startswith("fr_")))
"""Names of the 85 functional groups, which RDKit counts by functions of these names."""
_COUNTERS = [getattr(Fragments, name) for name in MOTIFS]

_TYPES, _STEREOS, _DIRECTIONS = (
    {int(value): name for name, value in kind.names.items()} for kind in (Chem.BondType, Chem.BondStereo, Chem.BondDir)
)

PAD, OTHER = 0, 1
"""Classes of every vocabulary: what a loss ignores, and any context that is not in the vocabulary."""
_NUM_SPECIAL = 2


def atom_contexts(molecule: Chem.Mol) -> list[str]:
    """The context of each atom: its element, then the elements next to it with bond types and counts, sorted.

    The middle carbon of acetic acid is `C_C-SINGLE1_O-DOUBLE1_O-SINGLE1`, a lone ion `Na`.

    Returns:
        [num_atoms] text.
    """
    symbols = _symbols(molecule)
    keys: list[list[str]] = [[] for _ in symbols]
    for bond in _bonds(molecule):
        begin, end, kind = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), _TYPES[bond.GetBondType()]
        keys[begin].append(f"{symbols[end]}-{kind}")
        keys[end].append(f"{symbols[begin]}-{kind}")
    return [_render(symbol, tuple(sorted(atom_keys))) for symbol, atom_keys in zip(symbols, keys)]


def bond_contexts(molecule: Chem.Mol) -> list[str]:
    """The context of each bond: the bond, then the other bonds of its two ends with counts, sorted.

    A bond reads `(type-stereo-direction)`, an other bond `element-(type-stereo-direction)` with the element of the
    end that they share. A bond of benzene is `(AROMATIC-STEREONONE-NONE)_C-(AROMATIC-STEREONONE-NONE)2`. The
    direction, of single bonds beside a double bond of known stereo, depends on how the SMILES was written.

    Returns:
        [num_bonds] text.
    """
    symbols, bonds = _symbols(molecule), _bonds(molecule)
    names = [
        f"({_TYPES[bond.GetBondType()]}-{_STEREOS[bond.GetStereo()]}-{_DIRECTIONS[bond.GetBondDir()]})"
        for bond in bonds
    ]
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]
    incident: list[list[int]] = [[] for _ in symbols]
    for index, (begin, end) in enumerate(ends):
        incident[begin].append(index)
        incident[end].append(index)
    return [
        _render(name, tuple(sorted(f"{symbols[a]}-{names[k]}" for a in ends[i] for k in incident[a] if k != i)))
        for i, name in enumerate(names)
    ]


def _symbols(molecule: Chem.Mol) -> list[str]:
    return [molecule.GetAtomWithIdx(i).GetSymbol() for i in range(molecule.GetNumAtoms())]


def _bonds(molecule: Chem.Mol) -> list[Chem.Bond]:
    return list(map(molecule.GetBondWithIdx, range(molecule.GetNumBonds())))


@lru_cache(maxsize=1 << 14)  # a few hundred contexts make up nearly all
def _render(head: str, keys: tuple[str, ...]) -> str:
    """`head_key<count>_key<count>...` of sorted keys."""
    return "_".join([head, *(f"{key}{len(list(group))}" for key, group in itertools.groupby(keys))])


def motifs(molecule: Chem.Mol) -> np.ndarray:
    """[85] uint8, 1 where the molecule has the functional group of `MOTIFS`; about 0.4 ms for a drug-like molecule."""
    return np.array([counter(molecule) > 0 for counter in _COUNTERS], np.uint8)


@dataclass(frozen=True)
class ContextVocabulary:
    """Contexts and their classes: `PAD`, `OTHER`, then the tokens.

    Attributes:
        tokens: distinct contexts, the most frequent first.
    """

    tokens: tuple[str, ...]

    def __post_init__(self):
        if len(set(self.tokens)) < len(self.tokens):
            token, count = Counter(self.tokens).most_common(1)[0]
            raise ValueError(f"tokens must be distinct. Received: {token!r} {count} times. Remove the repetitions.")

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], min_count: int = 1, max_size: Optional[int] = None
    ) -> ContextVocabulary:
        """Tokens in order of their count, then alphabetically.

        Args:
            min_count: rarer contexts are `OTHER`.
            max_size: the most tokens to keep, `PAD` and `OTHER` not among them.
        """
        if min_count < 1 or (max_size is not None and max_size < 1):
            raise ValueError(f"min_count and max_size must be positive. Received: {min_count} and {max_size}.")
        kept = sorted((token for token, count in counts.items() if count >= min_count), key=lambda t: (-counts[t], t))
        return cls(tuple(kept[:max_size]))

    @property
    def size(self) -> int:
        """Number of classes, `PAD` and `OTHER` among them."""
        return len(self.tokens) + _NUM_SPECIAL

    def encode(self, contexts: Sequence[str]) -> np.ndarray:
        """[num_contexts] int32 class of each context; `OTHER` for one that is not in the vocabulary."""
        return np.array([self._classes.get(context, OTHER) for context in contexts], np.int32)

    @cached_property
    def _classes(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens, start=_NUM_SPECIAL)}

    def to_json(self) -> str:
        return artifacts.to_json({"tokens": self.tokens})

    @classmethod
    def from_json(cls, text: str) -> ContextVocabulary:
        """The vocabulary that `to_json` wrote.

        Raises:
            ValueError: the text is something else, or a token repeats.
        """
        values = json.loads(text)
        tokens = values.get("tokens") if isinstance(values, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError(f'a vocabulary must be {{"tokens": [text, ...]}}. Received: {text!r:.99}. Count it again.')
        return cls(tuple(tokens))


class ContextCounts(NamedTuple):
    """How often each context was seen, and which SMILES could not be counted."""

    atoms: Counter[str]
    bonds: Counter[str]
    num_molecules: int
    """Molecules that were counted."""
    rejections: list[Rejection]


def count_contexts(smiles: Iterable[str], workers: int = 1, max_atoms: int = MAX_ATOMS) -> ContextCounts:
    """Counts the contexts of atoms and bonds in one pass over a stream of SMILES.

    Memory holds the distinct contexts, some thousands, and the rejections. For `workers` see `featurise_all`.
    """
    total = ContextCounts(Counter(), Counter(), 0, [])
    for counts in map_chunks(partial(_count_chunk, max_atoms=max_atoms), enumerate(smiles), workers):
        total.atoms.update(counts.atoms)
        total.bonds.update(counts.bonds)
        total.rejections.extend(counts.rejections)
        total = total._replace(num_molecules=total.num_molecules + counts.num_molecules)
    return total


def _count_chunk(rows: list[tuple[int, str]], max_atoms: int) -> ContextCounts:
    atoms: Counter[str] = Counter()
    bonds: Counter[str] = Counter()
    rejections = []
    for row, smiles in rows:
        try:
            molecule = parse(smiles, max_atoms)
        except MoleculeError as error:
            rejections.append(Rejection(row, error.reason, smiles))
            continue
        atoms.update(atom_contexts(molecule))
        bonds.update(bond_contexts(molecule))
    return ContextCounts(atoms, bonds, len(rows) - len(rejections), rejections)
