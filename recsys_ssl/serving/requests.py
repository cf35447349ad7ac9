"""Plain Python values of a request as the Arrow columns that a model's inputs are made of."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, Optional

import pyarrow as pa
import tensorflow as tf

_LARGEST_K = 2**31 - 1
_TAKES = {tf.string: "strings", tf.int64: "whole numbers"}
_ARROW = {"strings": pa.large_binary(), "whole numbers": pa.int64(), "numbers": pa.float32()}
# Of these types a value needs no second look.
_PLAIN: dict[str, tuple[type, ...]] = {"strings": (str, bytes), "whole numbers": (int,), "numbers": (float, int)}


class Request(NamedTuple):
    """One or many records, column by column."""

    num_records: int
    features: pa.RecordBatch
    """[num_records] lists, as the model's inputs are made of; a column each, also where nothing is given."""
    ids: dict[str, pa.Array]
    """Name -> [num_records] lists of ids, of the lists of ids that were given; null where a record says nothing."""


def check_k(k: Any) -> None:
    """
    Raises:
        TypeError: k is no whole number.
        ValueError: it is not positive, or beyond int32.
    """
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise TypeError(f"k must be a whole number. Received: k={k!r}. Write it as one, e.g. k=10.")
    if k < 1:
        raise ValueError(f"k must be positive. Received: k={k}.")
    if int(k) > _LARGEST_K:
        raise ValueError(f"k must be at most {_LARGEST_K}. Received: k={k}. No catalogue has as many items.")


def read_request(
    features: Mapping[str, Sequence[Any]],
    specs: Mapping[str, tf.TensorSpec],
    num_records: Optional[int] = None,
    **ids: Optional[Sequence],
) -> Request:
    """Checks what was asked and brings it into columns.

    Args:
        features: see `recommender.recommend`.
        specs: the features that the model takes.
        num_records: how many there must be; as many as were given when None.
        ids: name -> one list of ids per record; None where nothing is said.

    Raises:
        ValueError: a feature is unknown, or lists have different lengths.
        TypeError: a value has the wrong type, or stands where a list of one value per record is meant.
    """
    if not isinstance(features, Mapping):
        raise TypeError(
            f"features must be a dict of lists. Received: {features!r:.99}. Write {{'user': ['7']}}, of a pandas "
            "DataFrame its .to_dict('list')."
        )
    unknown = sorted(set(features) - set(specs))
    if unknown:
        raise ValueError(f"features must be among {sorted(specs)}. Received: {unknown}.")
    given = {name: per_query(name, values) for name, values in features.items()}
    of_ids = {
        name: [ids_per_query(name, values) for values in per_query(name, some)]
        for name, some in ids.items()
        if some is not None
    }
    counts = {name: len(values) for name, values in {**given, **of_ids}.items()}
    num_records = next(iter(counts.values()), 1) if num_records is None else num_records
    if any(count != num_records for count in counts.values()):
        told = " and ".join(["every feature", *of_ids])
        raise ValueError(f"{told} must have one value per query. Received: {counts} values.")
    absent = [None] * num_records
    columns = {name: list_column(name, given.get(name, absent), spec.dtype) for name, spec in specs.items()}
    id_columns = {name: list_column(name, rows, tf.string, keep_missing=True) for name, rows in of_ids.items()}
    return Request(num_records, pa.RecordBatch.from_pydict(columns), id_columns)


def per_query(name: str, values: Any) -> list:
    """The values of a feature, one per query; a text or a dict would be taken apart."""
    found = _as_list(values)
    if found is None:
        raise TypeError(
            f"{name!r} must be a list of one value per query. Received: {values!r:.99}. "
            f"Pass a list, of a single query [{values!r:.99}]."
        )
    return found


def ids_per_query(name: str, values: Any) -> Optional[list]:
    """The ids of one query; a single text might be meant as one of a list for a single query."""
    found = _as_list(values)
    if found is None and not _is_missing(values):
        raise TypeError(
            f"{name!r} must be one list of ids per query. Received: {values!r:.99} in place of such a list. "
            f"Pass lists, for a single query [[{values!r:.99}]]."
        )
    return found


def _as_list(values: Any) -> Optional[list]:
    """A list, tuple, array, tensor or Series as a list; None for what is none of these."""
    if isinstance(values, tf.Tensor):
        values = values.numpy()
    if hasattr(values, "tolist") and not isinstance(values, (str, bytes)):
        values = values.tolist()  # of one number a number
    if isinstance(values, (str, bytes, bytearray, memoryview)) or not isinstance(values, Sequence):
        return None
    return list(values)


def _is_missing(value: Any) -> bool:
    """Whether a value is None, or what pandas puts in its place."""
    return _is_none(value) or (isinstance(value, Real) and value != value)


def _is_none(value: Any) -> bool:
    # Nobody has pandas' NA who has not loaded pandas.
    return value is None or ("pandas" in sys.modules and value is sys.modules["pandas"].NA)


def to_texts(column: pa.Array) -> list[list[str]]:
    """[num_records] lists of texts; none where nothing is said."""
    return [[text.decode("utf-8", "replace") for text in row or []] for row in column.to_pylist()]


def list_column(name: str, values: Sequence[Any], dtype: tf.DType, keep_missing: bool = False) -> pa.Array:
    """[num_queries] lists of values as the model takes them; what is missing is null, or else an empty list."""
    takes = _TAKES.get(dtype, "numbers")
    plain = _PLAIN[takes]
    rows: list[Optional[list]] = []
    for value in values:
        if keep_missing and value is None:
            rows.append(None)
            continue
        row = [] if _is_missing(value) else _as_list(value)
        row = [value] if row is None else row
        for one in row:
            if type(one) in plain:
                continue
            if _is_none(one):
                raise TypeError(f"{name!r} takes {takes}. Received: {one} in {row!r:.99}. Leave it out of the list.")
            if takes == "strings" and not isinstance(one, (str, bytes)):
                raise TypeError(f"{name!r} takes strings. Received: {one!r}. Write it as in the log.")
            kind = Integral if takes == "whole numbers" else Real
            if takes != "strings" and (not isinstance(one, kind) or isinstance(one, bool)):
                raise TypeError(f"{name!r} takes {takes}. Received: {one!r}.")
        rows.append([float(one) for one in row] if takes == "numbers" else row)
    return pa.array(rows, pa.large_list(_ARROW[takes]))


def to_batch(records: Sequence[Mapping[str, Any]], specs: Mapping[str, tf.TensorSpec]) -> pa.RecordBatch:
    """Raw records as the columns that a model's inputs are made of; a feature that is not there is missing."""
    columns = {
        name: list_column(name, [record.get(name) for record in records], spec.dtype) for name, spec in specs.items()
    }
    return pa.RecordBatch.from_pydict(columns)
