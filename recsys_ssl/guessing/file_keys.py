"""The keys of `Files` in the spec: how the files of a side are found and read."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_ssl.guessing.columns import Column
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
    """`decimal` and `thousands`, which are those of all columns of a file; a label is the first of them."""
    written = {column.marks for column in columns} - {PLAIN}
    if not written:
        return []

    def rank(marks: Marks) -> tuple[bool, int]:
        read = [column.share_read(marks) >= column.share_read(column.marks) for column in columns]
        return read[0], sum(read)

    both = {Marks(a.decimal, b.thousands) for a in written for b in written if a.decimal != b.thousands}
    marks = max(sorted({PLAIN, *both}, key=lambda one: (one.thousands is not None, str(one))), key=rank)
    unread = [column.name for column in columns if column.share_read(marks) < column.share_read(column.marks)]
    used = [column.name for column in columns if column.marks != PLAIN and column.name not in unread]
    why = f"in {', '.join(used)}" + (f"; not in {', '.join(unread)}, which is then not read" if unread else "")
    found = {"decimal": (marks.decimal, "."), "thousands": (marks.thousands, None)}
    return [Entry(key, mark, why) for key, (mark, default) in found.items() if mark != default]


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
