"""Which items have given attributes: rows of the catalogue by lists of each value's rows.

A filter names features of items. Of each it says which values are wanted:

    {"genres": "noir"}                                one value; of a feature with several, one of them
    {"genres": ["noir", "war"]}                       any of some
    {"genres": {"any": ["noir"], "none": ["war"]}}    any of some and none of others
    {"year": {"min": 1990, "max": 1999}}              a range with its ends, of a numeric feature

An item passes when it passes for every feature named. One without a value passes for `none` only.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl import artifacts, lists
from recsys_ssl.serving.lookup import EXTRA_DIR, ITEMS_FILE
from recsys_ssl.spec import ColumnFeature, DenseFeature, FeatureSpec

_KEYS = ("any", "none", "min", "max")
_REMEMBERED = 32

Value = Union[bytes, float]


class Condition(NamedTuple):
    """What one feature must be; None where nothing is asked."""

    feature: str
    any: Optional[tuple[Value, ...]] = None
    none: tuple[Value, ...] = ()
    min: Optional[float] = None
    max: Optional[float] = None

    def holds(self, values: Sequence[Value]) -> bool:
        """Whether an item with these values passes."""
        low, high = (-np.inf if self.min is None else self.min), (np.inf if self.max is None else self.max)
        wanted = [
            value
            for value in values
            if (self.any is None or value in self.any) and (isinstance(value, bytes) or low <= value <= high)
        ]
        asks_for_some = self.any is not None or self.min is not None or self.max is not None
        return not set(values) & set(self.none) and (not asks_for_some or bool(wanted))


Filter = tuple[Condition, ...]


def filterable(spec: FeatureSpec) -> dict[str, ColumnFeature]:
    """Name -> feature of items that a filter may name: all but vectors and content."""
    return {f.name: f for f in spec.item_features if not f.is_content and not isinstance(f, DenseFeature)}


def parse_filter(given: Mapping[str, Any], spec: FeatureSpec) -> Filter:
    """A filter as the conditions that it means.

    Raises:
        ValueError: a feature cannot be filtered by, or a condition says something unknown, or nothing.
        TypeError: a value has the wrong type.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"filters must be a dict. Received: {given!r:.99}. Write {{'FEATURE': 'VALUE'}}.")
    features = filterable(spec)
    unknown = sorted(set(given) - set(features), key=str)
    if unknown:
        raise ValueError(f"filters must name features of items: {sorted(features)}. Received: {unknown}.")
    return tuple(_parse_condition(features[name], given[name]) for name in sorted(given))


def _parse_condition(feature: ColumnFeature, given: Any) -> Condition:
    if not isinstance(given, Mapping):
        given = {"any": given}
    wrong = sorted(set(given) - set(_KEYS), key=str)
    if wrong or all(value is None for value in given.values()):
        raise ValueError(
            f"the filter of {feature.name!r} must have some of {list(_KEYS)}. Received: {wrong or dict(given)}."
        )
    ends = {name: given[name] for name in ("min", "max") if given.get(name) is not None}
    if ends and not feature.is_number:
        raise ValueError(f"min and max are for numeric features. Received: {feature.name!r}. List values with any.")
    anything = None if given.get("any") is None else _parse_values(feature, given["any"])
    nothing = _parse_values(feature, given["none"]) if given.get("none") is not None else ()
    numbers = {name: _parse_values(feature, [end])[0] for name, end in ends.items()}
    return Condition(feature.name, anything, nothing, **numbers)  # type: ignore[arg-type]


def _parse_values(feature: ColumnFeature, given: Any) -> tuple[Value, ...]:
    values = given if isinstance(given, (list, tuple, set, frozenset)) else [given]
    for value in values:
        if feature.is_number and (not isinstance(value, Real) or isinstance(value, bool) or value != value):
            raise TypeError(f"the filter of {feature.name!r} takes numbers. Received: {value!r:.99}.")
        if not feature.is_number and not isinstance(value, (str, bytes)):
            raise TypeError(f"the filter of {feature.name!r} takes strings. Received: {value!r:.99}.")
    if feature.is_number:
        return tuple(_to_float(feature, value) for value in values)
    return tuple(value.encode("utf-8", "replace") if isinstance(value, str) else value for value in values)


