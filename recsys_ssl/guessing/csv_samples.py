"""Samples of CSV and its kin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

import pyarrow as pa

from recsys_ssl.guessing.dialect import Dialect, guess_dialect, split_rows
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.sample import Fact, Sample


def read_csv(
    path: str,
    head: str,
    middle: str,
    facts: dict[str, Fact],
    limits: tuple[int, int],
    is_whole: bool,
    known: Optional[dict[str, Fact]],
) -> Sample:
    """Reads records of CSV.

    Args:
        path: for messages.
        head: the beginning of the file, whole lines.
        middle: lines of its middle.
        facts: what is known of how it is written.
        limits: most records of the head and of the middle.
        is_whole: whether the head is the whole file.
        known: facts of the first file of the same side; files without header share its columns.

    Raises:
        GuessError: the lines have no common number of cells, or a name stands twice in the header.
    """
    hint, head = _split_hint(head)
    dialect = guess_dialect(head)
    if dialect is not None and hint and (dialect.delimiter != hint or not dialect.header):
        raise GuessError(f"{path}: the first line is 'sep={hint}', a hint for Excel, which does not hold. Remove it.")
    if dialect is None:
        raise GuessError(
            f"{path}: no delimiter gives all lines the same number of cells. The first line is "
            f"{head.split(chr(10), 1)[0][:80]!r}. Write CSV, JSON lines or Parquet; one line per user with a list: "
            "put a tab between the user and the list."
        )
    if known is not None and "columns" in known and not dialect.header:  # one side, one dialect
        dialect = dialect._replace(names=list(known["columns"].value))  # type: ignore[call-overload]
    rows = split_rows(head, dialect.delimiter, dialect.quoting, dialect.comment)[dialect.header :]
    later = split_rows(middle, dialect.delimiter, dialect.quoting, dialect.comment)
    some = rows[: limits[0]] + later[: limits[1]]
    width = len(dialect.names)
    columns = zip(*(row for row in some if len(row) == width))
    table = pa.table(
        [pa.array(list(cells), pa.large_string()) for cells in columns]
        or [pa.array([], pa.large_string()) for _ in dialect.names],
        names=_distinct_names(path, dialect.names),
    )
    whole = is_whole and len(rows) <= limits[0]
    return Sample(_csv_facts(dialect) | facts, table, {}, whole)


def _split_hint(head: str) -> tuple[str, str]:
    """The delimiter of a first line `sep=;`, a hint for Excel that ingestion leaves out, and the other lines."""
    match = re.match(r"\ufeff?[sS][eE][pP]=(.{1,2})\n", head)
    return ("", head) if match is None else (match[1], head[match.end() :])


def _distinct_names(path: str, names: Sequence[str]) -> list[str]:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise GuessError(f"{path}: the header has a name twice: {', '.join(twice)}. Rename one of them.")
    return list(names)


def _csv_facts(dialect: Dialect) -> dict[str, Fact]:
    facts = {}
    if dialect.delimiter != ",":
        facts["delimiter"] = Fact(dialect.delimiter, dialect.why_delimiter)
    if dialect.quoting != "minimal":
        facts["quoting"] = Fact("none", "no cell is enclosed in quotation marks")
    if dialect.comment:
        facts["comment"] = Fact(dialect.comment, "lines at the beginning")
    facts["header"] = Fact(dialect.header, dialect.why_header)
    if not dialect.header:
        facts["columns"] = Fact(dialect.names, "named here, the file has no header")
    return facts
