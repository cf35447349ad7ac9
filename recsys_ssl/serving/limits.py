"""What a query may get: of the model's catalogue by rows, of the live one by places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from recsys_ssl.serving.filters import Filter
from recsys_ssl.serving.live_items import LiveItems
from recsys_ssl.serving.ranking import contains

_NOTHING = np.empty(0, np.int64)


class Limits(NamedTuple):
    """What one query may get."""

    barred: np.ndarray
    """[any] rows that it must not get, distinct and ascending; those that the live catalogue hides are among them."""
    allowed: Optional[np.ndarray]
    """[any] the only rows that it may get, distinct and ascending; all when None."""
    may_live: np.ndarray
    """[num_live] bool: which live items it may get."""


def limit(
    excluded: Sequence[str],
    allowed: Optional[Sequence[str]],
    seen: np.ndarray,
    conditions: Filter,
    passing: Optional[np.ndarray],
    rows: Mapping[str, int],
    live: LiveItems,
) -> Limits:
    """What is left of both catalogues.

    Args:
        excluded: ids that the request leaves out.
        allowed: ids that it allows; all when None.
        seen: rows that are left out for what the query did.
        conditions: those of the filter.
        passing: the rows that pass them, ascending; all when None.
        rows: id -> row, of the ids as far as the model's catalogue has them.
    """
    own = np.union1d(to_rows(rows, excluded), seen) if excluded or len(seen) else _NOTHING
    may_live = ~contains(own, live.rows)
    may_live[_to_places(live, excluded)] = False
    if conditions:
        may_live &= live.match(conditions)
    rows_allowed = passing
    if allowed is not None:
        rows_allowed = to_rows(rows, allowed)
        if passing is not None:
            rows_allowed = rows_allowed[contains(passing, rows_allowed)]
        is_named = np.zeros(len(may_live), bool)
        is_named[_to_places(live, allowed)] = True
        may_live &= is_named
    return Limits(np.union1d(own, live.hidden) if len(live.hidden) else own, rows_allowed, may_live)


def to_rows(rows: Mapping[str, int], item_ids: Sequence[str]) -> np.ndarray:
    """[any] int64 rows of items that the catalogue has, distinct and ascending."""
    return np.unique(np.array([rows[item_id] for item_id in item_ids if item_id in rows], np.int64))


def _to_places(live: LiveItems, item_ids: Sequence[str]) -> list[int]:
    return [live.places[item_id] for item_id in item_ids if item_id in live.places]
