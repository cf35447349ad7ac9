"""Raw records as the arrays that a SavedModel signature takes.

A record's feature is a list of values and an empty list means missing. A signature wants rectangles:

    string [None]        one value, "" when missing
    string [None, None]  padded with ""
    float32 [None]       one number, NaN when missing
    float32 [None, dim]  a vector, a NaN row when missing
    int64 [None]         a time in microseconds, -1 when missing
    int64 [None, None]   times, padded with -1
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_ssl import lists

_SMALLEST_BUCKET = 8
_MISSING: dict[tf.DType, bytes | int] = {tf.string: b"", tf.int64: -1}


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
    specs = saved_model.signatures[signature].structured_input_signature[1]
    # TensorFlow's own names of the tensors are in lower case; an input is called as in the spec.
    return {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}


def column(records: pa.RecordBatch, name: str) -> pa.Array:
    """The column `name` of a batch of records.

    Raises:
        ValueError: there is none.
    """
    if name not in records.schema.names:
        raise ValueError(
            f"the examples need the feature {name!r}. Received: {sorted(records.schema.names)}. "
            "Ingest the data with the spec that the towers were trained with."
        )
    return lists.column(records, name)


def pad_lists(values: np.ndarray, lengths: np.ndarray, missing: bytes | int = b"") -> np.ndarray:
    """[num_records, width] object or int64: the byte strings or numbers of every list, padded with `missing`.

    The width is the longest list's, rounded up to a power of two: 8 bytes x num_records x width.
    """
    padded = np.full((len(lengths), bucket_size(lengths.max(initial=0))), missing, values.dtype)
    starts = np.cumsum(lengths) - lengths
    padded[lists.owners(lengths), np.arange(len(values)) - np.repeat(starts, lengths)] = values
    return padded


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
        rank, kind = spec.shape.rank, pa.int64() if spec.dtype == tf.int64 else pa.large_binary()
        if spec.dtype in _MISSING and rank == 1:
            arrays[name] = lists.only(name, *lists.flat(records, name, kind), _MISSING[spec.dtype])
        elif spec.dtype in _MISSING and rank == 2:
            arrays[name] = pad_lists(*lists.flat(records, name, kind), _MISSING[spec.dtype])
        elif spec.dtype == tf.float32 and rank == 1:
            arrays[name] = lists.only(name, *lists.flat(records, name, pa.float32()), np.nan)
        elif spec.dtype == tf.float32 and rank == 2 and spec.shape[1] is not None:
            arrays[name] = lists.stack(name, *lists.flat(records, name, pa.float32()), spec.shape[1])
        else:
            raise ValueError(
                f"input {name!r} must be string or int64 [None] or [None, None], or float32 [None] or [None, dim]. "
                f"Received: {spec.dtype.name} {spec.shape}. Export the towers with this version's training."
            )
    return arrays


def pad_rows(arrays: dict[str, np.ndarray], num_rows: int) -> dict[str, np.ndarray]:
    """The arrays with missing records appended up to `num_rows`."""
    return {name: _pad_rows(array, num_rows) for name, array in arrays.items()}


def _pad_rows(array: np.ndarray, num_rows: int) -> np.ndarray:
    missing = {"O": b"", "i": -1}.get(array.dtype.kind, np.nan)
    padding = np.full((num_rows - len(array), *array.shape[1:]), missing, array.dtype)
    return np.concatenate([array, padding])
