"""The keys of `Files` in the spec: how the files of a side are found and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from recsys_ssl.guessing.columns import Column, to_numbers
from recsys_ssl.guessing.features import Guessed
from recsys_ssl.guessing.tables import Table
from recsys_ssl.guessing.write import Entry
from recsys_ssl.logs.values import PLAIN, Marks

_MOST_WORDS = 10


def file_keys(table: Table, columns: Sequence[tuple[Column, bool]]) -> list[Entry]:
    """The keys of `Files`: how the files are found and read.

    Args:
        columns: those that the spec reads, and whether as numbers.
    """
    entries = [Entry("paths", table.patterns, table.why_files)]
    entries += [
        Entry(key, fact.value, fact.why)
        for key, fact in table.sample.facts.items()
        if (key, fact.value) != ("header", True)
    ]
    if table.file_column:
        entries.append(Entry("file_column", table.file_column, "the files' names are its values"))
    entries += _mark_keys([column for column, is_number in columns if is_number])
    missing = _missing_words(columns)
    if missing:
        entries.append(Entry("missing", missing, "words for nothing, in any column: remove those that mean something"))
    return entries


def _mark_keys(columns: Sequence[Column]) -> list[Entry]:
    """`decimal` and `thousands`, which are those of all columns of a file."""
    marks = _shared_marks(columns)
    names = [column.name for column in columns if column.marks != PLAIN and _is_read(column, marks)]
    odd = [column.name for column in columns if column.numbers != _drop_none(to_numbers(column.known, marks))]
    why = f"in {', '.join(names)}" + (f"; check {', '.join(odd)}, which may have other marks" if odd else "")
    found = {"decimal": (marks.decimal, "."), "thousands": (marks.thousands, None)}
    return [Entry(key, mark, why) for key, (mark, default) in found.items() if mark != default]


def keep_read(features: list[Guessed], table: Table, before: Sequence[Column] = ()) -> list[Guessed]:
    """The features; numbers that the marks of the others do not read become comments.

    Args:
        before: columns of the table that must be read, as a label.
    """
    columns = {f.column: table.columns[f.column] for f in features if f.used and f.kind == "numeric"}
    marks = _shared_marks([*before, *columns.values()])
    bad = [name for name, column in columns.items() if not _is_read(column, marks)]
    why = "its numbers have other marks than those of the other columns: write it alike"
    return [f._replace(used=False, why=why) if f.used and f.column in bad else f for f in features]


def _shared_marks(columns: Sequence[Column]) -> Marks:
    """The marks that read most columns, the first above all."""
    written = {column.marks for column in columns} - {PLAIN}
    both = {Marks(a.decimal, b.thousands) for a in written for b in written if a.decimal != b.thousands}

    def rank(marks: Marks) -> tuple[bool, int]:
        read = [_is_read(column, marks) for column in columns]
        return any(read[:1]), sum(read)

    return max(sorted({PLAIN, *both}, key=lambda one: (one.thousands is not None, str(one))), key=rank)


def _is_read(column: Column, marks: Marks) -> bool:
    """Whether some marks read as many of the numbers as the column's own."""
    return column.share_read(marks) >= column.share_read(column.marks)


def _drop_none(numbers: Sequence[Optional[float]]) -> list[float]:
    return [number for number in numbers if number is not None]


def _missing_words(columns: Sequence[tuple[Column, bool]]) -> list[str]:
    found: list[str] = []
    for column, is_number in columns:
        found += [word for word in column.null_words if is_number or word not in ("NA", "?", "-", "None", "none")]
        if is_number and len(column.known) > len(column.numbers):
            found += [value for value in column.known if not any(map(str.isdigit, value))][:_MOST_WORDS]
    return list(dict.fromkeys(found))


def columns_of(features: Sequence[Guessed], table: Table) -> list[tuple[Column, bool]]:
    """The columns that features read, and whether as numbers."""
    used = [feature for feature in features if feature.used and feature.column in table.columns]
    return [(table.columns[feature.column], feature.kind == "numeric") for feature in used]
