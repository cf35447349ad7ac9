"""What the readers of every format yield: batches of records, with the rejects of the same lines or rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np
import pyarrow as pa

_MOST_NAMES, _LONGEST_NAME = 50, 100  # of columns that a message lists


class LogError(ValueError):
    """Input that cannot be used; the message is for the owner of the data: where, what came, what to do."""


class MissingColumnError(LogError):
    """A file has not a column that the spec names."""


class Reject(NamedTuple):
    """A record that was left out, and why."""

    reason: str
    file: str
    line: int
    """1 for the first line of a text file or the first row of a Parquet file."""
    record: object
    """Raw text, or the columns that were read."""


class Batch(NamedTuple):
    """Records of one file."""

    columns: pa.Table
    """[num_records] the asked columns as text, or lists of text; Parquet keeps its own types, and JSON says which are
    numbers where that makes a difference (`values.WRITTEN`)."""
    lines: np.ndarray
    """[num_records] int64, the line where each record begins."""
    rejects: list[Reject]
    places: Optional[np.ndarray] = None
    """[num_records] int32, the place of each record among those of its line; None where a line is one record."""
    num_elements: Optional[np.ndarray] = None
    """[num_records] int64, the number of elements of the cell that a record is of; None without `explode`."""


def find_columns(
    file: str, columns: Mapping[str, str], present: Sequence[str], constants: Mapping[str, Optional[str]]
) -> dict[str, str]:
    """Column -> its name in the file, where blanks around names make no difference unless the file has both.

    Args:
        columns: the columns to read -> the key of the spec that names them, for messages.
        present: the names that the file has.
        constants: columns that the file need not have; they are left out when it has them not.
    """
    found, stripped = {}, [name.strip() for name in present]
    for column in columns:
        if column not in present and stripped.count(column) == 1:
            found[column] = present[stripped.index(column)]
        elif column in present or column not in constants:
            found[column] = column
    check_columns(file, {found[column]: key for column, key in columns.items() if column in found}, present)
    return found


def check_columns(file: str, columns: Mapping[str, str], present: Sequence[str]) -> None:
    """Raises when a file cannot give its columns.

    Args:
        columns: names in the file -> the key of the spec that names them, for messages.
        present: the names that the file has.

    Raises:
        MissingColumnError: it has one of them not.
        LogError: it has one of them twice.
    """
    for column, key in columns.items():
        if column not in present:
            raise MissingColumnError(
                f"{file}: {key} needs column {column!r}. The file has: {_list_names(present)}. "
                f"Correct {key} in the spec or the file's header, delimiter or format."
            )
        if list(present).count(column) > 1:
            raise LogError(f"{file}: column {column!r} ({key}) occurs twice. Rename one of them.")


def _list_names(names: Sequence[str]) -> str:
    listed = [repr(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "...") for name in sorted(names)]
    more = f" and {len(listed) - _MOST_NAMES} more" if len(listed) > _MOST_NAMES else ""
    return ", ".join(listed[:_MOST_NAMES]) + more


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists, of any layout that a file or a reader gives it."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
