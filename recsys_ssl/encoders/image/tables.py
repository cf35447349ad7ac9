"""Columns of images in CSV and Parquet files."""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, TextIO, Union

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl.encoders.image.archives import MAX_BYTES
from recsys_ssl.encoders.image.guess import tell

_TEXTS = (".csv", ".tsv", ".txt")
_DELIMITERS = (",", "\t", ";")
_SAMPLE_ROWS = 100
_MOST_SHOWN = 200
_BATCH_BYTES = 16 << 20


class Cell(NamedTuple):
    """A cell of a column of images."""

    text: str
    """What stands for it in tables."""
    cell: Union[str, bytes]
    """See `cells.read_cell`; "" where there is nothing."""


def is_table(name: str) -> bool:
    """Whether a file of this name, in lower case, is a table."""
    return name.removesuffix(".gz").endswith(_TEXTS) or name.endswith(".parquet")


def read_table(path: Path, column: Optional[str] = None) -> Iterator[Cell]:
    """Streams a column of images; an empty cell is an empty text.

    Without `column` it is the first one whose first texts look like images, see `guess.tell`, or whose values are
    bytes.

    Raises:
        ValueError: there is no such column, none looks like images, or the file is damaged.
    """
    return _read_parquet(path, column) if path.name.lower().endswith(".parquet") else _read_csv(path, column)


# --- CSV -------------------------------------------------------------------------------------------------


def _read_csv(path: Path, column: Optional[str]) -> Iterator[Cell]:
    # A cell may be an image as text, which has four characters for three bytes.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_BYTES))
    try:
        with open_text(path) as file:
            delimiter = find_delimiter(file, path)
            head = list(itertools.islice(csv.reader(file, delimiter=delimiter), _SAMPLE_ROWS))
            place, has_header = _find_place(head, column, path)
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter)
            for number, row in enumerate(row for row in rows if row):
                if number or not has_header:
                    cell = row[place] if place < len(row) else ""
                    yield Cell(_shorten(cell), cell)
    except (csv.Error, UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"a table must be CSV in UTF-8. Received: {str(path)!r}: {error}. Write it again.") from error


def open_text(path: Path) -> TextIO:
    """A table of text, also of a .gz."""
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return open(path, newline="", encoding="utf-8-sig")


def find_delimiter(file: TextIO, path: Path) -> str:
    """The one that the first line has most of; the file is at its start afterwards."""
    line = file.readline(1 << 20)
    if not line.strip():
        raise ValueError(f"a table must have rows. Received: {str(path)!r}, whose first line is empty. Check the path.")
    file.seek(0)
    return max(_DELIMITERS, key=line.count)


def _find_place(head: Sequence[Sequence[str]], column: Optional[str], path: Path) -> tuple[int, bool]:
    """Place of the column among the cells of a row, and whether the first row is a header."""
    names, *rows = [row for row in head if row]
    has_header = not any(cell and tell([cell], []) for cell in names)
    if column is not None:
        if has_header and names.count(column) == 1:
            return names.index(column), True
        if not has_header and column.isdecimal() and 1 <= int(column) <= len(names):
            return int(column) - 1, False
        raise _no_column(column, names if has_header else [str(place + 1) for place in range(len(names))], path)
    for place, _ in enumerate(names):
        texts = [row[place] for row in (rows if has_header else [names, *rows]) if place < len(row) and row[place]]
        if texts and tell(texts, []):
            return place, has_header
    raise _no_column(None, names, path)


def _no_column(column: Optional[str], names: Sequence[str], path: Path) -> ValueError:
    received = "none that looks like images" if column is None else repr(column)
    shown = ", ".join(map(repr, names[:20]))
    return ValueError(
        f"a column of {str(path)!r} must hold images. Received: {received}; there are {shown:.300}. "
        "Name one of them by --column."
    )


# --- Parquet ---------------------------------------------------------------------------------------------


def _read_parquet(path: Path, column: Optional[str]) -> Iterator[Cell]:
    try:
        with pq.ParquetFile(path) as parquet:
            name = _find_field(parquet, column, path)
            row_bytes = os.path.getsize(path) // max(1, parquet.metadata.num_rows)
            size = max(1, min(1024, _BATCH_BYTES // max(1, row_bytes)))
            row = 0
            for batch in parquet.iter_batches(batch_size=size, columns=[name]):
                for value in _take(batch, name):
                    cell = value.as_py() or ""
                    yield Cell(_shorten(cell) if isinstance(cell, str) else f"{path.name}:{row}", cell)
                    row += 1
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"a table must be whole. Received: {str(path)!r}: {why}. Write it again.") from error


def _find_field(parquet: pq.ParquetFile, column: Optional[str], path: Path) -> str:
    """The dotted name of the column, or of the field of a column of structs."""
    fields: dict[str, pa.DataType] = {}
    for field in parquet.schema_arrow:
        inner = {f"{field.name}.{f.name}": f.type for f in field.type} if pa.types.is_struct(field.type) else {}
        fields |= inner or {field.name: field.type}
    kinds = {name: kind for name, kind in fields.items() if _is_binary(kind) or _is_text(kind)}
    if column is not None:
        if column in kinds:
            return column
        raise _no_column(column, list(fields), path)
    binary = next((name for name, kind in kinds.items() if _is_binary(kind)), None)
    if binary is not None:
        return binary
    for name in kinds:
        batch = next(parquet.iter_batches(batch_size=_SAMPLE_ROWS, columns=[name]), None)
        texts = [text for text in _take(batch, name).to_pylist() if text] if batch is not None else []
        if texts and tell(texts, []):
            return name
    raise _no_column(None, list(fields), path)


def _take(batch: pa.RecordBatch, name: str) -> pa.Array:
    top, _, below = name.partition(".")
    array = batch.column(name if name in batch.schema.names else top)
    if name not in batch.schema.names:
        array = array.flatten()[array.type.get_field_index(below)]
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _shorten(text: str) -> str:
    """A text that still tells images apart: those of one kind and size begin alike and may be as long."""
    if len(text) <= _MOST_SHOWN:
        return text
    told = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{text[: _MOST_SHOWN // 2]}... ({len(text):,} characters, {told})"
