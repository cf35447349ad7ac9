"""A file's text in blocks of whole lines, not decoded; and what of a line is no text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, Optional

import numpy as np

from recsys_ssl.logs.batches import Reject
from recsys_ssl.logs.compression import DamageError, read_plain
from recsys_ssl.logs.encodings import read_utf8

NEWLINE = ord("\n")
# What no sound text holds marks what cannot be text: bytes that are no UTF-8 (U+DC80-DCFF, as in PEP 383) and NUL.
UNREADABLE = re.compile("[\ud800-\udfff]")

MAX_LINE_BYTES = 16 << 20
MAX_BLOCK_BYTES = 32 << 20

_NUL_MARK = "\udc00"
_TOO_LONG = b"\xff\xfe\xff\xfe"
_TOO_LONG_MARK = _TOO_LONG.decode("utf-8", "surrogateescape")
_MAX_RAW = 100_000  # characters


class Block(NamedTuple):
    """Whole lines of a file, not decoded."""

    first: int
    """Number of the first line."""
    data: bytes
    """Each line with its newline; the file's last line may have none. Carriage returns stay."""
    rejects: list[Reject]
    final: bool


def read_blocks(stream: BinaryIO, file: str, encoding: str, lines_per_block: int) -> Iterator[Block]:
    """Yields a file in blocks of the same number of lines, fewer where these are long, and a final one of what is left.

    The final block, maybe of nothing, tells in a reject that the file is empty, or that a compressed file is cut off or
    damaged, with the line where it ends. Of a line beyond `MAX_LINE_BYTES` the rest is left out, so that it is no text.

    Args:
        stream: the file's bytes, maybe compressed; it can be read again from its start.
        file: name for rejects and messages.

    Raises:
        LogError: the file is no text.
    """
    reads = _shorten_lines(read_utf8(read_plain(stream, file), file, encoding))
    number, num_held, num_bytes, damage = 1, 0, 0, None
    pieces: list[bytes] = []
    rejects: list[Reject] = []
    is_empty = True
    while True:
        try:
            read = next(reads, None)
        except DamageError as error:
            read, damage = None, str(error)
        if read is None:
            break
        is_empty = is_empty and not read
        ends, begin = find_newlines(read) + 1, 0
        for end in ends[lines_per_block - num_held - 1 :: lines_per_block].tolist():
            yield Block(number, b"".join([*pieces, read[begin:end]]), [], final=False)
            number, num_bytes, pieces, begin = number + lines_per_block, 0, [], end
        pieces.append(read[begin:])
        num_bytes += len(pieces[-1])
        num_held = (num_held + len(ends)) % lines_per_block
        if num_bytes > MAX_BLOCK_BYTES and num_held:
            data = b"".join(pieces)
            end = data.rfind(b"\n") + 1
            yield Block(number, data[:end], [], final=False)
            number, num_held, num_bytes, pieces = number + num_held, 0, len(data) - end, [data[end:]]
    data = b"".join(pieces)
    if damage:
        begin = data.rfind(b"\n") + 1
        rejects.append(Reject(damage, file, number + num_held, as_raw(decode(data[begin:]))))
        data = data[:begin]
    elif is_empty:
        rejects.append(Reject("file is empty", file, 1, ""))
    yield Block(number, data, rejects, final=True)


def _shorten_lines(reads: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same bytes, but of a line that is too long only its beginning and `_TOO_LONG`."""
    num_open, is_cut = 0, False  # bytes of the line that goes on in the next read
    for read in reads:
        begin = read.find(b"\n")
        if is_cut and begin < 0:
            continue
        if begin < 0:
            num_open += len(read)
            is_cut = num_open > MAX_LINE_BYTES
            yield read + _TOO_LONG if is_cut else read
        else:
            yield read[begin:] if is_cut else read
            num_open, is_cut = len(read) - read.rfind(b"\n") - 1, False


def find_newlines(data: bytes) -> np.ndarray:
    """[num_newlines] int64, where they are."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE)


def split_lines(data: bytes) -> list[str]:
    """The lines of a block, without the newline; a carriage return stays."""
    return decode(data.removesuffix(b"\n")).split("\n") if data else []


# --- Text ------------------------------------------------------------------------------------------


def decode(data: bytes) -> str:
    """Text of bytes that are meant to be UTF-8, whatever they are: `UNREADABLE` finds what is no text.

    Args:
        data: whole lines, so that no character is cut at either end.
    """
    return data.decode("utf-8", "surrogateescape").replace("\0", _NUL_MARK)


def as_raw(text: str) -> str:
    """What a reject shows of a text: its beginning where it is long."""
    text = text if len(text) <= _MAX_RAW else text[:_MAX_RAW] + "..."
    return text.replace(_NUL_MARK, "\0").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_text(lines: Sequence[str]) -> bool:
    """Whether lines that `decode` gave hold nothing but text; faster than to ask of each."""
    try:
        "\n".join(lines).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_too_long(text: str) -> bool:
    """Whether the text has a line of which the rest was left out."""
    return _TOO_LONG_MARK in text


def why_unreadable(text: str, encoding: str) -> Optional[str]:
    """Why a text that `decode` gave is none; None where it is one.

    Args:
        encoding: the one of the spec, which the file was read by.
    """
    match = UNREADABLE.search(text)
    if not match:
        return None
    if is_too_long(text):
        return "line is too long"
    return "NUL byte" if match[0] == _NUL_MARK else f"not valid {'UTF-8' if encoding == 'utf-8' else encoding}"
