"""Bytes from the beginning and the middle of a file, unpacked; never more of it."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import zipfile
import zlib
from typing import NamedTuple

import pyarrow as pa

from recsys_ssl.file_kinds import COMPRESSIONS, find_kind

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
        compression = find_kind(first, COMPRESSIONS)
        stream.seek(0)
        if not first:
            raise GuessError(f"{path}: the file is empty.")
        if compression is not None:
            head = _unpack(path, compression, head_bytes + 1)
            return Opened(head[:head_bytes], b"", len(head) <= head_bytes)
        head, size = stream.read(head_bytes), os.path.getsize(path)
        if size <= head_bytes:
            return Opened(head, b"", True)
        stream.seek(max(head_bytes, size // 2 // 4 * 4))  # the characters of UTF-32 have 4 bytes
        return Opened(head, stream.read(MIDDLE_BYTES), False)


def _unpack(path: str, compression: str, num_bytes: int) -> bytes:
    try:
        with contextlib.ExitStack() as stack:
            if compression == "zip":
                archive = stack.enter_context(zipfile.ZipFile(path))
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if "[Content_Types].xml" in names:
                    raise GuessError(f"{path}: this is an Excel workbook. Save it as CSV (UTF-8).")
                if len(names) != 1:
                    raise GuessError(f"{path}: a zip file must hold one file. It has: {', '.join(names)}. Unpack it.")
                return stack.enter_context(archive.open(names[0])).read(num_bytes)
            if compression == "zstd":
                return pa.CompressedInputStream(stack.enter_context(pa.OSFile(path)), "zstd").read(num_bytes)
            opened = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}[compression]
            return stack.enter_context(opened(path)).read(num_bytes)  # type: ignore[operator]
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise GuessError(f"{path}: the {compression} file is damaged: {error}. Get it again.") from error
