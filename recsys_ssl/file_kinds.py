"""What a file is by its first bytes, whatever its name. What to do with it is for its reader to say."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple, Optional


class Kind(NamedTuple):
    """How files of a kind begin."""

    name: str
    """What such a file is, for messages."""
    beginning: re.Pattern[bytes]


HEAD_BYTES = 1 << 10
"""Of a file, enough for `find_kind` and `name_compression`."""

# Texts may begin as some of them do, so each beginning is as long as what all files of its kind have. A line may begin
# as Parquet does, none as Parquet with data.
KINDS = {
    "gzip": Kind("a gzip file", re.compile(rb"\x1f\x8b")),
    "bzip2": Kind("a bzip2 file", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),  # with data and without
    "xz": Kind("an xz file", re.compile(rb"\xfd7zXZ\0")),
    "lzma": Kind("an lzma file", re.compile(rb"(?s)\x5d\0\0.[\0-\x08](?:\xff{8}|.{5}\0{3})")),
    "zstd": Kind("a Zstandard file", re.compile(rb"(?s)\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")),  # or a part to skip
    "zlib": Kind("a zlib stream", re.compile(rb"\x78[\x01\x5e\x9c\xda]")),
    "zip": Kind("a ZIP archive or an Excel workbook", re.compile(rb"PK(?:\x03\x04|\x07\x08)")),  # or in parts
    "empty zip": Kind("an empty ZIP archive", re.compile(rb"PK\x05\x06")),
    "tar": Kind("a tar archive", re.compile(rb"(?s).{257}ustar")),
    "7z": Kind("a 7z archive", re.compile(rb"7z\xbc\xaf\x27\x1c")),
    "rar": Kind("a RAR archive", re.compile(rb"Rar!\x1a\x07")),
    "lz4": Kind("an lz4 file", re.compile(rb"\x04\x22\x4d\x18")),
    "compress": Kind("a file of `compress`", re.compile(rb"\x1f\x9d")),
    "snappy": Kind("a snappy file", re.compile(rb"\xff\x06\0\0sNaPpY")),
    "parquet": Kind("a Parquet file", re.compile(rb"PAR1")),
    "parquet with data": Kind("a Parquet file", re.compile(rb"PAR1\x15")),
    "avro": Kind("an Avro file", re.compile(rb"Obj\x01")),
    "orc": Kind("an ORC file", re.compile(rb"ORC")),
    "arrow": Kind("an Arrow or Feather file", re.compile(rb"ARROW1\0\0")),
    "sqlite": Kind("an SQLite database", re.compile(rb"SQLite format 3\0")),
    "hdf5": Kind("an HDF5 file", re.compile(rb"\x89HDF\r\n")),
    "pickle": Kind("a Python pickle", re.compile(rb"\x80[\x02-\x05][\x8c\x95}\](cc]")),
    "numpy": Kind("a NumPy array", re.compile(rb"\x93NUMPY")),
    "old excel": Kind("an old Excel workbook", re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")),
    "pdf": Kind("a PDF document", re.compile(rb"%PDF-")),
    "page": Kind("an HTML or XML page", re.compile(rb"\s*(?i:<!doctype|<html|<\?xml|<head|<body)")),
    "picture": Kind("a picture", re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8")),
    "git lfs": Kind("a pointer of Git LFS", re.compile(rb"version https://git-lfs")),
}
_COMPRESSIONS = ("gzip", "bzip2", "xz", "lzma", "zstd", "zlib", "zip", "empty zip")
_CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1f]")  # that no text has


def find_kind(head: bytes, kinds: Iterable[str]) -> Optional[str]:
    """The first of some kinds that a file is of.

    Args:
        head: the first bytes; 262 are enough for any kind but a page after blanks.
        kinds: keys of `KINDS`.

    Returns:
        None: the file is of none of them.
    """
    return next((kind for kind in kinds if KINDS[kind].beginning.match(head)), None)


def name_compression(head: bytes) -> Optional[str]:
    """gzip, bzip2, xz, lzma, zstd, zip or zlib; None: the bytes are as they are.

    Args:
        head: the first `HEAD_BYTES` of a file, or all of it.
    """
    kind = find_kind(head, _COMPRESSIONS)
    if kind == "zlib" and not _is_zlib(head):
        return None
    return "zip" if kind == "empty zip" else kind


def _is_zlib(head: bytes) -> bool:
    """Whether bytes that begin as zlib's are no text: its mark is two bytes long."""
    try:
        zlib.decompressobj().decompress(head)
    except zlib.error:
        return False
    return _CONTROLS.search(head) is not None
