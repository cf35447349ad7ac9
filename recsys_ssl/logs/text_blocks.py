"""A file's bytes in blocks of whole lines, inflated when they are gzip; and what of a line is no text."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, Optional

import numpy as np

from recsys_ssl.logs.batches import Reject

NEWLINE = ord("\n")
# What no sound text holds marks what cannot be text: bytes that are no UTF-8 (U+DC80-DCFF, as in PEP 383) and NUL.
UNREADABLE = re.compile("[\ud800-\udfff]")

_READ_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
_NUL_MARK = "\udc00"


class Block(NamedTuple):
    """Whole lines of a file, not decoded."""

    first: int
    """Number of the first line."""
    data: bytes
    """Each line with its newline; the file's last line may have none. Carriage returns stay."""
    rejects: list[Reject]
    final: bool


def read_blocks(stream: BinaryIO, file: str, encoding: str, lines_per_block: int) -> Iterator[Block]:
    """Yields a file in blocks of the same number of lines, and a final one of what is left, maybe nothing.

    A byte order mark is removed. The final block tells in a reject that the file is empty, or that a gzip file is cut
    off or damaged, with the line where it ends.

    Args:
        stream: the file's bytes, compressed when `file` ends in `.gz`.
        file: name for rejects.
    """
    reads = _inflate(stream) if file.endswith(".gz") else iter(lambda: stream.read(_READ_BYTES), b"")
    number, num_held, damage = 1, 0, None
    pieces: list[bytes] = []
    rejects: list[Reject] = []
    is_first, is_empty = True, True
    while True:
        try:
            read = next(reads, None)
        except _DamageError as error:
            read, damage = None, str(error)
        if read is None:
            break
        if is_first and read:
            read, is_first = read.removeprefix(b"\xef\xbb\xbf"), False
        is_empty = is_empty and not read
        ends, begin = find_newlines(read) + 1, 0
        for end in ends[lines_per_block - num_held - 1 :: lines_per_block].tolist():
            yield Block(number, b"".join([*pieces, read[begin:end]]), [], final=False)
            number, pieces, begin = number + lines_per_block, [], end
        pieces.append(read[begin:])
        num_held = (num_held + len(ends)) % lines_per_block
    data = b"".join(pieces)
    if damage:
        begin = data.rfind(b"\n") + 1
        rejects.append(Reject(damage, file, number + num_held, as_raw(decode(data[begin:], encoding))))
        data = data[:begin]
    elif is_empty:
        rejects.append(Reject("file is empty", file, 1, ""))
    yield Block(number, data, rejects, final=True)


def find_newlines(data: bytes) -> np.ndarray:
    """[num_newlines] int64, where they are."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE)


def split_lines(data: bytes, encoding: str) -> list[str]:
    """The lines of a block, without the newline; a carriage return stays."""
    return decode(data.removesuffix(b"\n"), encoding).split("\n") if data else []


# --- gzip -------------------------------------------------------------------------------------------


class _DamageError(Exception):
    """The rest of a gzip file cannot be read. The format notices damage late, so the last records may be wrong."""


def _inflate(stream: BinaryIO) -> Iterator[bytes]:
    """Yields every byte that can be had, then raises `_DamageError` if that is not all of them."""
    inflater, begun = zlib.decompressobj(_GZIP), False
    while block := stream.read(_READ_BYTES):
        while block:
            if not begun:
                block = block.lstrip(b"\0")  # padding between members
                if not block:
                    break
            begun, before = True, inflater.copy()
            try:
                yield inflater.decompress(block)
            except zlib.error as error:
                yield _inflate_until_damage(before, block)
                raise _DamageError("gzip data is damaged here or shortly before") from error
            block = inflater.unused_data
            if inflater.eof:
                inflater, begun = zlib.decompressobj(_GZIP), False
    if begun:
        yield inflater.flush()
        raise _DamageError("gzip file is cut off here")


def _inflate_until_damage(inflater, block: bytes) -> bytes:
    pieces = []
    try:
        for i in range(len(block)):  # a byte at a time: zlib gives nothing of a call that fails
            pieces.append(inflater.decompress(block[i : i + 1]))
    except zlib.error:
        pass
    return b"".join(pieces)


# --- Text ------------------------------------------------------------------------------------------


def decode(data: bytes, encoding: str) -> str:
    return data.decode(encoding, "surrogateescape").replace("\0", _NUL_MARK)


def as_raw(text: str) -> str:
    return text.replace(_NUL_MARK, "\0").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_text(lines: Sequence[str]) -> bool:
    try:
        "\n".join(lines).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def why_unreadable(text: str) -> Optional[str]:
    match = UNREADABLE.search(text)
    if not match:
        return None
    return "NUL byte" if match[0] == _NUL_MARK else "not valid UTF-8"
