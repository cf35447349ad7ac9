"""Labels of rows, one or several each, as integer codes, and a split of the rows that they allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists

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
    """Labels from a text a row, several in a list, or None where there is none; see `from_arrow`."""
    rows = [None if value is None else [value] if isinstance(value, str) else list(value) for value in values]
    return from_arrow(pa.array(rows, pa.list_(pa.string())))


def from_arrow(column: lists.Column) -> Labels:
    """Labels from a column [num_rows] of strings, or of lists of them.

    Nulls and empty texts are no label; a text that is twice in a row counts once. About 40 bytes a label meanwhile.
    """
    array = lists.one_array(column)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        texts, row_of = array, np.arange(len(array))
    else:
        texts, lengths = lists.flatten(array, pa.string())
        row_of = lists.owners(lengths)
    is_label = pc.fill_null(pc.greater(pc.utf8_length(texts), 0), False)
    row_of = row_of[is_label.to_numpy(zero_copy_only=False)]
    found = texts.filter(is_label).dictionary_encode()
    classes = found.dictionary.to_pylist()
    order = sorted(range(len(classes)), key=classes.__getitem__)
    number = np.empty(len(classes), np.int32)
    number[order] = np.arange(len(classes))
    codes = number[found.indices.to_numpy(zero_copy_only=False).astype(np.int64)]
    _, first = np.unique(row_of * max(1, len(classes)) + codes, return_index=True)
    first.sort()
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of[first], minlength=len(array)))])
    return Labels(codes[first], offsets.astype(np.int64), tuple(classes[place] for place in order))


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


def keep_frequent(labels: Labels, least_share: float) -> Labels:
    """The labels without classes that fewer than a share of the rows with a label have; a row may have none left."""
    least = least_share * (labels.counts > 0).sum()
    is_kept = np.bincount(labels.codes, minlength=len(labels.classes)) >= least
    number = (np.cumsum(is_kept) - 1).astype(np.int32)
    chosen = is_kept[labels.codes]
    row_of = np.repeat(np.arange(labels.num_rows), labels.counts)[chosen]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=labels.num_rows))]).astype(np.int64)
    classes = tuple(name for name, kept in zip(labels.classes, is_kept) if kept)
    return Labels(number[labels.codes[chosen]], offsets, classes)


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
    """Raises ValueError when train or test has no row, or one without a label, or test a class that train lacks.

    Args:
        part: [num_rows] TRAIN, TEST or LEFT_OUT.
    """
    if len(part) != labels.num_rows:
        raise ValueError(
            f"each row must be of train or of test. Received: {len(part):,} parts of {labels.num_rows:,} rows. Give "
            "one for each."
        )
    unlabelled = int(((part != LEFT_OUT) & (labels.counts == 0)).sum())
    if unlabelled:
        raise ValueError(
            f"rows of train and test must have a label. Received: {unlabelled:,} without. Leave them out ({LEFT_OUT})."
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
