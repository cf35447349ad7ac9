"""Lists of values, one list a record: the one codec between columns of example files and arrays.

    [["a", "b"], [], null, ["c"]]  <->  values ["a", "b", "c"], lengths [2, 0, 0, 1]

An empty list and a null both mean that the feature is missing. Where no record of a batch has a feature, the decoder
gives a column of nulls, or none at all: then only the reader knows the type, which is why readers say it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Column = Union[pa.Array, pa.ChunkedArray]

# PyArrow 14 gave the option another name.
_PROMOTE: dict[str, Any] = (
    {"promote_options": "default"} if int(pa.__version__.partition(".")[0]) >= 14 else {"promote": True}
)


def one_array(column: Column) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.Array):
        return column
    # Concatenation needs an array even where there is no chunk.
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])


def concat_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """The records of all tables; a column that is missing or of type null in some has the others' type."""
    return pa.concat_tables(tables, **_PROMOTE)


# --- From lists --------------------------------------------------------------------------------------


def column(records: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    """The column of a feature; one of nulls where the records have none."""
    index = records.schema.get_field_index(name)
    return pa.nulls(records.num_rows) if index < 0 else one_array(records.column(index))


def flatten(lists: Column, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """A column as flat values and lengths; null lists and a column of type null count as empty lists.

    Args:
        lists: [num_records] lists of any layout, whole or a slice.
        kind: type of the values of a column that names none.

    Returns:
        values [sum of lengths] of the column's own type, and lengths [num_records] int64.
    """
    array = one_array(lists)
    if pa.types.is_null(array.type):
        return pa.array([], kind), np.zeros(len(array), np.int64)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    # Unlike `.values` and `.offsets`, these two know where a slice begins, and skip values that hide behind a null.
    values = pc.list_flatten(array)
    return values.cast(kind) if pa.types.is_null(values.type) else values, lengths


def read(name: str, lists: Column, kind: pa.DataType) -> tuple[np.ndarray, np.ndarray]:
    """The same as arrays, after a check of the type; int64 is also read where float32 is expected.

    Args:
        name: of the feature, for the message.

    Returns:
        values [sum of lengths] and lengths [num_records] int64.

    Raises:
        TypeError: the values have another type.
    """
    values, lengths = flatten(lists, kind)
    if len(values) == 0:
        values = pa.array([], kind)  # no value is of the wrong type
    integer_as_float = pa.types.is_floating(kind) and pa.types.is_integer(values.type)
    if values.type != kind and not integer_as_float:
        raise TypeError(f"feature {name!r} must hold {kind}. Received: {values.type}. Check its kind in the spec.")
    return (values if values.type == kind else values.cast(kind)).to_numpy(zero_copy_only=False), lengths


def flat(records: pa.RecordBatch | pa.Table, name: str, kind: pa.DataType) -> tuple[np.ndarray, np.ndarray]:
    """Values and lengths of a feature of some records; see `column` and `read`."""
    return read(name, column(records, name), kind)


def owners(lengths: np.ndarray) -> np.ndarray:
    """[sum of lengths] int64 record of each value."""
    return np.repeat(np.arange(len(lengths)), lengths)


def first(values: np.ndarray, lengths: np.ndarray, missing: Any) -> np.ndarray:
    """[num_records] the first value of each list, or `missing`."""
    result = np.full(len(lengths), missing, values.dtype)
    result[lengths > 0] = values[(np.cumsum(lengths) - lengths)[lengths > 0]]
    return result


def only(name: str, values: np.ndarray, lengths: np.ndarray, missing: Any) -> np.ndarray:
    """[num_records] the only value of each list, or `missing`.

    Raises:
        ValueError: a list has several values.
    """
    if (lengths > 1).any():
        raise ValueError(
            f"feature {name!r} takes one value a record. Received: {lengths.max()} values in record "
            f"{int(lengths.argmax())} of a batch. Make it multi_valued in the spec."
        )
    return first(values, lengths, missing)


def stack(name: str, values: np.ndarray, lengths: np.ndarray, dim: int) -> np.ndarray:
    """[num_records, dim] float32: each list is one vector; a missing vector is a row of NaN.

    Raises:
        ValueError: a list has neither 0 nor `dim` values.
    """
    wrong = (lengths != dim) & (lengths != 0)
    if wrong.any():
        raise ValueError(
            f"feature {name!r} must have {dim} values or none. Received: {lengths[wrong.argmax()]} values in record "
            f"{int(wrong.argmax())} of a batch. Check its dim in the spec."
        )
    stacked = np.full((len(lengths), dim), np.nan, np.float32)
    stacked[lengths == dim] = values.reshape(-1, dim)
    return stacked


def record(records: pa.RecordBatch | pa.Table, row: int) -> dict[str, list]:
    """Column name -> values of one record as Python objects, [] where missing."""
    return {name: records.column(i)[row].as_py() or [] for i, name in enumerate(records.schema.names)}


# --- To lists ----------------------------------------------------------------------------------------


def from_flat(
    values: Column | np.ndarray,
    lengths: np.ndarray,
    kind: Optional[pa.DataType] = None,
    layout: type[pa.LargeListArray] | type[pa.ListArray] = pa.LargeListArray,
) -> pa.LargeListArray | pa.ListArray:
    """Lists from flat values and lengths.

    Args:
        values: [sum of lengths].
        lengths: [num_records] int.
        kind: type of the values; their own when None.
        layout: of the lists; ListArray has offsets of 32 bits, which some readers and kernels want.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    array = pa.array(values, kind) if isinstance(values, np.ndarray) else one_array(values)
    return layout.from_arrays(offsets, array if kind in (None, array.type) else array.cast(kind))


def single(values: Column | np.ndarray, kind: Optional[pa.DataType] = None) -> pa.LargeListArray:
    """Lists of one value each."""
    return from_flat(values, np.ones(len(values), np.int64), kind)


def empty(num_records: int, kind: pa.DataType) -> pa.LargeListArray:
    """So many empty lists."""
    return from_flat(pa.array([], kind), np.zeros(num_records, np.int64))


def empty_as_null(lists: pa.LargeListArray) -> pa.LargeListArray:
    """The same lists with null for an empty one."""
    return pc.if_else(pc.equal(pc.list_value_length(lists), 0), pa.scalar(None, lists.type), lists)


# --- Vectors -----------------------------------------------------------------------------------------


def from_vectors(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """[num_records, dim] float32 as a fixed_size_list column."""
    flat_values = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat_values, vectors.shape[1])


def to_vectors(lists: Column) -> np.ndarray:
    """A fixed_size_list column without nulls as [num_records, dim]."""
    array = one_array(lists)
    return pc.list_flatten(array).to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
