"""Labels of rows, one or several each, as integer codes, and a split of the rows that they allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

TRAIN, TEST, LEFT_OUT = 0, 1, -1
"""What a row is for: fitting, scoring, or neither, as it has no label."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels in CSR form: row r has codes[offsets[r]:offsets[r + 1]], none where it is not known. 8 bytes a row + 4
    a label."""

    codes: np.ndarray
    """[num_labels] int32 index of `classes`, distinct within a row."""
    offsets: np.ndarray
    """[num_rows + 1] int64."""
    classes: tuple[str, ...]
    """Names, sorted."""

    @property
    def num_rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> np.ndarray:
        """[num_rows] int64 labels of each row."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray) -> Labels:
        """The labels of some rows, of the same classes."""
        counts = self.counts[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts)
        return Labels(self.codes[places], offsets, self.classes)

    def names(self, row: int) -> list[str]:
        return [self.classes[code] for code in self.codes[self.offsets[row] : self.offsets[row + 1]]]


def encode(values: Iterable[Union[str, Sequence[str], None]]) -> Labels:
    """Labels from a text a row, several in a list, or None where there is none; a text twice in a row counts once.

    Empty texts are no label.
    """
    rows = [
        [] if value is None else list(dict.fromkeys([value] if isinstance(value, str) else value)) for value in values
    ]
    rows = [[name for name in row if name] for row in rows]
    classes = sorted({name for row in rows for name in row})
    code_of = {name: code for code, name in enumerate(classes)}
    codes = np.fromiter((code_of[name] for row in rows for name in row), np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return Labels(codes, offsets.astype(np.int64), tuple(classes))


def check_classes(labels: Labels) -> None:
    """Raises ValueError where there is nothing to tell apart: no label, or one class."""
    if not len(labels.codes):
        raise ValueError(
            f"rows must have labels. Received: none for {labels.num_rows:,} rows. Name the right column or file."
        )
    if len(labels.classes) < 2:
        raise ValueError(
            f"labels must be of two classes or more. Received: {labels.classes[0]!r} alone. Name another column."
        )


def split_rows(labels: Labels, test_share: float = 0.2, seed: int = 0) -> np.ndarray:
    """[num_rows] int8, TRAIN or TEST by chance, LEFT_OUT for rows without a label; the same for the same seed.

    Each class has a row to train on: of each class that chance sent to test as a whole, the first row goes to train.
    """
    check_share(test_share)
    labelled = labels.counts > 0
    drawn = np.random.default_rng(seed).random(labels.num_rows) < test_share
    part = np.where(labelled, np.where(drawn, TEST, TRAIN), LEFT_OUT).astype(np.int8)
    row_of = np.repeat(np.arange(labels.num_rows), labels.counts)
    missing = ~np.isin(np.arange(len(labels.classes)), labels.codes[part[row_of] == TRAIN])
    if missing.any():
        wanted = missing[labels.codes]
        _, first = np.unique(labels.codes[wanted], return_index=True)
        part[row_of[wanted][first]] = TRAIN
    return part


def check_share(test_share: float) -> None:
    """Raises ValueError when a share of the rows leaves train or test none."""
    if not 0.0 < test_share < 1.0:
        raise ValueError(f"the share of test must lie in (0, 1). Received: {test_share}. Use 0.2.")


def check_split(labels: Labels, part: np.ndarray) -> None:
    """Raises ValueError when train or test has no labelled row, or test a class that train lacks.

    Args:
        part: [num_rows] TRAIN, TEST or LEFT_OUT; rows that are not LEFT_OUT have a label.
    """
    if len(part) != labels.num_rows:
        raise ValueError(
            f"each row must be of train or of test. Received: {len(part):,} parts of {labels.num_rows:,} rows. Give "
            "one for each."
        )
    for number, name in ((TRAIN, "train"), (TEST, "test")):
        if not (part == number).any():
            raise ValueError(f"{name} must have rows with a label. Received: none. Split otherwise.")
    of_label = np.repeat(part, labels.counts)
    unknown = np.setdiff1d(labels.codes[of_label == TEST], labels.codes[of_label == TRAIN])
    if len(unknown):
        raise ValueError(
            f"each class of test must have a row in train. Received: {len(unknown):,} without, the first "
            f"{labels.classes[unknown[0]]!r}. Move a row of it to train, or leave its rows out."
        )
