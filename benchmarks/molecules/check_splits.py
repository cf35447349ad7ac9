"""Measures the share of positives in each part of the scaffold splits of BBBP and BACE, beside the known figures.

python -m benchmarks.molecules.check_splits --data DIR

Both files are nearly sorted by their label, so a wrong order of the scaffolds shows: a stable sort by size alone
gives a test part of BBBP without negatives, and one of BACE without positives. Fails when a share is off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.molecules.datasets import load, split

# Data set -> split family and seed -> shares in train, validation and test; None where not known.
KNOWN = {
    "bbbp": {
        ("deterministic", 0): (0.82, 0.55, 0.52),
        ("balanced", 0): (None, None, 0.78),
        ("balanced", 1): (None, None, 0.73),
        ("balanced", 2): (None, None, 0.72),
    },
    "bace": {
        ("deterministic", 0): (0.43, 0.56, 0.61),
        ("balanced", 0): (None, None, 0.56),
        ("balanced", 1): (None, None, 0.54),
        ("balanced", 2): (None, None, 0.33),
    },
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of MoleculeNet's CSV files")
    options = parser.parse_args(arguments)
    wrong = 0
    for name, cases in KNOWN.items():
        loaded = load(name, options.data)
        for (family, seed), known in cases.items():
            parts = split(loaded.texts, family, seed)
            shares = [round(float(loaded.targets[rows, 0].mean()), 2) for rows in parts]
            matches = all(value is None or value == share for value, share in zip(known, shares))
            wrong += not matches
            sizes = "/".join(str(len(rows)) for rows in parts)
            print(f"{name} {family} {seed}: {shares} of {sizes}, known {known}: {'same' if matches else 'DIFFERENT'}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
