"""Raw records as the arrays that a SavedModel signature takes.

A record's feature is a list of values and an empty list means missing. A signature wants rectangles:

    string [None]        one value, "" when missing
    string [None, None]  padded with ""
    float32 [None]       one number, NaN when missing
    float32 [None, dim]  a vector, a NaN row when missing
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import tensorflow as tf

_SMALLEST_BUCKET = 8


def bucket_size(size: int) -> int:
    """The next power of two, at least 8: few distinct shapes, so that kernels and traces are reused."""
    return max(_SMALLEST_BUCKET, 1 << (int(size) - 1).bit_length())


def input_specs(saved_model, signature: str) -> dict[str, tf.TensorSpec]:
    """Name -> dtype and shape of the inputs of a signature.

    Raises:
        ValueError: the SavedModel has no such signature.
    """
    if signature not in saved_model.signatures:
        raise ValueError(
            f"the SavedModel needs the signature {signature!r}. Received: {sorted(saved_model.signatures)}. "
            "Export it with this version's training."
        )
    return dict(saved_model.signatures[signature].structured_input_signature[1])


def column(records: pa.RecordBatch, name: str) -> pa.Array:
    """The column `name` of a batch of records.

    Raises:
        ValueError: there is none.
    """
    index = records.schema.get_field_index(name)
    if index < 0:
        raise ValueError(
            f"the examples need the feature {name!r}. Received: {sorted(records.schema.names)}. "
            "Ingest the data with the spec that the towers were trained with."
        )
    return records.column(index)


def feature_column(records: pa.RecordBatch, name: str) -> pa.Array:
    """The column of a feature; records that all lack it have no such column, which here is one of nulls."""
    index = records.schema.get_field_index(name)
    return pa.nulls(len(records)) if index < 0 else records.column(index)


def split_lists(name: str, lists: pa.Array, expected: pa.DataType) -> tuple[np.ndarray, np.ndarray]:
    """A list column as flat values and lengths.

    Args:
        lists: [num_records] large_list; a null list and a column of type null count as empty lists.
        expected: type of the values; int64 is also read where float32 is expected.

    Returns:
        values [sum of lengths] and lengths [num_records] int64.

    Raises:
        TypeError: the values have another type.
    """
    if pa.types.is_null(lists.type):
        values, lengths = pa.nulls(0), np.zeros(len(lists), np.int64)
    else:
        values, lengths = lists.flatten(), lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    if len(values) == 0:
        # Without a value the decoder cannot know the type.
        values = pa.array([], expected)
    integer_as_float = pa.types.is_floating(expected) and pa.types.is_integer(values.type)
    if values.type != expected and not integer_as_float:
        raise TypeError(f"feature {name!r} must hold {expected}. Received: {values.type}. Check its kind in the spec.")
    return values.cast(expected).to_numpy(zero_copy_only=False), lengths


def first_values(name: str, lists: pa.Array, expected: pa.DataType, missing) -> np.ndarray:
    """[num_records] the only value of every list, or `missing`.

    Raises:
        ValueError: a list has several values.
    """
    values, lengths = split_lists(name, lists, expected)
    if (lengths > 1).any():
        raise ValueError(
            f"feature {name!r} takes one value a record. Received: {lengths.max()} values in record "
            f"{int(lengths.argmax())} of a batch. Make it multi_valued in the spec."
        )
    result = np.full(len(lengths), missing, values.dtype)
    result[lengths == 1] = values
    return result


def pad_lists(name: str, lists: pa.Array) -> np.ndarray:
    """[num_records, width] object: the byte strings of every list, padded with b"".

    The width is the longest list's, rounded up to a power of two: 8 bytes x num_records x width.
    """
    values, lengths = split_lists(name, lists, pa.large_binary())
    padded = np.full((len(lengths), bucket_size(lengths.max(initial=0))), b"", object)
    starts = np.cumsum(lengths) - lengths
    rows = np.repeat(np.arange(len(lengths)), lengths)
    padded[rows, np.arange(len(values)) - np.repeat(starts, lengths)] = values
    return padded


def stack_vectors(name: str, lists: pa.Array, dim: int) -> np.ndarray:
    """[num_records, dim] float32: every list is one vector; a missing vector is a row of NaN.

    Raises:
        ValueError: a list has neither 0 nor `dim` values.
    """
    values, lengths = split_lists(name, lists, pa.float32())
    wrong = (lengths != dim) & (lengths != 0)
    if wrong.any():
        raise ValueError(
            f"feature {name!r} must have {dim} values or none. Received: {lengths[wrong.argmax()]} values in record "
            f"{int(wrong.argmax())} of a batch. Check its dim in the spec."
        )
    stacked = np.full((len(lengths), dim), np.nan, np.float32)
    stacked[lengths == dim] = values.reshape(-1, dim)
    return stacked


def to_arrays(records: pa.RecordBatch, specs: dict[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """The arrays of a signature's inputs, one row per record.

    Args:
        records: large_list columns; an input without column is missing in every record.
        specs: the inputs, from `input_specs`.

    Raises:
        ValueError: a list has the wrong length.
        TypeError: a column has the wrong type.
    """
    arrays = {}
    for name, spec in specs.items():
        lists, rank = feature_column(records, name), spec.shape.rank
        if spec.dtype == tf.string and rank == 1:
            arrays[name] = first_values(name, lists, pa.large_binary(), b"")
        elif spec.dtype == tf.string and rank == 2:
            arrays[name] = pad_lists(name, lists)
        elif spec.dtype == tf.float32 and rank == 1:
            arrays[name] = first_values(name, lists, pa.float32(), np.nan)
        elif spec.dtype == tf.float32 and rank == 2 and spec.shape[1] is not None:
            arrays[name] = stack_vectors(name, lists, spec.shape[1])
        else:
            raise ValueError(
                f"input {name!r} must be string [None], string [None, None], float32 [None] or float32 [None, dim]. "
                f"Received: {spec.dtype.name} {spec.shape}. Export the towers with this version's training."
            )
    return arrays


def pad_rows(arrays: dict[str, np.ndarray], num_rows: int) -> dict[str, np.ndarray]:
    """The arrays with missing records appended up to `num_rows`."""
    return {name: _pad_rows(array, num_rows) for name, array in arrays.items()}


def _pad_rows(array: np.ndarray, num_rows: int) -> np.ndarray:
    missing = b"" if array.dtype == object else np.nan
    padding = np.full((num_rows - len(array), *array.shape[1:]), missing, array.dtype)
    return np.concatenate([array, padding])
