"""Measures molecules per second and core of `featurise` beside plain RDKit.

python -m benchmarks.featurise --data FILE     (FILE: SMILES, one a line, maybe gzipped; a header line is skipped)

Plain RDKit parses the same SMILES and reads the same properties of atoms and bonds through its own API into Python
lists, without coding them. Both take turns on the same molecules, so that a machine that slows down slows both; times
are CPU times of this process. "Without patterns" also leaves out the four SMARTS matches and the ring sizes: parser
and property reads only, less work than `featurise` does.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem

from benchmarks.claims import describe_hardware
from recsys_ssl.encoders.molecule.smiles import ATOM_PATTERNS, MoleculeError, featurise

_PATTERNS = [Chem.MolFromSmarts(smarts) for smarts in ATOM_PATTERNS.values()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="file of SMILES, one a line")
    parser.add_argument("--molecules", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each arm")
    options = parser.parse_args(arguments)
    smiles = read_smiles(options.data, options.molecules)
    arms = {"featurise": featurise, "plain": read_plainly, "without patterns": read_properties}
    seconds = time_in_turns(arms, smiles, options.rounds)
    print(f"{len(smiles)} molecules, {options.rounds} rounds, {describe_hardware()}")
    for name in arms:
        rates = len(smiles) / seconds[name]
        print(f"{name:17s} {np.median(rates):6.0f} molecules/s and core ({rates.min():.0f} to {rates.max():.0f})")
    for name in ("plain", "without patterns"):
        ratios = seconds[name] / seconds["featurise"]
        print(f"ratio to {name}: {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")


def read_smiles(path: Path, num_molecules: int) -> list[str]:
    """The first molecules of a file that `featurise` accepts; parsing them also warms both arms up."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        return list(itertools.islice(filter(_is_molecule, (line.strip() for line in stream)), num_molecules))


def _is_molecule(smiles: str) -> bool:
    try:
        featurise(smiles)
    except MoleculeError:
        return False
    return True


def time_in_turns(arms: dict[str, Callable], smiles: list[str], rounds: int) -> dict[str, np.ndarray]:
    """[rounds] CPU seconds of each arm; every round gives each its turn, in a shuffled order."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    generator = random.Random(0)
    for _ in range(rounds):
        for name in generator.sample(sorted(arms), len(arms)):
            started = time.process_time()
            for text in smiles:
                arms[name](text)
            seconds[name].append(time.process_time() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def read_plainly(smiles: str) -> tuple[list, list, list]:
    """Everything that `featurise` reads, as Python lists."""
    molecule, atoms, bonds = read_properties(smiles)
    matches = [{atom for (atom,) in molecule.GetSubstructMatches(pattern)} for pattern in _PATTERNS]
    rings = molecule.GetRingInfo()
    flags = [
        [*(i in match for match in matches), *(rings.IsAtomInRingOfSize(i, size) for size in range(3, 9))]
        for i in range(molecule.GetNumAtoms())
    ]
    return atoms, flags, bonds


def read_properties(smiles: str) -> tuple[Chem.Mol, list[list], list[list]]:
    """The parsed molecule, and the properties of its atoms and bonds."""
    molecule = Chem.MolFromSmiles(smiles)
    atoms = [
        [
            atom.GetAtomicNum(),
            atom.GetTotalDegree(),
            atom.GetFormalCharge(),
            atom.GetChiralTag(),
            atom.GetTotalNumHs(),
            atom.GetHybridization(),
            atom.GetIsAromatic(),
            atom.GetMass(),
            atom.GetNumImplicitHs(),
        ]
        for atom in molecule.GetAtoms()
    ]
    bonds = [
        [
            bond.GetBondType(),
            bond.GetIsConjugated(),
            bond.IsInRing(),
            bond.GetStereo(),
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
        ]
        for bond in molecule.GetBonds()
    ]
    return molecule, atoms, bonds


if __name__ == "__main__":
    main()
