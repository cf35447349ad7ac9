"""Whether texts are times, and in which unit or strptime format."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Optional

_DATES = (
    *("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%m %d, %Y", "%Y-%m-%d"),
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
_DATED = re.compile(r"\d{1,4}[-/. ]([a-zA-Z]{3,9}|\d{1,2})[-/., ]|[A-Z][a-z]{2,8},? \d{1,2}\b|[A-Z][a-z]{2},? [A-Z]?")
_FIRST_S, _LAST_S = 5e8, 4.1e9  # 1985 to 2099
_PER_SECOND = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
_ENOUGH = 0.98
_MOST = 500


class TimeForm(NamedTuple):
    """How a column writes times; one of unit and format is given."""

    unit: Optional[str]
    format: Optional[str]
    why: str


def guess_time(values: Sequence[str]) -> Optional[TimeForm]:
    """How distinct values, in order of the log, write times; None where they are none."""
    values = [value.strip() for value in values if value.strip()][:_MOST]
    if not values:
        return None
    if _share(_ISO, values) >= _ENOUGH:
        return TimeForm("iso8601", None, f"as {values[0]}")
    if _share(_NUMBER, values) >= _ENOUGH:
        return _guess_unit(values)
    return _guess_format(values)


def to_days(values: Sequence[Optional[str]], form: TimeForm) -> list[Optional[float]]:
    """[num_values] days since 1970, None where a value is no such time."""
    known: dict[Optional[str], Optional[float]] = {}
    for value in values:
        if value not in known:
            known[value] = None if value is None else _to_day(value.strip(), form)
    return [known[value] for value in values]


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
    numbers = [float(value) for value in values if _NUMBER.fullmatch(value)]
    for unit, factor in _PER_SECOND.items():
        inside = sum(_FIRST_S * factor <= number <= _LAST_S * factor for number in numbers)
        if inside >= _ENOUGH * len(numbers):
            year = datetime.fromtimestamp(numbers[0] / factor).year
            return TimeForm(unit, None, f"{values[0]} is then in {year}")
    return None


def _guess_format(values: Sequence[str]) -> Optional[TimeForm]:
    some = values[:10]
    if not all(_DATED.match(value) and any(map(str.isdigit, value)) and len(value) < 40 for value in some):
        return None
    formats = [form for form in FORMATS if all(_parses(value, form) for value in some)]
    scored = [(sum(_parses(value, form) for value in values) / len(values), form) for form in formats]
    fitting = [form for share, form in scored if share >= _ENOUGH]
    if not fitting:
        return None
    if len(fitting) == 1:
        return TimeForm(None, fitting[0], f"as {values[0]}")
    # Day and month: a log is mostly written in order of time.
    form = min(fitting, key=lambda form: _num_steps_back(values, form))
    others = ", ".join(other for other in fitting if other != form)
    return TimeForm(None, form, f"as {values[0]}; {others} would also do: check day and month")


def _num_steps_back(values: Sequence[str], form: str) -> int:
    times = [datetime.strptime(value, form).replace(tzinfo=None) for value in values if _parses(value, form)]
    return sum(later < earlier for earlier, later in itertools.pairwise(times))


def _parses(value: str, form: str) -> bool:
    try:
        return 1900 < datetime.strptime(value, form).year < 2100
    except ValueError:
        return False


def _share(pattern: re.Pattern[str], values: Sequence[str]) -> float:
    return sum(pattern.fullmatch(value) is not None for value in values) / len(values)
