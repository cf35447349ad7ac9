"""Reads CSV, JSON lines and Parquet into columns; what cannot be read comes out as a reject, never lost.

A record is rejected, not the file: a broken line, a damaged gzip tail or a wrong number of cells costs the
records that it touches. Only a file that cannot be understood at all (a column is missing) is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from recsys_ssl.logs.batches import Batch, LogError, Reject
from recsys_ssl.logs.csv_files import read_csv
from recsys_ssl.logs.elements import explode_cells, source_columns
from recsys_ssl.logs.json_files import read_json
from recsys_ssl.logs.parquet_files import read_parquet
from recsys_ssl.logs.text_blocks import read_blocks
from recsys_ssl.logs.values import without_words
from recsys_ssl.spec import Files

__all__ = ["Batch", "LogError", "Reject", "read_batches"]


def read_batches(
    stream: BinaryIO, file: str, files: Files, columns: Mapping[str, str], rows_per_batch: int = 50_000
) -> Iterator[Batch]:
    """Yields the records of one file.

    A gzip file that is cut off or damaged gives all records before the damage and one reject for the line
    where it ends. A quotation mark that is never closed costs its own line: reading resumes with the next.

    Args:
        stream: the file's bytes, compressed when `file` ends in `.gz`.
        file: name for messages and rejects.
        columns: the columns to read -> the key of the spec that names them, for messages.
        rows_per_batch: lines (or Parquet rows) of a batch, the only records that are held.

    Raises:
        LogError: a column is missing, or a Parquet file is no Parquet file.
    """
    wanted = columns if files.explode is None else source_columns(columns, files.explode)
    for batch in _read_format(stream, file, files, wanted, rows_per_batch):
        if files.explode is not None:
            batch = explode_cells(batch, file, files.explode, list(columns))
        if files.missing:
            batch = batch._replace(columns=without_words(batch.columns, files.missing))
        yield batch


def _read_format(
    stream: BinaryIO, file: str, files: Files, columns: Mapping[str, str], rows_per_batch: int
) -> Iterator[Batch]:
    if files.format == "parquet":
        yield from read_parquet(stream, file, columns, rows_per_batch)
        return
    blocks = read_blocks(stream, file, files.encoding, rows_per_batch)
    if files.format == "jsonl":
        yield from read_json(blocks, file, files.encoding, columns)
    else:
        yield from read_csv(blocks, file, files, columns)
