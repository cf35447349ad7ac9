"""Whether texts are times, and in which unit or strptime format."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, Optional

_DATES = (
    *("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%m %d, %Y", "%Y-%m-%d", "%y/%m/%d", "%y-%m-%d", "%y.%m.%d", "%d-%m-%y", "%m-%d-%y"),
)
_CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ":%H:%M:%S %z", " %H:%M:%S %z"),
    *(", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", "T%H:%M:%S", "T%H:%M"),
)
_WHOLE = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S %z")
FORMATS = (*(date + clock for date, clock in itertools.product(_DATES, _CLOCKS)), *_WHOLE)

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d([.,]\d{1,9})?)?)?\s?(Z|z|UTC|[+-]\d\d(:?\d\d)?)?)?"
    r"|(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])(T\d{2,6}(Z|z)?)?"
)
_NUMBER = re.compile(r"\d{9,19}(\.\d+)?|\d\.\d+[eE]\+\d+")
_COMPACT = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])([0-5]\d){0,2}")
"""As a number, which may also be one of seconds."""
_COMPACT_FORMATS = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DATED = re.compile(r"\d{1,4}[-/. ]([a-zA-Z]{3,9}|\d{1,2})[-/., ]|[A-Z][a-z]{2,8},? \d{1,2}\b|[A-Z][a-z]{2},? [A-Z]?")
_FIRST_S, _LAST_S = 5e8, 4.1e9  # 1985 to 2099
_PER_SECOND = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
_ENOUGH = 0.98
_MOST = 500
_SHORT = 3


class TimeForm(NamedTuple):
    """How a column writes times; one of unit and format is given."""

    unit: Optional[str]
    format: Optional[str]
    why: str


def guess_time(values: Sequence[str]) -> Optional[TimeForm]:
    """How distinct values, in order of the log, write times; None where they are none."""
    every = [value.strip() for value in values if value.strip()]
    values = every[:_MOST]
    if not values:
        return None
    if _share(_ISO, values) >= _ENOUGH:
        return TimeForm("iso8601", None, f"as {_first(_ISO, values)}")
    length, number = collections.Counter(map(len, values)).most_common(1)[0]
    if number >= _ENOUGH * len(values) and _share(_COMPACT, values) >= _ENOUGH:
        return TimeForm(None, _COMPACT_FORMATS[length], f"as {_first(_COMPACT, values)}")
    if _share(_NUMBER, values) >= _ENOUGH:
        return _guess_unit(values)
    return _guess_format(values, every)


def find_order(numbers: Sequence[float]) -> Optional[TimeForm]:
    """The unit in which numbers of which only the order matters are times that ingestion takes; None below 0."""
    why = "whole numbers with a beginning of their own; only their order matters"
    fitting = [unit for unit, factor in _PER_SECOND.items() if 0 <= min(numbers) <= max(numbers) <= _LAST_S * factor]
    return TimeForm(fitting[0], None, why) if fitting else None


def to_days(values: Sequence[Optional[str]], form: TimeForm) -> list[Optional[float]]:
    """[num_values] days since 1970, None where a value is no such time, or one that others are far from.

    That is beyond 2099, as 9999-12-31, and for units before 1985 when most are later: a total below the records.
    """
    known: dict[Optional[str], Optional[float]] = {}
    for value in values:
        if value not in known:
            day = None if value is None else _to_day(value.strip(), form)
            known[value] = day if day is not None and day * 86_400 <= _LAST_S else None
    days = [known[value] for value in values]
    late = [day is not None and day * 86_400 >= _FIRST_S for day in days]
    if form.unit in _PER_SECOND and 2 * sum(late) > len(days):
        return [day if is_late else None for day, is_late in zip(days, late)]
    return days


def _to_day(value: str, form: TimeForm) -> Optional[float]:
    try:
        if form.unit == "iso8601":
            digits = re.sub(r"\D", "", value)
            return datetime.strptime(digits[:12].ljust(12, "0"), "%Y%m%d%H%M").timestamp() / 86_400
        if form.unit is not None:
            return float(value) / _PER_SECOND[form.unit] / 86_400
        return datetime.strptime(value, form.format or "").replace(tzinfo=None).timestamp() / 86_400
    except (ValueError, OverflowError, OSError):
        return None


def _guess_unit(values: Sequence[str]) -> Optional[TimeForm]:
    numbers = [(value, float(value)) for value in values if _NUMBER.fullmatch(value)]
    for unit, factor in _PER_SECOND.items():
        inside = [(value, number) for value, number in numbers if _FIRST_S * factor <= number <= _LAST_S * factor]
        if len(inside) >= _ENOUGH * len(numbers):
            value, number = inside[0]
            year = datetime.fromtimestamp(number / factor, timezone.utc).year
            return TimeForm(unit, None, f"{value} is then in {year}")
    return None


def _guess_format(values: Sequence[str], every: Sequence[str]) -> Optional[TimeForm]:
    """The format of some values; where they leave several, all values say more."""
    some = values[:10]
    if not all(_DATED.match(value) and any(map(str.isdigit, value)) and len(value) < 40 for value in some):
        return None
    formats = [form for form in FORMATS if all(_parses(value, form) for value in some)]
    fitting = [form for form in formats if sum(_parses(value, form) for value in values) >= _ENOUGH * len(values)]
    if not fitting:
        return None
    if len(fitting) > 1:
        parsed = {form: sum(_parses(value, form) for value in every) for form in fitting}
        fitting = [form for form in fitting if parsed[form] == max(parsed.values())]
    if len(fitting) == 1:
        return TimeForm(None, fitting[0], f"as {values[0]}")
    # Day, month and year: a log covers no more time than it must, and is mostly written in order.
    spans = {form: _span(values, form) for form in fitting}
    likely = [form for form in fitting if spans[form] <= _SHORT * min(spans.values())]
    form = min(likely, key=lambda form: _num_steps_back(values, form))
    others = ", ".join(other for other in fitting if other != form)
    return TimeForm(None, form, f"as {values[0]}; {others} would also do: check day, month and year")


def _span(values: Sequence[str], form: str) -> timedelta:
    times = _to_times(values, form)
    return max(times) - min(times)


def _num_steps_back(values: Sequence[str], form: str) -> int:
    return sum(later < earlier for earlier, later in itertools.pairwise(_to_times(values, form)))


def _to_times(values: Sequence[str], form: str) -> list[datetime]:
    return [datetime.strptime(value, form).replace(tzinfo=None) for value in values if _parses(value, form)]


def _parses(value: str, form: str) -> bool:
    try:
        return 1900 < datetime.strptime(value, form).year < 2100
    except ValueError:
        return False


def _first(pattern: re.Pattern[str], values: Sequence[str]) -> str:
    return next(value for value in values if pattern.fullmatch(value))


def _share(pattern: re.Pattern[str], values: Sequence[str]) -> float:
    return sum(pattern.fullmatch(value) is not None for value in values) / len(values)
