"""Parquet: columns keep the types of the file; text that is no UTF-8 is a reject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Optional

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl.logs.batches import Batch, LogError, Reject, check_columns, is_list


def read_parquet(stream: BinaryIO, file: str, columns: Mapping[str, str], rows_per_batch: int) -> Iterator[Batch]:
    """Yields the records of a file; arguments as in `readers.read_batches`."""
    row = 1
    try:
        # Spark's INT96 counts nanoseconds: in 64 bits they wrap round outside of 1677 to 2262.
        parquet = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
        check_columns(file, columns, parquet.schema_arrow.names)
        for column, key in columns.items():
            _check_type(parquet.schema_arrow.field(column).type, file, column, key)
        for batch in parquet.iter_batches(batch_size=rows_per_batch, columns=list(columns)):
            table = pa.Table.from_batches([batch]).select(list(columns))
            lines = np.arange(row, row + batch.num_rows)
            row += batch.num_rows
            sound = np.logical_and.reduce([np.ones(len(lines), bool), *map(_find_text, table.columns)])
            rejects = [Reject("not valid UTF-8", file, line, None) for line in lines[~sound].tolist()]
            yield Batch(table.filter(pa.array(sound)), lines[sound], rejects)
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise LogError(f"{file}: this is no Parquet from row {row} on: {why}. Write the file again.") from error


def _check_type(kind: pa.DataType, file: str, column: str, key: str) -> None:
    value = kind
    while pa.types.is_dictionary(value) or is_list(value):
        value = value.value_type
    depth = str(kind).count("list<")
    if depth > 1 or pa.types.is_nested(value) or pa.types.is_duration(value) or pa.types.is_interval(value):
        raise LogError(
            f"{file}: column {column!r} ({key}) must hold text, numbers, times or lists of these. Received: {kind}. "
            "Write the field that you need to a column of its own."
        )


def _find_text(column: pa.ChunkedArray) -> np.ndarray:
    """[num_records] bool, False where bytes are no UTF-8."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return np.ones(len(column), bool)
    column = column.cast(kind).cast(pa.large_binary())
    try:
        column.cast(pa.large_string())
        return np.ones(len(column), bool)
    except pa.ArrowInvalid:
        return np.array([_decodes(value) for value in column.to_pylist()], bool)


def _decodes(value: Optional[bytes]) -> bool:
    try:
        return value is None or value.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False
