"""What the values of a column are like: numbers, times, words, several values, and how often they recur."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import statistics
from collections.abc import Sequence
from typing import Optional

import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.guessing.times import TimeForm, guess_time
from recsys_ssl.guessing.words import NULLS, words_of

_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+|\d{1,3}([ '’]\d{3})+),\d+")
_GROUPED = re.compile(r"[+-]?\d{1,3}([, '’])\d{3}(\1\d{3})*(\.\d+)?")
_MONEY = re.compile(r"[$€£¥%\s\u00a0]+|\b(USD|EUR|GBP|CHF|JPY)\b")
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
        found = [to_number(value, self.style) for value in self.known]
        return [number for number in found if number is not None]

    @functools.cached_property
    def style(self) -> str:
        """How numbers are written: `plain`, `comma` (decimal) or `grouped` (thousands)."""
        texts = [_MONEY.sub("", value) for value in self.known]
        odd = [text for text in texts if not _PLAIN.fullmatch(text)]
        if not odd:
            return "plain"
        comma, grouped = (sum(p.fullmatch(text) is not None for text in odd) for p in (_COMMA, _GROUPED))
        if max(comma, grouped) < 0.8 * len(odd):
            return "plain"
        return (
            "comma" if comma > grouped or (comma == grouped and not any("." in text for text in texts)) else "grouped"
        )

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
    def is_flag(self) -> bool:
        """Whether the values are true and false."""
        return {value.lower() for value in self.known} == {"true", "false"}

    @property
    def share_distinct(self) -> float:
        return self.num_distinct / max(1, self.num_present)

    @property
    def is_unique(self) -> bool:
        """Whether hardly a value occurs twice, and none is missing."""
        return self.num_present > 1 and self.share_distinct > 0.98 and self.num_present >= 0.98 * self.num_records


def describe(table: pa.Table, own_types: Optional[dict[str, str]] = None) -> dict[str, Column]:
    """The columns of a table of texts, or lists of texts, by name."""
    return {name: _describe(name, table[name], (own_types or {}).get(name, "")) for name in table.column_names}


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


def to_number(text: str, style: str = "plain") -> Optional[float]:
    """A number as `style` writes it, without currency; None where it is none."""
    text = _MONEY.sub("", text)
    if style == "comma" and _COMMA.fullmatch(text):
        text = re.sub(r"[. '’]", "", text).replace(",", ".")
    elif style == "grouped" and _GROUPED.fullmatch(text):
        text = re.sub(r"[, '’]", "", text)
    number = float(text) if _PLAIN.fullmatch(text) else math.nan
    return number if math.isfinite(number) else None
