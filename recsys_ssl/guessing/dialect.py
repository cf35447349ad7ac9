"""How a text file is written: encoding, delimiter, quotation marks, comments, header. Functions of bytes and text."""

from __future__ import annotations

import codecs
import collections
import csv
import re
from collections.abc import Sequence
from typing import NamedTuple, Optional

from recsys_ssl.guessing.header import find_header

# With a mark at its beginning a file says its encoding itself, and readers heed it; the longer marks first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ONE_CHARACTER = ("\t", "\x01", ";", "|", ",", "^", "~")
_SURE = ("\t", "\x01")
"""Delimiters that hardly ever stand inside of a cell."""
_QUOTED = re.compile(r'(?<![^\s,;|:^~\t\x01])"(?:[^"]|"")*"(?![^\s,;|:^~\t\x01])')
_SEVERAL = re.compile(r"[^\w\s\"'.()\[\]{}-]{2,5}")
_LEAST_ALIKE = 0.95
"""Share of lines that must have the same number of cells."""


class Encoding(NamedTuple):
    name: str
    why: str
    marked: bool
    """By a byte order mark: the spec need not say it."""


def guess_encoding(data: bytes) -> Encoding:
    """The encoding of the first bytes of a file."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return Encoding(name, "by its byte order mark", True)
    even, odd = data[:4096:2], data[1:4096:2]
    if len(odd) > 1 and max(even.count(0), odd.count(0)) > 0.4 * len(odd):
        wide = "utf-16-le" if odd.count(0) > even.count(0) else "utf-16-be"
        return Encoding(wide, "every other byte is 0", False)
    if data.isascii():
        return Encoding("utf-8", "only ASCII was seen", False)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)  # the last character may be cut
        return Encoding("utf-8", "what was seen is UTF-8", False)
    except UnicodeDecodeError:
        pass
    if b"\r\n" in data or any(0x80 <= byte < 0xA0 for byte in set(data)):
        return Encoding("cp1252", "no UTF-8; Windows for Western Europe, another code page is possible", False)
    return Encoding("latin-1", "no UTF-8; Western Europe, another code page is possible", False)


def to_text(data: bytes, encoding: Encoding) -> str:
    """The text of bytes that may be cut inside of a character; its line ends are newlines, and it has no NUL."""
    name = "utf-8-sig" if encoding.name == "utf-8" and encoding.marked else encoding.name
    text = codecs.getincrementaldecoder(name)("replace").decode(data)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


class Dialect(NamedTuple):
    """How the lines of a text file become cells."""

    delimiter: str
    quoting: str
    comment: Optional[str]
    header: bool
    names: list[str]
    """Of the columns; without header `column_1`, `column_2`, ..."""
    why_delimiter: str
    why_header: str


def guess_dialect(text: str) -> Optional[Dialect]:
    """The dialect of the beginning of a file; None when its lines have no common number of cells.

    Args:
        text: whole lines.
    """
    lines = [line for line in _QUOTED.sub("Q", text).split("\n") if line]
    comment = _find_comment(lines[:200])
    lines = [line for line in lines if not (comment and line.startswith(comment))][:1000]
    found = _find_delimiter(lines)
    longer = found is None and len(lines) > 2
    if longer:  # below the header, lines may end with a delimiter
        found = _find_delimiter(lines[1:])
    if found is None or (longer and not _is_header_without_end(lines, found[0])):
        return None
    delimiter, alike = found
    quoting = _find_quoting(text, delimiter)
    rows = split_rows(text, delimiter, quoting, comment)[:1000]
    if longer:
        names = [*rows[0], f"column_{len(rows[1])}"]
        why_header = "the lines below the names end with one more delimiter: the line of names is rejected"
        return Dialect(delimiter, quoting, comment, False, names, f"{len(names)} cells in {alike:.0%}", why_header)
    width = collections.Counter(map(len, rows)).most_common(1)[0][0]
    rows = [row for row in rows if len(row) == width]
    header, why_header = find_header(rows)
    names = rows[0] if header else [f"column_{place + 1}" for place in range(width)]
    why = f"{width} cells in {alike:.0%} of the lines"
    return Dialect(delimiter, quoting, comment, header, names, why, why_header)


def split_rows(text: str, delimiter: str, quoting: str, comment: Optional[str]) -> list[list[str]]:
    """The cells of each record, the header among them; blank lines and comments are left out."""
    lines = [line for line in text.split("\n") if line and not (comment and line.startswith(comment))]
    if quoting == "none":
        return [line.split(delimiter) for line in lines]
    if len(delimiter) > 1:
        return [[_unquote(cell) for cell in line.split(delimiter)] for line in lines]
    try:
        return list(csv.reader([f"{line}\n" for line in lines], delimiter=delimiter))
    except csv.Error:  # a cell beyond the module's limit
        return [line.split(delimiter) for line in lines]


def _unquote(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _find_comment(lines: Sequence[str]) -> Optional[str]:
    """`#` or `%` when the file begins with more than one such line, or with one that has not the cells of the others.

    Args:
        lines: the first ones, with a mark in place of each quoted cell.
    """
    mark = lines[0][:1] if lines else ""
    if mark not in ("#", "%"):
        return None
    if sum(line.startswith(mark) for line in lines) > 1:
        return mark
    found = _find_delimiter(lines[1:])
    return mark if found and lines[0].count(found[0]) != lines[1].count(found[0]) else None


def _is_header_without_end(lines: Sequence[str], delimiter: str) -> bool:
    ends = sum(line.endswith(delimiter) for line in lines[1:])
    return ends >= _LEAST_ALIKE * (len(lines) - 1) and lines[0].count(delimiter) == lines[1].count(delimiter) - 1


def _find_delimiter(lines: Sequence[str]) -> Optional[tuple[str, float]]:
    """The delimiter that most lines, the first among them, have equally often, and their share."""
    if not lines:
        return None
    several = sorted(set(_SEVERAL.findall(lines[0])), key=len, reverse=True)
    found: dict[str, tuple[int, float]] = {}
    for delimiter in (*several, *_ONE_CHARACTER):
        number, share = _count_alike(lines, delimiter)
        if number and share >= _LEAST_ALIKE:
            found[delimiter] = (number, share)
    single = {delimiter: pair for delimiter, pair in found.items() if len(delimiter) == 1}
    for delimiter in _SURE:
        if delimiter in single:
            return delimiter, single[delimiter][1]
    for delimiter in several:  # `::` explains each `:` of a line, while an empty cell between `|` is no `||`
        fits = delimiter in found and all(
            number == found[delimiter][0] * delimiter.count(mark)
            if mark in delimiter
            else number <= found[delimiter][0]
            for mark, (number, _) in single.items()
        )
        if fits and delimiter != "://":
            return delimiter, found[delimiter][1]
    if single:
        best = max(single, key=lambda mark: (single[mark][0], -_ONE_CHARACTER.index(mark)))
        return best, single[best][1]
    number, share = _count_alike(lines, " ")
    return (" ", share) if number and share >= _LEAST_ALIKE else None


def _count_alike(lines: Sequence[str], delimiter: str) -> tuple[int, float]:
    """How often the first line has the delimiter, and the share of the lines that have it as often."""
    number = lines[0].count(delimiter)
    return number, sum(line.count(delimiter) == number for line in lines) / len(lines)


def _find_quoting(text: str, delimiter: str) -> str:
    """`minimal` when quotation marks enclose cells, `none` when they stand for themselves."""
    if '"' not in text:
        return "minimal" if delimiter in (",", ";") else "none"
    return "none" if '"' in _QUOTED.sub("", text.rpartition("\n")[0] or text) else "minimal"
