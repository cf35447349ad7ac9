"""Samples of Parquet files, as texts, with what the files know of their types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl import lists
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.sample import ELEMENT, HEAD_RECORDS, MIDDLE_RECORDS, Fact, Sample, as_text


def read_parquet(path: str, share: int) -> Sample:
    """Reads the first records of a Parquet file and some of its middle.

    Args:
        share: files among which the records to read are shared.

    Raises:
        GuessError: the file is no Parquet.
    """
    try:
        parquet = pq.ParquetFile(path, coerce_int96_timestamp_unit="us")
        num_head, num_middle = HEAD_RECORDS // share, MIDDLE_RECORDS // share
        parts = [_first_rows(parquet, 0, num_head)]
        is_whole = parquet.metadata.num_rows <= num_head
        if parquet.num_row_groups > 2:
            parts.append(_first_rows(parquet, parquet.num_row_groups // 2, num_middle))
    except (pa.ArrowException, OSError) as error:
        raise GuessError(f"{path}: this is no Parquet: {str(error).splitlines()[0]}. Write the file again.") from error
    records = pa.concat_tables([part for part in parts if part is not None])
    while any(pa.types.is_struct(kind) for kind in records.schema.types):
        records = records.flatten()  # the fields of a struct get dotted names
    columns, own_types = {}, {}
    for name, values, root in _spread(records):
        column, kind = _texts_of(values)
        kind = f"{ELEMENT}{root}" if root else kind
        if column is not None:
            columns[name] = column
        if kind:
            own_types[name] = kind
    return Sample({"format": Fact("parquet", "by its first bytes")}, pa.table(columns), own_types, is_whole)


def _spread(records: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray, str]]:
    """Yields (name, values, ""), and for the fields of a list of structs (name, lists, name of the list)."""
    for name in records.column_names:
        column, kind = records[name], records.schema.field(name).type
        if not ((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_struct(kind.value_type)):
            yield name, column, ""
            continue
        array = lists.one_array(column)
        structs, lengths = lists.flatten(array, kind.value_type)
        for place, field in enumerate(kind.value_type):
            values = pa.chunked_array([lists.from_flat(structs.field(place), lengths)])
            yield f"{name}.{field.name}", values, name


def _first_rows(parquet: pq.ParquetFile, group: int, num_rows: int) -> pa.Table:
    groups = list(range(group, parquet.num_row_groups)) or None
    for batch in parquet.iter_batches(batch_size=num_rows, row_groups=groups):
        return pa.Table.from_batches([batch])
    return parquet.schema_arrow.empty_table()


def _texts_of(column: pa.ChunkedArray) -> tuple[Optional[pa.Array], str]:
    """A column as texts or lists of texts, None where it is neither, and what the file knows of its type."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        value = kind.value_type
        if pa.types.is_nested(value):
            return None, ""
        texts = [None if row is None else [as_text(part) for part in row] for row in array.to_pylist()]
        return pa.array(texts, pa.large_list(pa.large_string())), ""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = array.cast(pa.timestamp("s"), safe=False) if pa.types.is_timestamp(kind) else array.cast(pa.date32())
        return times.cast(pa.string()).cast(pa.large_string()), "time"
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
        return None, ""
    if pa.types.is_boolean(kind):
        return array.cast(pa.string()).cast(pa.large_string()), "bool"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([_decode(value) for value in array.to_pylist()], pa.large_string()), ""
    if pa.types.is_decimal(kind):
        decimals = [None if value is None else format(value, "f") for value in array.to_pylist()]
        return pa.array(decimals, pa.large_string()), "number"
    if pa.types.is_floating(kind):
        return pa.array(map(_float_text, array.to_pylist()), pa.large_string()), "number"
    if pa.types.is_integer(kind):
        return array.cast(pa.string()).cast(pa.large_string()), "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            array.cast(pa.large_binary()).cast(pa.large_string())  # which looks whether it is UTF-8
            return array.cast(pa.large_string()), ""
        except pa.ArrowInvalid:
            return pa.array(
                [_decode(value) for value in array.cast(pa.large_binary()).to_pylist()], pa.large_string()
            ), ""
    return None, ""


def _decode(value: Optional[bytes]) -> Optional[str]:
    return None if value is None else value.decode("utf-8", "replace")


def _float_text(value: Optional[float]) -> Optional[str]:
    if value is None or value != value:
        return None
    return str(int(value)) if value.is_integer() else repr(value)
