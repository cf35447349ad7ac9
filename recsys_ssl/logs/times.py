"""Columns to times: microseconds since 1970, UTC; what is no time, and what the spec would have to say to read it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.batches import is_list
from recsys_ssl.logs.values import EXACT_BITS, TEXT, as_text, parse_floats, to_numpy
from recsys_ssl.spec import Timestamp

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

Faults = list[tuple[np.ndarray, str]]
"""Masks [num_records] bool and the reasons."""

_NO_FORM, _NO_TIME = -2, -1  # in place of a time: the text has another form, or is beyond 1970 to 2100
_LAST_US = int(pd.Timestamp("2100-01-01").value // 1000)
_MAX_INT64 = 2**63 - 1
_EMPTY = "timestamp is empty"
_OUT_OF_RANGE = "timestamp is no time between 1970 and 2100"
# What ISO 8601 allows, and what databases and programs make of it: a blank for T, hours alone, UTC as a word, days
# without a zero, and the name of a zone after the offset that says it already.
_ISO_8601 = (
    r"^(?:(?P<year>\d{4})(?:-(?P<month>\d{1,2})-|/(?P<slashed>\d{1,2})/)(?P<day>\d{1,2})|(?P<basic>\d{8}))"
    r"(?:(?:[Tt]| +)(?P<clock>\d{2}(?::?\d{2}){0,2}|\d:\d{2}(?::\d{2})?)(?:[.,](?P<fraction>\d{1,9})\d*)?"
    r" ?(?:(?:Z|z|UTC|GMT|(?P<zone>[+-]\d{2}(?::?\d{2})?))(?:\[[A-Za-z0-9_/+-]+\]| [A-Z]{3,5})?)?)?$"
)


def as_microseconds(column: lists.Column, timestamp: Timestamp) -> tuple[np.ndarray, Faults]:
    """Times since 1970, in microseconds; whole numbers are converted without rounding through a float.

    Args:
        timestamp: how a number or text is to be read. Parquet's own times know their unit.

    Returns:
        [num_records] int64, 0 where there is none, and the faults found: of another form than the spec says, or no
        time from 1970 to 2100.
    """
    array = lists.one_array(column)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s" if pa.types.is_date32(array.type) else "ms"))
    if pa.types.is_timestamp(array.type):
        numbers = pc.fill_null(array.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        times = _to_microseconds(numbers, array.type.unit)
        empty = ~array.is_valid().to_numpy(zero_copy_only=False)
        return _without_faults(times, [(empty, _EMPTY), ((times < 0) | (times >= _LAST_US), _OUT_OF_RANGE)])
    if is_list(array.type):
        is_value = lists.flatten(array, TEXT)[1] > 0
        return np.zeros(len(array), np.int64), [(is_value, "timestamp is not one value"), (~is_value, _EMPTY)]
    text = pc.utf8_trim_whitespace(pc.fill_null(as_text(array), ""))
    times = _parse(text, timestamp)
    beyond = (times == _NO_TIME) | (times >= _LAST_US)
    return _without_faults(
        times,
        [*_find_merged(array), *_find_form(text, times == _NO_FORM, timestamp), *_find_unit(text, beyond, timestamp)],
    )


def _find_merged(array: pa.Array) -> Faults:
    """The reason of numbers that a float of 32 or 16 bits holds only as the nearest one that it knows."""
    if not pa.types.is_floating(array.type) or pa.types.is_float64(array.type):
        return []
    bits = EXACT_BITS[array.type.bit_width]
    size = np.abs(array.to_numpy(zero_copy_only=False).astype(np.float64))  # NaN where there is none
    return [(size >= 2.0**bits, f"timestamp is a float from 2^{bits} on, where times merge; write int64 or float64")]


def _without_faults(times: np.ndarray, faults: Faults) -> tuple[np.ndarray, Faults]:
    bad = np.logical_or.reduce([mask for mask, _ in faults])
    return np.where(bad, 0, times), faults


def _parse(text: pa.Array, timestamp: Timestamp) -> np.ndarray:
    """[num_records] int64 microseconds, `_NO_FORM` or `_NO_TIME`; other negative times are `_NO_TIME`."""
    if timestamp.format is not None:
        form = timestamp.format.strip()
        times = _parse_distinct(text, lambda distinct: _parse_format(distinct, form))
    elif timestamp.unit == "iso8601":
        times = _parse_distinct(text, _parse_iso_8601)
    else:
        times = _parse_epoch(text, timestamp.unit)
    return np.where((times < 0) & (times != _NO_FORM), _NO_TIME, times)


def _parse_distinct(text: pa.Array, parse: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    encoded = text.dictionary_encode()
    return parse(encoded.dictionary)[encoded.indices.to_numpy(zero_copy_only=False)]


# --- What a text is instead ------------------------------------------------------------------------


def _find_form(text: pa.Array, bad: np.ndarray, timestamp: Timestamp) -> Faults:
    """The reasons of texts of another form than the spec says."""
    if not bad.any():
        return []
    rest = text.filter(pa.array(bad))
    empty = np.zeros(len(bad), bool)
    empty[bad] = to_numpy(pc.is_in(pc.utf8_lower(rest), pa.array(["", "nan", "nat", "null", "none"], TEXT)))
    faults = [(empty, _EMPTY)]
    if timestamp.format is not None:
        if _has_zone_name(timestamp.format):
            has_other = np.zeros(len(bad), bool)
            has_other[bad] = ~_names_utc(rest)
            told = (
                "timestamp names a zone other than UTC and GMT, which differs by machine; write its offset, read by %z"
            )
            faults.append((has_other & ~empty, told))
        return [*faults, (bad & ~empty, f"timestamp does not have timestamp.format {timestamp.format!r}")]
    if timestamp.unit != "iso8601":
        is_iso = np.zeros(len(bad), bool)
        is_iso[bad] = _parse_distinct(rest, _parse_iso_8601) >= 0
        told = f"timestamp is not a number ({timestamp.unit} since 1970)"
        faults.append((is_iso, f"{told} but ISO 8601; set timestamp.unit: iso8601"))
        return [*faults, (bad & ~empty & ~is_iso, f"{told}; set timestamp.unit or timestamp.format")]
    is_number = np.zeros(len(bad), bool)
    is_number[bad] = to_numpy(pc.match_substring_regex(rest, r"^\d{9,19}(\.\d*)?$"))
    told = "timestamp is not ISO 8601 (2011-12-01T08:26:00Z)"
    faults.append((is_number, f"{told} but a number; set timestamp.unit: s, ms, us or ns"))
    return [*faults, (bad & ~empty & ~is_number, f"{told}; set timestamp.format")]


def _find_unit(text: pa.Array, beyond: np.ndarray, timestamp: Timestamp) -> Faults:
    """The reasons of numbers that are no time in the unit that the spec says, but may be one in another."""
    if not beyond.any() or timestamp.format is not None or timestamp.unit == "iso8601":
        return [(beyond, _OUT_OF_RANGE)]
    rest, faults = text.filter(pa.array(beyond)), []
    units = list(PER_SECOND)
    for unit in units[units.index(timestamp.unit) + 1 :]:
        is_other, times = np.zeros(len(beyond), bool), _parse_epoch(rest, unit)
        is_other[beyond] = (times > 0) & (times < _LAST_US)
        faults.append((is_other, f"{_OUT_OF_RANGE} in {timestamp.unit}, but one in {unit}; set timestamp.unit"))
    return [*faults, (beyond, _OUT_OF_RANGE)]


# --- Numbers ---------------------------------------------------------------------------------------


def _to_microseconds(numbers: np.ndarray, unit: str) -> np.ndarray:
    """[num_records] int64, `_NO_TIME` for a number beyond the last time: its microseconds may not fit in 64 bits."""
    per_second = PER_SECOND[unit]
    if per_second > 1_000_000:
        return numbers // (per_second // 1_000_000)
    factor = 1_000_000 // per_second
    sound = (numbers >= 0) & (numbers <= _LAST_US // factor)
    return np.where(sound, numbers * np.where(sound, factor, 0), _NO_TIME)


def _parse_epoch(text: pa.Array, unit: str) -> np.ndarray:
    whole = to_numpy(pc.match_substring_regex(text, r"^\d{1,19}$"))
    if not whole.all():  # a fraction of a nanosecond is none of a microsecond
        text = pc.replace_substring_regex(text, r"^(\d+)\.\d*$" if unit == "ns" else r"^(\d+)\.0*$", r"\1")
        whole = to_numpy(pc.match_substring_regex(text, r"^\d{1,19}$"))
    times = np.full(len(text), _NO_FORM, np.int64)
    numbers = text.filter(pa.array(whole)).cast(pa.uint64()).to_numpy(zero_copy_only=False)
    times[whole] = _to_microseconds(np.minimum(numbers, np.uint64(_MAX_INT64)).astype(np.int64), unit)
    if not whole.all():
        values = parse_floats(text.filter(pa.array(~whole))) * (1e6 / PER_SECOND[unit])
        sound = (values >= 0) & (values <= _LAST_US)
        rounded = np.round(np.where(sound, values, 0)).astype(np.int64)
        times[~whole] = np.where(sound, rounded, np.where(np.isnan(values), _NO_FORM, _NO_TIME))
    return times


# --- Text ------------------------------------------------------------------------------------------


def _parse_iso_8601(text: pa.Array) -> np.ndarray:
    apart = pc.replace_substring_regex(text, r"^(\d{8})(\d{6})", r"\1T\2")
    parts = pc.extract_regex(apart, _ISO_8601)
    shaped = to_numpy(parts.is_valid())
    found = dict(zip((field.name for field in parts.type), parts.filter(pa.array(shaped)).flatten()))
    basic = found["basic"]
    year = _to_integers(_join(found["year"], pc.utf8_slice_codeunits(basic, 0, 4)))
    month = _to_integers(_join(found["month"], found["slashed"], pc.utf8_slice_codeunits(basic, 4, 6)))
    days, sound = _to_days(year, month, _to_integers(_join(found["day"], pc.utf8_slice_codeunits(basic, 6, 8))))
    clock = pc.replace_substring(pc.replace_substring_regex(found["clock"], r"^(\d):", r"0\1:"), ":", "")
    hour, minute, second = _split_digits(_to_integers(pc.utf8_rpad(clock, 6, "0")))
    fraction = _to_integers(pc.utf8_rpad(found["fraction"], 9, "0"))
    # Behind hours or minutes it would be one of these, or mean `10.30`.
    sound &= to_numpy(pc.or_(pc.equal(found["fraction"], ""), pc.equal(pc.utf8_length(clock), 6)))
    zone = pc.utf8_rpad(pc.replace_substring(found["zone"], ":", ""), 5, "0")
    offset = _to_integers(pc.replace_substring(zone, "+", ""))
    _, zone_hours, zone_minutes = _split_digits(np.abs(offset))
    is_midnight = (hour == 24) & (minute == 0) & (second == 0) & (fraction == 0)  # that ends the day
    sound &= ((hour < 24) | is_midnight) & (minute < 60) & (second < 60) & (zone_hours < 24) & (zone_minutes < 60)
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - np.sign(offset) * (60 * zone_hours + zone_minutes) * 60
    moments = seconds * 1_000_000 + fraction // 1_000
    times = np.full(len(text), _NO_FORM, np.int64)
    times[shaped] = np.where(sound, np.maximum(moments, _NO_TIME), _NO_FORM)
    return times


_NOTHING = pa.scalar("", TEXT)


def _join(*texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(*texts, _NOTHING)


def _split_digits(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HHMMSS as hours, minutes and seconds."""
    return numbers // 10_000, numbers // 100 % 100, numbers % 100


