"""Measured properties of molecules from a CSV file: graphs and targets; rows that give no molecule are told."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
import pandas as pd

from recsys_ssl.encoders.molecule.files import check_distinct, cut_smiles, read_header, read_table_lines
from recsys_ssl.encoders.molecule.graph import MoleculeGraph
from recsys_ssl.encoders.molecule.smiles import Rejection, featurise_all
from recsys_ssl.encoders.molecule.text_files import check_smiles

MAX_REJECTED_SHARE = 0.05
"""More rows than this that give no molecule are an error: then it is the wrong column, not a bad row."""


class PropertyTable(NamedTuple):
    """Molecules that RDKit accepts, in the order of the file."""

    rows: np.ndarray
    """[num_molecules] int64 row of the file, its first one below the header 0."""
    texts: list[str]
    """[num_molecules] SMILES."""
    contents: list[MoleculeGraph]
    """[num_molecules]."""
    targets: np.ndarray
    """[num_molecules, num_tasks] float32, NaN where the file has nothing."""
    names: list[str]
    """[num_tasks] columns of the targets."""
    rejections: list[Rejection]
    """Rows without a molecule."""


def read_properties(
    path: str | os.PathLike, smiles_column: str, target_columns: Optional[Sequence[str]] = None, workers: int = 1
) -> PropertyTable:
    """Reads SMILES and targets of a CSV file, plain or gzipped; columns are parted by commas, semicolons or tabs.

    Blanks around names of columns do not count. All molecules are in memory, about 1 kB each, and the text of the file
    while it is read.

    Args:
        target_columns: none for molecules alone; None takes all columns but that of the SMILES.
        workers: processes that featurise, see `recsys_ssl.encoders.molecule.smiles.featurise_all`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, see `files.read_smiles`; a column is missing, there are two of a name, a row has
            too many cells, a target is no number, or too many rows give no molecule.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"a table of molecules must be a CSV file. Received: {str(path)!r}. Check the path.")
    smiles_column = smiles_column.strip()
    frame = _read_frame(path, smiles_column)
    if target_columns is None:
        names = [name for name in frame.columns if name != smiles_column]
    else:
        names = [name.strip() for name in target_columns]
    missing = [name for name in (smiles_column, *names) if name not in frame]
    nothing = not names and target_columns is None
    if missing or nothing or len(set(names)) < len(names) or not len(frame):
        raise ValueError(
            f"a table must have rows, a column of SMILES and distinct columns of targets. Received: {len(frame)} rows, "
            f"columns {', '.join(frame.columns) or 'none'}, and {', '.join(missing) or 'none'} missing. Name others."
        )
    columns = [_read_numbers(frame[name], name) for name in names]
    targets = np.stack(columns, axis=1) if columns else np.zeros([len(frame), 0], np.float32)
    smiles = [cut_smiles(cell) for cell in frame[smiles_column].fillna("")]
    check_smiles(smiles, path)
    results = list(featurise_all(smiles, workers))
    rejections = [result for result in results if isinstance(result, Rejection)]
    if len(rejections) > MAX_REJECTED_SHARE * len(frame):
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(r.reason for r in rejections).items())
        raise ValueError(
            f"at most {MAX_REJECTED_SHARE:.0%} of the rows may give no molecule. Received: {reasons} of {len(frame)}, "
            f"the first in row {rejections[0].row}: {rejections[0].smiles!r:.99}. Is {smiles_column!r} the column?"
        )
    rows = np.setdiff1d(np.arange(len(frame)), np.array([rejection.row for rejection in rejections], np.int64))
    kept = rows.tolist()
    return PropertyTable(
        rows, [smiles[row] for row in kept], [results[row] for row in kept], targets[rows], names, rejections
    )


def _read_frame(path: str | os.PathLike, column: str) -> pd.DataFrame:
    """The cells of a CSV file as text, NaN where there is none."""
    delimiter, names = read_header(path, column)
    check_distinct(names, path)
    if not names:
        return pd.DataFrame()
    try:
        frame = pd.read_csv(
            io.StringIO("".join(read_table_lines(path))), sep=delimiter, skipinitialspace=True, dtype=str
        )
        if len(frame) and not isinstance(
            frame.index, pd.RangeIndex
        ):  # pandas takes what the header does not name for an index
            raise pd.errors.ParserError(f"rows have more cells than the {len(names)} of the header")
    except pd.errors.ParserError as error:
        raise ValueError(
            f"rows of a table must have as many cells as its header. Received: {str(path)!r}: {str(error).strip()}. "
            "Mend the row; put text with a delimiter into quotes."
        ) from error
    return frame.rename(columns=str.strip)


def _read_numbers(column: pd.Series, name: str) -> np.ndarray:
    """[num_rows] float32, NaN for an empty cell."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero((numbers.isna() & column.notna()) | np.isinf(numbers))
    if len(wrong):
        raise ValueError(
            f"column {name!r} must hold numbers, or nothing where unknown. "
            f"Received: {column.iloc[wrong[0]]!r} in row {wrong[0]}. Mend the file or name another --target."
        )
    return numbers.to_numpy(np.float32)
