"""Files of SMILES: .smi, one molecule a line, or the first column of a CSV file; plain or gzip."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator

_SEPARATOR = re.compile(r"[\s,]")
_HEADER = "smiles"


def read_smiles(path: str | os.PathLike) -> Iterator[str]:
    """Streams the SMILES of a file: the text of each line up to the first blank, tab or comma.

    A first line that begins with `smiles`, in any case, is a header. An empty line is an empty SMILES, so that the
    places of the others are kept.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"a file of SMILES must exist. Received: {str(path)!r}. Check the path.")
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file):
            smiles = _SEPARATOR.split(line.strip(), maxsplit=1)[0]
            if number or smiles.lower() != _HEADER:
                yield smiles
