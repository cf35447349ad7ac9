"""Lines of a text file as it is found in the wild: plain or gzip, UTF-8, UTF-16 or Latin-1; any other is named."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

MAX_LINE = 1 << 24
"""Characters of a line: far more than a molecule and its row have, and no burden to memory."""
_HEAD_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_LATIN1 = "recsys_ssl.latin1"

_UNPACK, _REPACK = "Unpack it", "Unpack it, or pack it with gzip"
_AS_SMILES = "Write its molecules as SMILES, e.g. by RDKit's SDMolSupplier and MolToSmiles, or by Open Babel's `obabel`"
# How a file begins, what it then is, and what to do with it.
_BINARY = [
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an Excel workbook", "Unpack the archive, or save the sheet as CSV"),
    (re.compile(rb"PK\x05\x06"), "an empty ZIP archive", "Give the file that should be in it"),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Excel workbook", "Save the sheet as CSV"),
    (re.compile(rb"PAR1\x15"), "a Parquet file", "Write it as CSV, e.g. by pandas"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "a bzip2 file", _REPACK),
    (re.compile(rb"\xfd7zXZ\x00"), "an xz file", _REPACK),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "a Zstandard file", _REPACK),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive", _UNPACK),
    (re.compile(rb"Rar!\x1a\x07"), "a RAR archive", _UNPACK),
    (re.compile(rb"(?s).{257}ustar"), "a tar archive", _UNPACK),
    (re.compile(rb"%PDF-"), "a PDF document", "Give a table or a list of SMILES"),
]
# What stands in a text, what it then is, and what to do with it.
_TEXTS = [
    (re.compile(r"\A\s*<"), "an HTML or XML page", "A download may have failed: open the file and get it again"),
    (re.compile(r'\A\s*(\{|\[\s*[{"])'), "a JSON file", "Write it as CSV, e.g. by pandas"),
    (re.compile(r"^(M  END|\$\$\$\$|.{30,39}V[23]000)\s*$", re.MULTILINE), "an SD or MOL file", _AS_SMILES),
    (re.compile(r"^@<TRIPOS>", re.MULTILINE), "a MOL2 file", _AS_SMILES),
]


def read_head(path: str | os.PathLike) -> list[str]:
    """The first lines of a text file that are not empty, some 64 kB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text of lines; the message names what it is.
    """
    head, is_whole = _read_head(path)
    text = head.decode(_find_encoding(head), _LATIN1)
    for pattern, found, advice in _TEXTS:
        if pattern.search(text):
            raise _error(path, found, advice)
    if "\0" in text:
        raise _error(path, "a binary file", "Write it as text")
    lines = re.split(r"\r\n|\r|\n", text)
    # The last line of a part of a file is cut somewhere; the only one is all that there is.
    lines = lines if is_whole or len(lines) == 1 else lines[:-1]
    return [line for line in lines if line.strip()]


def read_lines(path: str | os.PathLike) -> Iterator[str]:
    """Streams the lines of a text file with their ends, whose kind does not matter.

    Text is UTF-8, or UTF-16 or UTF-32 where the file says so; a byte that is no UTF-8 is taken as Latin-1. Whether it
    is packed by gzip is told by its first bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a gzip file is cut off or damaged; lines before were given.
    """
    head, _ = _read_head(path)
    number = 0
    opener = gzip.open if _first_bytes(path).startswith(_GZIP) else open
    with opener(path, "rb") as file:
        text = io.TextIOWrapper(cast(BinaryIO, file), encoding=_find_encoding(head), errors=_LATIN1)
        try:
            while line := text.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith("\n"):
                    raise _error(
                        path, f"line {number:,} with more than {MAX_LINE:,} characters", "Write one molecule a line"
                    )
                yield line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, f"after line {number:,}", error) from error


def _first_bytes(path: str | os.PathLike) -> bytes:
    if not os.path.isfile(path):
        found, advice = ("the directory ", "Name a file in it") if os.path.isdir(path) else ("", "Check the path")
        raise FileNotFoundError(f"a file of SMILES must exist. Received: {found}{str(path)!r}. {advice}.")
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)


def _read_head(path: str | os.PathLike) -> tuple[bytes, bool]:
    """The first bytes, unpacked, and whether there are no more."""
    raw = head = _first_bytes(path)
    if raw.startswith(_GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(raw, _HEAD_BYTES)
        except zlib.error as error:
            raise _damaged(path, "at its beginning", error) from error
    for pattern, found, advice in _BINARY:
        if pattern.match(head):
            raise _error(path, found, advice)
    return head, max(len(raw), len(head)) < _HEAD_BYTES


def _find_encoding(head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    # Half of the bytes of SMILES in UTF-16 are zero, with or without a mark at the beginning.
    zeros_before, zeros_behind = head[0::2].count(0), head[1::2].count(0)
    if max(zeros_before, zeros_behind) > 0.2 * len(head) > 10 * min(zeros_before, zeros_behind):
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        return "utf-16-be" if zeros_before else "utf-16-le"
    return "utf-8"


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_LATIN1, _as_latin1)


def _error(path: str | os.PathLike, found: str, advice: str) -> ValueError:
    return ValueError(
        f"a file of molecules must be text, one a line, or CSV. Received: {str(path)!r}, {found}. {advice}."
    )


def _damaged(path: str | os.PathLike, where: str, error: BaseException) -> ValueError:
    return ValueError(
        f"a gzip file must be whole. Received: {str(path)!r}, cut off or damaged {where} ({error}). "
        "Get it again, or unpack what there is with `gzip -dc`."
    )
