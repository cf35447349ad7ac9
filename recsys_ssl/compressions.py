"""How packed files begin: the one list of compressions that are read, whatever a file is called."""

from __future__ import annotations

import re
import zlib
from typing import Optional

HEAD_BYTES = 1 << 10
"""Of a file, enough for `name_compression`."""

# Texts may begin as some of them do, so each pattern is as long as what all files of its kind have.
_BEGINNINGS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),  # with data and without
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "lzma": re.compile(rb"(?s)\x5d\0\0.[\0-\x08](?:\xff{8}|.{5}\0{3})"),
    "zstd": re.compile(rb"(?s)\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # or what is to be skipped
    "zip": re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),  # with a file, without, in parts
    "zlib": re.compile(rb"\x78[\x01\x5e\x9c\xda]"),
}
_CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1f]")  # that no text has


def name_compression(head: bytes) -> Optional[str]:
    """gzip, bzip2, xz, lzma, zstd, zip or zlib; None: the bytes are as they are.

    Args:
        head: the first `HEAD_BYTES` of a file, or all of it.
    """
    found = next((name for name, beginning in _BEGINNINGS.items() if beginning.match(head)), None)
    return None if found == "zlib" and not _is_zlib(head) else found


def _is_zlib(head: bytes) -> bool:
    """Whether bytes that begin as zlib's are no text: its mark is two bytes long."""
    try:
        zlib.decompressobj().decompress(head)
    except zlib.error:
        return False
    return _CONTROLS.search(head) is not None
