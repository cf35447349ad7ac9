"""A file's bytes as UTF-8 with newlines, whatever the encoding and the line ends are; what is no text is named."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Optional

from recsys_ssl.file_kinds import KINDS, find_kind, name_compression
from recsys_ssl.logs.batches import LogError
from recsys_ssl.logs.compression import DamageError

_HEAD_BYTES = 1 << 16  # in which a file shows its encoding and its line ends
_SAMPLE_BYTES = 1 << 10  # in which it shows whether it is text

# Those of UTF-32 before those of UTF-16, which they begin with.
_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
]
# As they stand in UTF-8: the mark itself, and what it is when its bytes are read as Latin-1 or cp1252.
_MARKS_AS_UTF8 = [codecs.BOM_UTF8, codecs.BOM_UTF8.decode("latin-1").encode()]
_LEADING_MARKS = re.compile(rb"\A(?:" + b"|".join(_MARKS_AS_UTF8) + rb")+")
_LINE_MARKS = re.compile(rb"\n(?:" + b"|".join(_MARKS_AS_UTF8) + rb")+")
_UNDECODABLE = b"\xff"  # which no UTF-8 has
_ESCAPES = b"\x1b$B0!\x1b(B\x1b$)C\x0e0!\x0f~{0!~}+AGE-"  # of ISO 2022, HZ and UTF-7
_ERRORS = "recsys_ssl.undecodable"

_UNPACK, _EXPORT = "Unpack it, or pack it with gzip", "Write it as CSV, JSON lines or Parquet"
# Kinds of files that are no log as they stand, and what to do with each.
_ADVICE = {
    "parquet": "Set format: parquet",
    "page": "A download may have failed: get it again",
    "old excel": "Save the sheet as CSV",
    "tar": "Unpack it into a directory and name that",
    **dict.fromkeys(("7z", "rar", "lz4", "compress", "snappy"), _UNPACK),
    **dict.fromkeys(("avro", "orc", "arrow", "sqlite", "hdf5", "pickle", "numpy", "pdf"), _EXPORT),
    "picture": "Name a file of records",
    "git lfs": "Get the file itself by `git lfs pull`",
}
_CONTROLS = bytes([*range(9), *range(14, 27), *range(28, 32)])


def read_utf8(reads: Iterator[bytes], file: str, encoding: str) -> Iterator[bytes]:
    r"""Yields text as UTF-8 without byte order marks, each line with its `\n`; a `\r` before it stays.

    A byte order mark goes before the encoding that was asked for; others stand at line starts where files were put
    together. Bytes that the encoding does not have become bytes
    that are no UTF-8 either. Line ends that are only `\r` in the first 64 KiB, but for what stands between quotation
    marks, become `\n` in all of the file.

    Args:
        reads: may end with a `DamageError`, which is passed on.
        file: name for messages.

    Raises:
        LogError: the file is no text; the message names what it is by its first bytes.
    """
    reads = _join_head(reads)
    head = next(reads, b"")
    marked = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)
    if marked is None:
        _check_text(head, file, encoding)
        marked = _with_byte_order(codecs.lookup(encoding).name, head)
    if marked == "utf-8":
        texts = _prepend(head.removeprefix(codecs.BOM_UTF8), reads)
    else:
        texts = _join_head(_transcode(_prepend(head, reads), marked))
    first = next(texts, b"")
    has_returns_only = _has_returns_only(first[:_HEAD_BYTES])
    whole = _prepend(first, texts)
    yield from _without_marks(text.replace(b"\r", b"\n") if has_returns_only else text for text in whole)


def _has_returns_only(head: bytes) -> bool:
    """Whether lines end with carriage returns; a newline may then stand between quotation marks."""
    if b"\r" not in head or b"\n" not in head:
        return b"\r" in head
    parts = head.split(b'"')
    outside = b"".join(parts[::2])
    return len(parts) > 2 and b"\r" in outside and b"\n" not in outside


def _without_marks(texts: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same text without the marks that lines begin with."""
    held, begins_line, damage = b"", True, None  # the beginning of a mark that may go on
    try:
        for text in texts:
            text = held + text if held else text
            if begins_line:
                text = _LEADING_MARKS.sub(b"", text)
            # A single byte is looked for much faster, and most logs have none of these.
            if any(mark[:1] in text and b"\n" + mark in text for mark in _MARKS_AS_UTF8):
                text = _LINE_MARKS.sub(b"\n", text)
            end = text.rfind(b"\n") + 1
            begins_line = (end > 0 or begins_line) and any(mark.startswith(text[end:]) for mark in _MARKS_AS_UTF8)
            held, text = (text[end:], text[:end]) if begins_line else (b"", text)
            yield text
    except DamageError as error:
        damage = error
    yield held
    if damage:
        raise damage