def _to_float(feature: ColumnFeature, value: Any) -> float:
    """As the catalogue has it; what is beyond 32 bits is infinite, and so beyond all that it has."""
    try:
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    except OverflowError as error:
        raise ValueError(f"the filter of {feature.name!r} takes numbers of 64 bits. Received: {error}.") from error


class _Postings(NamedTuple):
    """Rows by value: those of `values[i]` are `rows[starts[i] : starts[i + 1]]`, in order."""

    values: np.ndarray
    """[num_values] distinct values, ascending."""
    starts: np.ndarray
    """[num_values + 1] int64."""
    rows: np.ndarray
    """[sum of the lengths] int32."""

    def find(self, wanted: Sequence[Value]) -> np.ndarray:
        """The rows with any of some values, ascending."""
        found = []
        for value in wanted:
            place = np.searchsorted(self.values, value)
            if place < len(self.values) and self.values[place] == value:
                found.append(self.rows[self.starts[place] : self.starts[place + 1]])
        return _unite(found)

    def find_range(self, low: Optional[float], high: Optional[float]) -> np.ndarray:
        """The rows with a value from `low` to `high`, ascending."""
        first = 0 if low is None else np.searchsorted(self.values, low, "left")
        last = len(self.values) if high is None else np.searchsorted(self.values, high, "right")
        return _unite([self.rows[self.starts[first] : self.starts[max(first, last)]]])


def _unite(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.empty(0, np.int32), *parts]))


class Attributes:
    """The attributes of the catalogue; threads may share them.

    A feature is read when a filter first names it: then 4 bytes a value, and its distinct values, stay in memory.

    Attributes:
        train_counts: [num_items] int64 how often training saw each item chosen.
        spec: of the catalogue.
    """

    def __init__(self, model_dir: str | Path, spec: FeatureSpec):
        self._path, self.spec = Path(model_dir, EXTRA_DIR, ITEMS_FILE), spec
        self.train_counts = self._read("train_count").to_numpy()
        self._postings: dict[str, _Postings] = {}
        self._lock = threading.Lock()
        self.match = functools.lru_cache(_REMEMBERED)(self._match)

    def _read(self, name: str) -> pa.Array:
        with artifacts.reading(self._path):
            return lists.one_array(pq.read_table(self._path, columns=[name])[name])

    def read_first(self, name: str) -> np.ndarray:
        """[num_items] the first value of a feature; None where it is missing."""
        kind = pa.float32() if filterable(self.spec)[name].is_number else pa.large_binary()
        values, lengths = lists.read(name, self._read(name), kind)
        return lists.first(values.astype(object), lengths, None)

    def _match(self, conditions: Filter) -> np.ndarray:
        """The rows that pass, ascending; remembered for the filters asked last, 4 bytes a row."""
        kept = None
        for condition in conditions:
            postings = self._get_postings(condition.feature)
            if condition.any is not None:
                kept = _intersect(kept, postings.find(condition.any))
            if condition.min is not None or condition.max is not None:
                kept = _intersect(kept, postings.find_range(condition.min, condition.max))
        if kept is None:
            kept = np.arange(len(self.train_counts), dtype=np.int32)
        for condition in conditions:
            if condition.none:
                unwanted = self._get_postings(condition.feature).find(condition.none)
                kept = np.setdiff1d(kept, unwanted, assume_unique=True)
        return kept

    def _get_postings(self, name: str) -> _Postings:
        with self._lock:
            if name not in self._postings:
                self._postings[name] = self._make_postings(name)
            return self._postings[name]

    def _make_postings(self, name: str) -> _Postings:
        kind = pa.float32() if filterable(self.spec)[name].is_number else pa.large_binary()
        values, lengths = lists.flatten(self._read(name), kind)
        encoded = values.dictionary_encode()
        distinct = encoded.dictionary.to_numpy(zero_copy_only=False)
        order = np.argsort(distinct)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        codes = rank[encoded.indices.to_numpy()]
        rows = lists.owners(lengths).astype(np.int32)[np.argsort(codes, kind="stable")]
        starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(distinct)))])
        return _Postings(distinct[order], starts, rows)


def _intersect(kept: Optional[np.ndarray], rows: np.ndarray) -> np.ndarray:
    return rows if kept is None else np.intersect1d(kept, rows, assume_unique=True)
