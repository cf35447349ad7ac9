"""Where the records of a log or table lie, and how to read them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import Annotated, Literal, Optional

from pydantic import AfterValidator, Field, model_validator

from recsys_ssl.spec_features import StrictModel

# Wildcards of a path; far more would take a matcher minutes for a single name.
_MAX_STARS = 12


class Explode(StrictModel):
    """A column whose cell holds several records: each element of a list, or part of a text, is a record of its own."""

    column: str
    separator: Optional[Annotated[str, Field(min_length=1)]] = Field(
        default=None, description="Separates the elements of a text; lists of JSON and Parquet need none."
    )
    into: Optional[Annotated[list[str], Field(min_length=1)]] = Field(
        default=None,
        description="Columns that the parts of an element become; when absent it takes the column's place.",
    )
    part_separator: Optional[Annotated[str, Field(min_length=1)]] = Field(
        default=None, description="Separates the parts of an element; only the first part may hold it."
    )

    @model_validator(mode="after")
    def _parts_go_with_names(self):
        if (self.into is None) != (self.part_separator is None):
            raise ValueError("into and part_separator belong together. Give both or neither.")
        if self.into is not None and len(set(self.into)) < len(self.into):
            raise ValueError(f"into names each part once. Received: {self.into}.")
        return self

    def serves(self, columns: Iterable[str]) -> bool:
        """Whether one of the columns is of an element: itself, a part of it or a field of it."""
        made = {self.column, *(self.into or [])}
        return any(column in made or column.startswith(f"{self.column}.") for column in columns)


def _is_path(path: str) -> str:
    parts = path.split("/")
    if not path.strip() or path.startswith("/") or ".." in parts or "://" in path or "\0" in path:
        raise ValueError(
            "a path must stay within the data directory. Write it relative to that directory, without `..`"
        )
    if len(re.findall(r"\*+", path)) > _MAX_STARS:
        raise ValueError(f"a path has at most {_MAX_STARS} `*`. Name directories")
    return path


def _is_mark(mark: str) -> str:
    if set(mark) & set('\n\r\0"'):
        raise ValueError("a delimiter, escape or comment holds no line end, NUL or quotation mark. Give another one")
    return mark


def _is_encoding(name: str) -> str:
    try:
        codecs.getincrementaldecoder(name)
        sound = "user,1\n".encode(name).decode(name) == "user,1\n"
    except (LookupError, UnicodeError, TypeError, ValueError):
        sound = False
    if not sound or codecs.lookup(name).name in _NO_ENCODINGS:
        raise ValueError("this is no text encoding that Python knows. Use e.g. utf-8, cp1252, utf-16 or shift_jis")
    return name


_NO_ENCODINGS = ("idna", "punycode", "unicode-escape", "unicode_escape", "raw-unicode-escape", "raw_unicode_escape")
_Mark = Annotated[str, Field(min_length=1), AfterValidator(_is_mark)]
Paths = Annotated[list[Annotated[str, AfterValidator(_is_path)]], Field(min_length=1)]
"""Files, directories or globs, relative to the data directory."""


class Files(StrictModel):
    """Where records lie and how to read them; compression is found by the first bytes of a file."""

    paths: Paths = Field(description="Files, directories or globs, relative to the data directory.")
    format: Literal["csv", "jsonl", "json", "parquet"] = Field(
        default="csv", description="`jsonl`: an object a line; `json`: one document with an array of objects."
    )
    records: Optional[Annotated[str, Field(min_length=1)]] = Field(
        default=None, description="Dotted path of the array in a `json` document; the document itself when absent."
    )
    delimiter: _Mark = Field(default=",", description="One or more characters between the cells of a CSV line.")
    header: bool = Field(default=True, description="Whether the first CSV line names the columns.")
    columns: Optional[list[str]] = Field(default=None, description="Column names of a CSV file without header.")
    quoting: Literal["minimal", "none"] = Field(
        default="minimal", description="`none`: quotation marks are ordinary characters (most TSV logs)."
    )
    escape: Optional[Annotated[_Mark, Field(max_length=1)]] = Field(
        default=None,
        description="Takes the meaning from a quotation mark behind it, as Spark's backslash; doubled marks stay read.",
    )
    comment: Optional[Annotated[_Mark, Field(max_length=1)]] = Field(
        default=None, description="CSV lines that start with this character are skipped."
    )
    encoding: Annotated[str, AfterValidator(_is_encoding)] = Field(
        default="utf-8", description="Any of Python's; a byte order mark in a file goes first."
    )
    file_column: Optional[Annotated[str, Field(min_length=1)]] = Field(
        default=None, description="A further column: the file's name without directories and suffixes."
    )
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of numbers that are text.")
    thousands: Optional[Literal[",", ".", " ", "'"]] = Field(
        default=None, description="Separates the thousands of numbers that are text."
    )
    missing: list[str] = Field(default=[], description="Cells that mean unknown, in whatever column.")
    explode: Optional[Explode] = Field(default=None, description="A column that holds several records in one cell.")

    @model_validator(mode="after")
    def _marks_differ(self):
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands must differ. Received both: {self.decimal!r}.")
        return self

    @model_validator(mode="after")
    def _columns_match_header(self):
        if self.format == "csv" and not self.header and not self.columns:
            raise ValueError("a CSV file without header needs its columns. Set columns: [name, ...].")
        if self.columns is not None and (self.header or self.format != "csv"):
            raise ValueError("columns may only be given for CSV with header: false. Remove columns or the header.")
        if self.records is not None and self.format != "json":
            raise ValueError("records says where the array of a JSON document is. Set format: json or remove it.")
        return self

    @model_validator(mode="after")
    def _is_readable(self):
        if self.comment is not None and self.comment in self.delimiter:
            raise ValueError(f"comment and delimiter must differ. Received both: {self.comment!r}. Change one.")
        if self.escape is not None and (self.escape in self.delimiter or self.escape == self.comment):
            raise ValueError(
                f"escape must differ from delimiter and comment. Received twice: {self.escape!r}. Change one."
            )
        if self.escape is not None and self.quoting == "none":
            raise ValueError("escape is for quotation marks, which quoting: none makes plain text. Remove one of them.")
        columns = self.columns or []
        if len(set(columns)) < len(columns) or "" in columns:
            raise ValueError("columns must have names, each its own. Name those too that no feature reads.")
        return self
