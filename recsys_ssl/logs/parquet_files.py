"""Parquet: columns keep the types of the file; text that is no UTF-8 is a reject.

A column may be a path into structs, as `user.id`; behind a list of structs it is the list of their values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO, NamedTuple, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_ssl import lists
from recsys_ssl.logs.batches import Batch, LogError, Reject, check_columns, is_list
from recsys_ssl.logs.values import TEXT, is_binary, is_text

_CONTENT_BYTES = 64 << 20
_UUID_BYTES = 16
_DASHES = np.array([8, 13, 18, 23])


def read_parquet(
    stream: BinaryIO, file: str, columns: Mapping[str, str], rows_per_batch: int, contents: Collection[str] = ()
) -> Iterator[Batch]:
    """Yields the records of a file; arguments as in `readers.read_batches`. Of content a batch has some 64 MB."""
    row = 1
    try:
        # Spark's INT96 counts nanoseconds: in 64 bits they wrap round outside of 1677 to 2262.
        parquet = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
        paths = _find_paths(parquet.schema_arrow, file, columns)
        uuids = _find_uuids(parquet.schema)
        tops = list(dict.fromkeys(path.top for path in paths.values()))
        content_tops = {path.top for column, path in paths.items() if column in contents}
        if content_tops:
            row_bytes = _count_bytes(parquet.metadata, content_tops) // max(1, parquet.metadata.num_rows)
            rows_per_batch = max(1, min(rows_per_batch, _CONTENT_BYTES // max(1, row_bytes)))
        for batch in parquet.iter_batches(batch_size=rows_per_batch, columns=tops):
            table = pa.table(
                [_read_column(batch.column(path.top), path, column in uuids) for column, path in paths.items()],
                list(paths),
            )
            lines = np.arange(row, row + batch.num_rows)
            row += batch.num_rows
            checks = [_find_text(table[column]) for column in columns if not _is_content(table, column, contents)]
            sound = np.logical_and.reduce([np.ones(len(lines), bool), *checks])
            rejects = [Reject("not valid UTF-8", file, line, None) for line in lines[~sound].tolist()]
            yield Batch(table.filter(pa.array(sound)), lines[sound], rejects)
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise LogError(f"{file}: this is no Parquet from row {row} on: {why}. Write the file again.") from error


def _count_bytes(metadata: pq.FileMetaData, tops: Collection[str]) -> int:
    """The bytes, not compressed, of some columns and all below them."""
    groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
    chunks = (group.column(place) for group in groups for place in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in tops)


def _is_content(table: pa.Table, column: str, contents: Collection[str]) -> bool:
    kind = table.schema.field(column).type
    return column in contents and is_binary(kind.value_type if pa.types.is_dictionary(kind) else kind)


# --- Paths -----------------------------------------------------------------------------------------


class _Path(NamedTuple):
    """Where a column's values lie: a column of the file, and the names of structs' fields below it."""

    top: str
    below: tuple[str, ...]


def _find_paths(schema: pa.Schema, file: str, columns: Mapping[str, str]) -> dict[str, _Path]:
    found = {column: path for column in columns if (path := _find_path(schema, column)) is not None}
    check_columns(file, columns, [*schema.names, *(column for column in found if column not in schema.names)])
    for column, path in found.items():
        kind = _type_below(schema.field(path.top).type, path.below)
        if kind is None:
            raise ValueError(f"a path that was found must have a type. Received: {path}.")
        _check_type(kind, file, column, columns[column])
    return found


def _find_path(schema: pa.Schema, column: str) -> Optional[_Path]:
    """The column of this name goes before a field."""
    if column in schema.names:
        return _Path(column, ())
    parts = column.split(".")
    for end in range(1, len(parts)):
        top, below = ".".join(parts[:end]), tuple(parts[end:])
        if schema.names.count(top) == 1 and _type_below(schema.field(top).type, below) is not None:
            return _Path(top, below)
    return None


def _type_below(kind: pa.DataType, names: tuple[str, ...]) -> Optional[pa.DataType]:
    for place, name in enumerate(names):
        if is_list(kind):
            inner = _type_below(kind.value_type, names[place:])
            return None if inner is None else pa.large_list(inner)
        index = kind.get_field_index(name) if pa.types.is_struct(kind) else -1
        if index < 0:
            return None
        kind = kind[index].type
    return kind


def _check_type(kind: pa.DataType, file: str, column: str, key: str) -> None:
    value, depth = kind, 0
    while pa.types.is_dictionary(value) or is_list(value):
        depth += is_list(value)
        value = value.value_type
    if depth > 1 or pa.types.is_nested(value) or pa.types.is_interval(value):
        advice = "Write the field that you need to a column of its own."
        if pa.types.is_struct(value) and depth < 2:
            advice = f"Name the field that you need: {', '.join(f'{column}.{field.name}' for field in value)}."
        raise LogError(
            f"{file}: column {column!r} ({key}) must hold text, numbers, times or lists of these. Received: {kind}. "
            f"{advice}"
        )


# --- Columns ---------------------------------------------------------------------------------------


def _read_column(array: pa.Array, path: _Path, is_uuid: bool) -> pa.Array:
    array = _take_field(array, path.below)
    if isinstance(array, pa.ExtensionArray):
        is_uuid |= array.type.extension_name == "arrow.uuid"
        array = array.storage
    if str(array.type).endswith("_view"):
        array = array.cast(TEXT if str(array.type) == "string_view" else pa.large_binary())
    return write_uuids(array) if is_uuid and array.type == pa.binary(_UUID_BYTES) else array


def _take_field(array: pa.Array, names: tuple[str, ...]) -> pa.Array:
    for place, name in enumerate(names):
        if is_list(array.type):
            structs, lengths = lists.flatten(array, TEXT)
            return lists.from_flat(_take_field(structs, names[place:]), lengths)
        array = pc.struct_field(array, [array.type.get_field_index(name)])
    return array


def _find_uuids(schema: pq.ParquetSchema) -> set[str]:
    leaves = (schema.column(i) for i in range(len(schema)))
    return {leaf.path for leaf in leaves if leaf.logical_type.type == "UUID"}


def write_uuids(array: pa.FixedSizeBinaryArray) -> pa.Array:
    """[num_records] text as 123e4567-e89b-12d3-a456-426614174000."""
    filled = pc.fill_null(array, pa.scalar(bytes(_UUID_BYTES), array.type))
    data = b"".join(filled.to_pylist())
    digits = np.frombuffer(data.hex().encode(), np.uint8).reshape(len(array), 2 * _UUID_BYTES)
    width = 2 * _UUID_BYTES + len(_DASHES)
    written = np.full((len(array), width), ord("-"), np.uint8)
    written[:, np.setdiff1d(np.arange(width), _DASHES)] = digits
    offsets = pa.py_buffer(np.arange(0, written.size + 1, width, dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(len(array), offsets, pa.py_buffer(written.tobytes()))
    return pc.if_else(array.is_valid(), text, pa.scalar(None, TEXT))


def _find_text(column: pa.ChunkedArray) -> np.ndarray:
    """[num_records] bool, False where bytes, or a value of a list, are no UTF-8."""
    if is_list(column.type):
        values, lengths = lists.flatten(column, TEXT)
        bad = ~_find_text(pa.chunked_array([values]))
        return np.bincount(lists.owners(lengths)[bad], minlength=len(lengths)) == 0
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not is_text(kind):
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
