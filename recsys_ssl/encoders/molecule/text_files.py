"""Lines of a text file as it is found in the wild: plain or packed, UTF-8, UTF-16 or Latin-1; any other is named."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, cast

from recsys_ssl.file_kinds import HEAD_BYTES, KINDS, find_kind

MAX_LINE = 1 << 24
"""Characters of a line: far more than a molecule and its row have, and no burden to memory."""
_HEAD_BYTES = 1 << 16
_LATIN1 = "recsys_ssl.latin1"

_UNPACK, _REPACK = "Unpack it", "Unpack it, or pack it with gzip"
_AS_SMILES = "Write its molecules as SMILES, e.g. by RDKit's SDMolSupplier and MolToSmiles, or by Open Babel's `obabel`"
_WITHIN = ("gzip", "bzip2", "xz")
# Kinds of files that are no text, even unpacked, and what to do with each.
_BINARY = {
    "zip": "Unpack the archive, or save the sheet as CSV",
    "empty zip": "Give the file that should be in it",
    "old excel": "Save the sheet as CSV",
    "parquet with data": "Write it as CSV, e.g. by pandas",
    **dict.fromkeys(_WITHIN, _UNPACK),
    **dict.fromkeys(("zstd", "lzma"), _REPACK),
    **dict.fromkeys(("7z", "rar", "tar"), _UNPACK),
    "pdf": "Give a table or a list of SMILES",
}
# What stands in a text, what it then is, and what to do with it.
_TEXTS = [
    (re.compile(r"\A\s*<"), "an HTML or XML page", "A download may have failed: open the file and get it again"),
    (re.compile(r'\A\s*(\{|\[\s*[{"])'), "a JSON file", "Write it as CSV, e.g. by pandas"),
    (re.compile(r"^(M  END|\$\$\$\$|.{30,39}V[23]000)\s*$", re.MULTILINE), "an SD or MOL file", _AS_SMILES),
    (re.compile(r"^@<TRIPOS>", re.MULTILINE), "a MOL2 file", _AS_SMILES),
    (
        re.compile(
            r"\A\s*\d+[ \t]*(\r\n|\r|\n).*(\r\n|\r|\n)[ \t]*[A-Z][a-z]?([ \t]+-?\d*\.\d+(e[-+]?\d+)?){3}\s", re.I
        ),
        "an XYZ file",
        "Write its molecules as SMILES, e.g. by Open Babel's `obabel`",
    ),
]
_SELFIES = re.compile(r"(\[[^\]\s]*\]){2,}")
_OF_SELFIES = re.compile(r"\[([CNOSPFI]|Cl|Br|[=#/\\].*?|(Branch|Ring).*?)\]")
# SELFIES write `[OH1]` or `[O]`.
_OF_BRACKETED_SMILES = re.compile(r"\[[A-Z]?[a-z]?H[2-9]?\]")


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
    is packed by gzip, bzip2 or xz, or is the only file of a ZIP archive, is told by its first bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a packed file is cut off or damaged; lines before were given.
    """
    head, _ = _read_head(path)
    number = 0
    with _open(path) as file:
        text = io.TextIOWrapper(file, encoding=_find_encoding(head), errors=_LATIN1)
        try:
            while line := text.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith("\n"):
                    raise _error(
                        path, f"line {number:,} with more than {MAX_LINE:,} characters", "Write one molecule a line"
                    )
                yield line
        except _DAMAGE as error:
            raise _damaged(path, f"after line {number:,}", error) from error


def are_selfies(texts: Sequence[str]) -> bool:
    """Whether most of the texts are SELFIES, which are SMILES too, of radicals: `[C][C][O]`."""
    found = [
        _SELFIES.fullmatch(text) and _OF_SELFIES.search(text) and not _OF_BRACKETED_SMILES.search(text)
        for text in texts
    ]
    return 2 * sum(map(bool, found)) > len(found)


def check_smiles(texts: Sequence[str], path: str | os.PathLike) -> None:
    """Raises ValueError when most of the texts of a file are SELFIES."""
    if are_selfies(texts):
        raise _error(path, "SELFIES", "Write its molecules as SMILES, e.g. by `decoder` of the package selfies")


# What reads a packed file.
_OPENERS: dict[str, Callable] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
# What these raise where a file is cut off or damaged, OSError among them.
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked."""
    if not os.path.isfile(path):
        found, advice = ("the directory ", "Name a file in it") if os.path.isdir(path) else ("", "Check the path")
        raise FileNotFoundError(f"a file of SMILES must exist. Received: {found}{str(path)!r}. {advice}.")
    with open(path, "rb") as file:
        kind = find_kind(file.read(HEAD_BYTES), (*_OPENERS, "zip"))
    if kind == "zip":
        with _open_member(path) as file:
            yield file
        return
    opener = open if kind is None else _OPENERS[kind]
    with opener(path, "rb") as file:
        yield cast(BinaryIO, file)


@contextlib.contextmanager
def _open_member(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """The only file of a ZIP archive; folders and what macOS adds do not count."""
    try:
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        file = archive.open(names[0]) if len(names) == 1 else None
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, encrypted, of a rare method
        raise _error(path, f"a ZIP archive that cannot be read ({error})", "Unpack it") from error
    with archive:
        if file is None:
            is_excel = "[Content_Types].xml" in names
            found = "an Excel workbook" if is_excel else f"a ZIP archive of {len(names)} files: {names[:3]}"
            raise _error(path, found, "Save the sheet as CSV" if is_excel else "Unpack the one that is meant")
        with file:
            yield cast(BinaryIO, file)


def _read_head(path: str | os.PathLike) -> tuple[bytes, bool]:
    """The first bytes, unpacked, and whether there are no more."""
    head = b""
    with _open(path) as file:
        try:
            while len(head) < _HEAD_BYTES and (more := file.read1(_HEAD_BYTES - len(head))):  # type: ignore[attr-defined]
                head += more
        except _DAMAGE as error:
            if not head:
                raise _damaged(path, "at its beginning", error) from error
    kind = find_kind(head, _BINARY)
    if kind is not None:
        found = "a packed file within a packed one" if kind in _WITHIN else KINDS[kind].name
        raise _error(path, found, _BINARY[kind])
    return head, len(head) < _HEAD_BYTES


def _find_encoding(head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    # The two bytes of a mark begin other text too, but that has no zeros; in UTF-16 each line end has one.
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and 0 in head:
        return "utf-16"
    # Half of the bytes of SMILES in UTF-16 are zero.
    zeros_before, zeros_behind = head[0::2].count(0), head[1::2].count(0)
    if max(zeros_before, zeros_behind) > 0.2 * len(head) > 10 * min(zeros_before, zeros_behind):
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
        f"a packed file must be whole. Received: {str(path)!r}, cut off or damaged {where} ({error}). "
        "Get it again, or unpack what there is, e.g. with `gzip -dc`."
    )
