"""Slices: which pairs and rankings belong to the head, the torso, the tail, the cold, or to a group of queries."""

from __future__ import annotations

import numpy as np

ITEM_SLICES = ("head", "torso", "tail", "cold")
OTHER = "other"
MISSING = "(missing)"

_HEAD_SHARE = 0.1
_TORSO_MASS = 0.8
_RARE_SHARE = 0.01


def item_slices(train_counts: np.ndarray) -> np.ndarray:
    """Assigns every item to a slice by its frequency in training.

    head: the most frequent 10% of the trained items (rounded up); torso: of the rest, the most frequent that
    together hold 80% of the rest's training events (the item that reaches 80% is torso); tail: all other trained
    items; cold: no training event. Equal counts are ordered by row.

    Args:
        train_counts: [num_items] int >= 0.

    Returns:
        [num_items] int8 index into ITEM_SLICES.

    References:
        Yao et al. 2021, arXiv:2007.12865: head = top 10% most frequent items.
    """
    slices = np.full(len(train_counts), ITEM_SLICES.index("cold"), np.int8)
    trained = np.argsort(-train_counts, kind="stable")[: np.count_nonzero(train_counts)]
    num_head = int(np.ceil(_HEAD_SHARE * len(trained)))
    rest = trained[num_head:]
    before = np.cumsum(train_counts[rest]) - train_counts[rest]
    num_torso = np.count_nonzero(before < _TORSO_MASS * train_counts[rest].sum())
    slices[trained[:num_head]] = ITEM_SLICES.index("head")
    slices[rest[:num_torso]] = ITEM_SLICES.index("torso")
    slices[rest[num_torso:]] = ITEM_SLICES.index("tail")
    return slices


def query_groups(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Groups rankings by a query feature; values of fewer than 1% of the rankings are joined as `other`.

    Args:
        values: [num_rankings] str, "" for none.

    Returns:
        [num_rankings] int index into the names, and the names: frequent values from the largest, `other` last.
    """
    distinct, codes, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent = order[counts[order] >= _RARE_SHARE * len(values)]
    index = np.full(len(distinct), len(frequent))
    index[frequent] = np.arange(len(frequent))
    taken = {str(distinct[i]) for i in frequent}

    def name_apart(name: str) -> str:
        while name in taken:
            name = f"({name})"
        return name

    names = [str(distinct[i]) or name_apart(MISSING) for i in frequent]
    return index[codes], names + [name_apart(OTHER)] * bool(len(frequent) < len(distinct))


def share_by_slice(rows: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Returns the share of item rows that fall into each item slice: [4] float64 that sum to 1 (0 without a row).

    Args:
        rows: any shape of int rows; -1 is no item.
        slices: [num_items] from `item_slices`.
    """
    listed = rows[rows >= 0]
    return np.bincount(slices[listed], minlength=len(ITEM_SLICES)) / max(1, len(listed))
