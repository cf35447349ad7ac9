"""Whether a column of texts is one of SMILES."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

import numpy as np
import pyarrow as pa

from recsys_ssl import lists

_SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$/\\.%:*]+")
_CHEMICAL = re.compile(r"[=()#\[\]]|\d")
_MOST_READ = 50


def tell(texts: Sequence[str], words: Sequence[str]) -> Optional[str]:
    """See `contract.GuessModule`: whether the reader takes 9 of 10 texts that look like SMILES."""
    texts = list(texts[:_MOST_READ])
    named = "smile" in words or "smiles" in words
    shaped = [text for text in texts if _SMILES.fullmatch(text) and (_CHEMICAL.search(text) or named)]
    if len(shaped) < 0.9 * len(texts) or (not named and sum(map(len, texts)) / len(texts) < 10):
        return None
    # RDKit is loaded for texts that look like it only.
    from recsys_ssl.encoders.molecule.column import read

    _, faults = read(lists.single(pa.array(texts, pa.large_string())))
    bad = np.logical_or.reduce([np.zeros(len(texts), bool), *faults.values()])
    return "the texts are SMILES" if bad.mean() < 0.1 else None
