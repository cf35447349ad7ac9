"""Bytes from the beginning and the middle of a file, unpacked; never more of it."""

from __future__ import annotations

import os
from typing import BinaryIO, NamedTuple

from recsys_ssl.logs.batches import LogError
from recsys_ssl.logs.compression import DamageError, find_compression, read_plain

HEAD_BYTES = 8 << 20
MIDDLE_BYTES = 1 << 20

_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook. Save it as CSV (UTF-8)",
    b"%PDF": "a PDF document. Export the table as CSV",
    b"\x93NUMPY": "a NumPy array. Write it as Parquet or CSV",
    b"SQLite format 3": "an SQLite database. Export the tables as CSV",
    b"ORC": "an ORC file. Write it as Parquet",
    b"Obj\x01": "an Avro file. Write it as Parquet or JSON lines",
    b"\x89HDF": "an HDF5 file. Write it as Parquet",
    b"<!DOCTYPE": "a web page. Download the data again",
    b"<html": "a web page. Download the data again",
}


class GuessError(ValueError):
    """What cannot be guessed; the message says what was seen and which option or step helps."""


class Opened(NamedTuple):
    """Parts of one file."""

    head: bytes
    middle: bytes
    """From somewhere in a line on; empty when the head is the whole file, or when the file is compressed."""
    is_whole: bool


def open_parts(path: str, head_bytes: int = HEAD_BYTES) -> Opened:
    """Reads the beginning of a file, and of a large one that is not compressed a piece of its middle.

    Raises:
        GuessError: the file is empty, of a format that nothing here reads, or its compression is damaged.
    """
    with open(path, "rb") as stream:
        first = stream.read(16)
        for mark, what in _FOREIGN.items():
            if first.lower().startswith(mark.lower()):
                raise GuessError(f"{path}: this is {what}.")
        stream.seek(0)
        if not first:
            raise GuessError(f"{path}: the file is empty.")
        compression = find_compression(stream)
        if compression is not None:
            return _unpack(stream, path, compression, head_bytes)
        head, size = stream.read(head_bytes), os.path.getsize(path)
        if size <= head_bytes:
            return Opened(head, b"", True)
        stream.seek(max(head_bytes, size // 2 // 4 * 4))  # the characters of UTF-32 have 4 bytes
        return Opened(head, stream.read(MIDDLE_BYTES), False)


def _unpack(stream: BinaryIO, path: str, compression: str, head_bytes: int) -> Opened:
    """The beginning, as ingestion reads it: what comes before damage is there."""
    head = bytearray()
    try:
        for data in read_plain(stream, path):
            head += data
            if len(head) > head_bytes:
                return Opened(bytes(head[:head_bytes]), b"", False)
    except (DamageError, OSError) as error:
        if not head:
            raise GuessError(f"{path}: the {compression} file is damaged: {error}. Get it again.") from error
        return Opened(bytes(head), b"", False)
    except LogError as error:
        raise GuessError(str(error)) from error
    return Opened(bytes(head), b"", True)