def _to_integers(text: pa.Array) -> np.ndarray:
    """[num_texts] int64, 0 for the empty text."""
    text = pc.if_else(pc.equal(text, ""), pa.scalar("0", TEXT), text)
    return text.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _to_days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[num_dates] int64 days since 1970, and [num_dates] bool, whether there is such a day."""
    months = (year - 1970) * 12 + month - 1
    first, end = (
        count.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for count in (months, months + 1)
    )
    return first + day - 1, (month >= 1) & (month <= 12) & (day >= 1) & (day <= end - first)


def _parse_format(text: pa.Array, form: str) -> np.ndarray:
    """By pandas; what it leaves, by Python, which knows more directives and no bounds.

    A letter before both keeps pandas from taking a form for ISO 8601, which its versions read each in another way.
    Numbers that nothing separates have all their digits: both would take 202011 for the first of January.
    """
    shaped = to_numpy(pc.match_substring_regex(text, _shape_of(form)))
    if _has_zone_name(form):
        shaped &= _names_utc(text)
    times = np.full(len(text), _NO_FORM, np.int64)
    if shaped.any():
        times[shaped] = _parse_shaped(text.filter(pa.array(shaped)), form)
    return times


def _shape_of(form: str) -> str:
    """A pattern of the texts of a form, which says how many digits run on."""
    pattern = ""
    for run in re.split(r"((?:%[YGymdHIMSfjUWVuw]){2,})", form.replace("%%", " ")):
        is_run = run.startswith("%") and len(run) > 3 and set(run[1::2]) <= set(_DIGITS)
        pattern += "".join(_DIGITS[sign] for sign in run[1::2]) if is_run else ".*" if run else ""
    return rf"(?s)^{pattern}$"


_DIGITS = {"Y": r"\d{4}", "G": r"\d{4}", "j": r"\d{3}", "f": r"\d{1,6}", "u": r"\d", "w": r"\d"} | dict.fromkeys(
    "ymdHIMSUWV", r"\d{2}"
)


def _has_zone_name(form: str) -> bool:
    return "%Z" in form.replace("%%", "")


def _names_utc(text: pa.Array) -> np.ndarray:
    """[num_texts] bool, whether one of the two zones that every machine knows stands there."""
    return to_numpy(pc.match_substring_regex(text, r"(?i)(?:^|[^a-z])(?:UTC|GMT)(?:[^a-z]|$)"))


def _parse_shaped(text: pa.Array, form: str) -> np.ndarray:
    marked = pc.binary_join_element_wise(pa.scalar("x", TEXT), text, _NOTHING).to_pandas()
    try:
        found = pd.to_datetime(marked, format=f"x{form}", errors="coerce", utc=True)
        # The unit of pandas' own times depends on its version.
        moments = found.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    except (ValueError, NotImplementedError):
        moments = np.full(len(text), np.datetime64("NaT", "us"))
    left = np.isnat(moments)
    times = np.maximum(moments.astype(np.int64), _NO_TIME)
    times[left] = [_parse_one(value, form) for value in text.filter(pa.array(left)).to_pylist()]
    return times


def _parse_one(text: str, form: str) -> int:
    try:
        moment = datetime.strptime(text, form)
    except ValueError:
        return _NO_FORM
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1), _NO_TIME)