def _join_head(reads: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same bytes; the first ones are `_HEAD_BYTES` or more, if there are so many."""
    head, damage = b"", None
    try:
        while len(head) < _HEAD_BYTES:
            read = next(reads, None)
            if read is None:
                break
            head = head + read if head else read
    except DamageError as error:
        damage = error
    yield head
    if damage:
        raise damage
    yield from reads


def _prepend(first: bytes, reads: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from reads


# --- What is no text ---------------------------------------------------------------------------------


def name_kind(head: bytes) -> Optional[tuple[str, str]]:
    """What a file that begins so is, and what to do with it; None: no kind that is known for not being a log."""
    if name_compression(head) is not None:
        return "packed twice", "Unpack it once"
    kind = find_kind(head, _ADVICE)
    return None if kind is None else (KINDS[kind].name, _ADVICE[kind])


def _check_text(head: bytes, file: str, encoding: str) -> None:
    named = name_kind(head[:_SAMPLE_BYTES])
    if named is not None:
        raise LogError(f"{file}: a log must be text or Parquet. Received: {named[0]}. {named[1]}.")
    sample = head[:_SAMPLE_BYTES]
    num_controls = len(sample) - len(sample.translate(None, _CONTROLS))
    if len(sample) < 16 or num_controls < 0.3 * len(sample) or not _has_ascii(encoding):
        return
    zeros_before, zeros_behind = sample[0::2].count(0), sample[1::2].count(0)
    if max(zeros_before, zeros_behind) > 0.2 * len(sample) and not min(zeros_before, zeros_behind):
        found = "utf-16-be" if zeros_before else "utf-16-le"
        raise LogError(f"{file}: this is UTF-16 without a byte order mark, not {encoding}. Set encoding: {found}.")
    raise LogError(f"{file}: a log must be text or Parquet. Received: a binary file, {sample[:16]!r}... {_EXPORT}.")


# --- Encodings ---------------------------------------------------------------------------------------


def _with_byte_order(encoding: str, head: bytes) -> str:
    """UTF-16 and UTF-32 without mark: where the zeros are, the high bytes of most characters are."""
    if encoding not in ("utf-16", "utf-32"):
        return encoding
    width = int(encoding.removeprefix("utf-")) // 8
    return f"{encoding}-be" if head[::width].count(0) > head[width - 1 :: width].count(0) else f"{encoding}-le"


def _has_ascii(encoding: str) -> bool:
    """Whether bytes below 128 are ASCII, whatever stands before them; not so with those that begin with escapes."""
    probe = bytes(range(128)) + _ESCAPES
    try:
        return probe.decode(encoding) == probe.decode("ascii")
    except UnicodeError:
        return False


def _transcode(reads: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder, has_ascii = codecs.getincrementaldecoder(encoding)(_ERRORS), _has_ascii(encoding)
    is_first = True
    for read in reads:
        if has_ascii and read.isascii() and not decoder.getstate()[0]:
            utf8 = read
        else:
            utf8 = decoder.decode(read).encode("utf-8", _ERRORS)
        if is_first and utf8:
            utf8, is_first = utf8.removeprefix(codecs.BOM_UTF8), False
        yield utf8
    yield decoder.decode(b"", final=True).encode("utf-8", _ERRORS)


def _mark_undecodable(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    if isinstance(error, UnicodeEncodeError):  # half a character, as the mark of above
        return _UNDECODABLE * (error.end - error.start), error.end
    raise error


codecs.register_error(_ERRORS, _mark_undecodable)
