"""What the values of a column are like: numbers, times, words, several values, and how often they recur."""

from __future__ import annotations

import dataclasses
import functools
import re
import statistics
from collections.abc import Sequence
from typing import Optional

import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.guessing.times import TimeForm, guess_time
from recsys_ssl.guessing.words import FLAGS, NULLS, words_of
from recsys_ssl.logs.values import PLAIN, Marks, parse_floats

_MARKS = (
    *(PLAIN, Marks(".", ","), Marks(","), Marks(",", "."), Marks(".", " "), Marks(",", " "), Marks(".", "'")),
    Marks(",", "'"),
)
"""The first that reads most is taken: `12,345` beside `982` has thousands, no decimal comma."""
_SMALL = re.compile(r"[+-]?0([,.' \u2019\u00a0\u202f])\d")
"""No number with marks of thousands begins with 0."""
_MAX_FLOAT32 = 3.4e38
_UNNAMED = re.compile(r"Unnamed: \d+")
_MOST_DISTINCT = 5_000


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a sample."""

    name: str
    distinct: Sequence[str]
    """[num_distinct] values in order of their first record; what they look like is judged by the first 5,000."""
    counts: Sequence[int]
    """[num_distinct] how often each value stands there."""
    num_records: int
    num_present: int
    is_list: bool
    lengths: Sequence[int]
    """[num_records] values of each record, for lists."""
    own_type: str = ""
    """`time`, `number` or `bool` where the file itself knows it, as Parquet does."""

    @functools.cached_property
    def words(self) -> list[str]:
        return words_of(self.name)

    @functools.cached_property
    def known(self) -> list[str]:
        """The first distinct values without words for nothing."""
        return [value for value in self.distinct[:_MOST_DISTINCT] if value not in NULLS]

    @functools.cached_property
    def ids(self) -> frozenset[str]:
        """All distinct values."""
        return frozenset(self.distinct)

    @property
    def num_distinct(self) -> int:
        return len(self.distinct)

    @functools.cached_property
    def numbers(self) -> list[float]:
        """The distinct values as numbers, those that are."""
        return [number for number in to_numbers(self.known, self.marks) if number is not None]

    @functools.cached_property
    def marks(self) -> Marks:
        """Of numbers: those that most values have, the plain ones where others read no more."""
        if self.share_read(PLAIN) == 1.0:
            return PLAIN
        small = {match[1] for value in self.known if (match := _SMALL.match(value))}
        likely = [marks for marks in _MARKS if marks.thousands is None or marks.thousands not in small]
        return max(likely, key=self.share_read)

    def share_read(self, marks: Marks) -> float:
        """Of the distinct values, those that are numbers with some marks."""
        return sum(number is not None for number in to_numbers(self.known, marks)) / max(1, len(self.known))

    @functools.cached_property
    def is_numeric(self) -> bool:
        """Whether the values are numbers, but for a few words for nothing."""
        num_words = len(self.known) - len(self.numbers)
        few_words = num_words <= 3 and len(self.numbers) >= 5 * num_words
        return not self.is_list and len(self.numbers) > 0 and (num_words <= 0.05 * len(self.known) or few_words)

    @functools.cached_property
    def is_whole(self) -> bool:
        """Whether all are whole numbers."""
        return self.is_numeric and all(number == int(number) for number in self.numbers)

    @functools.cached_property
    def is_plain_integer(self) -> bool:
        return bool(self.known) and all(value.isdigit() for value in self.known)

    @functools.cached_property
    def null_words(self) -> list[str]:
        return [value for value in NULLS if value in self.ids]

    @functools.cached_property
    def mean_words(self) -> float:
        return statistics.fmean([len(value.split()) for value in self.known]) if self.known else 0.0

    @functools.cached_property
    def time(self) -> Optional[TimeForm]:
        if self.own_type == "time":
            return TimeForm("iso8601", None, "the file's own type is a time")
        return None if self.is_list or self.own_type == "bool" else guess_time(self.known)

    @functools.cached_property
    def flag(self) -> Optional[tuple[list[str], list[str]]]:
        """The values that are false and those that are true, where there are no others."""
        words = {value.lower() for value in self.known}
        for false, true in [("0", "1"), ("0.0", "1.0"), *FLAGS]:
            if words == {false, true}:
                falses, trues = ([value for value in self.known if value.lower() == one] for one in (false, true))
                return falses, trues
        return None

    @property
    def share_distinct(self) -> float:
        return self.num_distinct / max(1, self.num_present)

    @property
    def is_unique(self) -> bool:
        """Whether hardly a value occurs twice, and none is missing."""
        return self.num_present > 1 and self.share_distinct > 0.98 and self.num_present >= 0.98 * self.num_records


def describe(table: pa.Table, own_types: Optional[dict[str, str]] = None) -> dict[str, Column]:
    """The columns of a table of texts, or lists of texts, by name.

    Left out are those without a name, as an index of pandas, and those whose name has bytes that are no text.
    """
    named = [name for name in table.column_names if name.strip() and not _UNNAMED.fullmatch(name)]
    named = [name for name in named if "\ufffd" not in name]
    return {name: _describe(name, table[name], (own_types or {}).get(name, "")) for name in named}


def _describe(name: str, column: pa.ChunkedArray, own_type: str) -> Column:
    array = lists.one_array(column)
    is_list = pa.types.is_large_list(array.type)
    values, lengths = lists.flatten(array, pa.large_string()) if is_list else (array, None)
    present = values.filter(pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(values), ""), False))
    found = present.value_counts()
    return Column(
        name=name,
        distinct=found.field(0).to_pylist(),
        counts=found.field(1).to_pylist(),
        num_records=len(array),
        num_present=len(present),
        is_list=is_list,
        lengths=[] if lengths is None else lengths.tolist(),
        own_type=own_type,
    )


def to_numbers(texts: Sequence[str], marks: Marks = PLAIN) -> list[Optional[float]]:
    """[num_texts] numbers as ingestion reads them; None where a text is none."""
    values = parse_floats(pa.array([text.strip() for text in texts], pa.large_string()), marks)
    return [float(value) if abs(value) <= _MAX_FLOAT32 else None for value in values]
