"""Columns to text, numbers and times: what is a value, what is missing, and what is neither."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.batches import is_list

TEXT = pa.large_string()

_LAST_US = int(pd.Timestamp("2100-01-01").value // 1000)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_ISO_8601 = (
    r"^(?P<day>\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?:(?P<second>:\d{2})(?:\.(?P<fraction>\d{1,9}))?)?"
    r"\s?(?:Z|(?P<zone>[+-]\d{2}:?\d{2}))?)?$"
)


# --- Text ------------------------------------------------------------------------------------------


def as_text(column: lists.Column) -> pa.Array:
    """[num_records] large_string; null stays null, NaN is null, a whole float is written as an integer.

    Lists have no text: null, see `holds_list`.
    """
    array = _decoded(column)
    if is_list(array.type):
        return pa.nulls(len(array), TEXT)
    if pa.types.is_floating(array.type):
        return _float_text(array)
    if pa.types.is_decimal(array.type):
        return pa.array([None if value is None else _decimal_text(value) for value in array.to_pylist()], TEXT)
    if pa.types.is_binary(array.type):
        array = array.cast(pa.large_binary())
    return array if array.type == TEXT else array.cast(TEXT)


def holds_list(column: lists.Column) -> np.ndarray:
    """[num_records] bool, True where a list with a value stands for one value."""
    if not is_list(column.type):
        return np.zeros(len(column), bool)
    return lists.flatten(column, TEXT)[1] > 0


def is_empty(text: pa.Array) -> np.ndarray:
    return to_numpy(pc.fill_null(pc.equal(text, ""), True))


def to_numpy(mask: pa.Array) -> np.ndarray:
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False)


def _decoded(column: lists.Column) -> pa.Array:
    array = lists.one_array(column)
    return array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array


def _float_text(array: pa.Array) -> pa.Array:
    if pa.types.is_float16(array.type):
        array = pa.array(array.to_numpy(zero_copy_only=False).astype(np.float32))  # the other has no text
    values = array.to_numpy(zero_copy_only=False).astype(np.float64)  # null becomes NaN
    whole = (values == np.floor(values)) & (np.abs(values) < 2.0**63)
    text = array.filter(pa.array(~whole)).cast(TEXT)
    integers = pa.array(values[whole].astype(np.int64)).cast(TEXT)
    order = np.empty(len(values), np.int64)
    order[np.flatnonzero(~whole)] = np.arange(len(text))
    order[np.flatnonzero(whole)] = len(text) + np.arange(len(integers))
    return pa.concat_arrays([text, integers]).take(pa.array(order, mask=np.isnan(values)))


def _decimal_text(value: Decimal) -> str:
    return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")


# --- Numbers ---------------------------------------------------------------------------------------


def as_float(column: lists.Column) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of a column.

    Returns:
        [num_records] float64, NaN where there is none; [num_records] bool, True where the cell is empty, null or
        NaN; [num_records] bool, True where it is something else than a finite number, a list among them.
    """
    array = _decoded(column)
    if is_list(array.type):
        bad = holds_list(array)
        return np.full(len(array), np.nan), ~bad, bad
    if pa.types.is_float16(array.type):
        array = pa.array(array.to_numpy(zero_copy_only=False).astype(np.float32))
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_decimal(array.type):
        values = pc.fill_null(array.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
        missing = np.isnan(values)
    else:
        text = pc.utf8_trim_whitespace(pc.fill_null(as_text(array), ""))
        missing = to_numpy(pc.is_in(pc.utf8_lower(text), pa.array(["", "nan"], TEXT)))
        values = np.full(len(text), np.nan)
        values[~missing] = _parse_floats(text.filter(pa.array(~missing)))
    bad = ~missing & ~np.isfinite(values)
    return np.where(bad, np.nan, values), missing, bad


def _parse_floats(text: pa.Array) -> np.ndarray:
    try:
        return text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # slower, but says which
        return pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy(np.float64)


# --- Times -----------------------------------------------------------------------------------------


def as_microseconds(column: lists.Column, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Times since 1970, in microseconds; whole numbers are converted without rounding through a float.

    Args:
        unit: s, ms, us, ns or iso8601 (UTC when the text names no zone). Parquet's own times know their unit.

    Returns:
        [num_records] int64, 0 where there is none; [num_records] bool, True where it is no time from 1970 to 2100.
    """
    array = lists.one_array(column)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s" if pa.types.is_date32(array.type) else "ms"))
    if pa.types.is_timestamp(array.type):
        numbers = pc.fill_null(array.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        times = _to_microseconds(numbers, array.type.unit)
    elif unit == "iso8601":
        times = _parse_iso_8601(pc.utf8_trim_whitespace(pc.fill_null(as_text(array), "")))
    else:
        times = _parse_epoch(array, unit)
    bad = (times < 0) | (times >= _LAST_US)
    return np.where(bad, 0, times), bad


def _to_microseconds(numbers: np.ndarray, unit: str) -> np.ndarray:
    """[num_records] int64, -1 where the number is beyond the last time: its microseconds may not fit in 64 bits."""
    per_second = _PER_SECOND[unit]
    if per_second > 1_000_000:
        return numbers // (per_second // 1_000_000)
    factor = 1_000_000 // per_second
    sound = (numbers >= 0) & (numbers <= _LAST_US // factor)
    return np.where(sound, numbers * np.where(sound, factor, 0), -1)


def _parse_iso_8601(text: pa.Array) -> np.ndarray:
    """[num_records] int64, -1 where there is none.

    Pandas gets texts of one form, for some of its versions let the first text decide how the others are read.
    """
    parts = pc.extract_regex(text, _ISO_8601)
    shaped = to_numpy(parts.is_valid())
    day, minute, second, fraction, zone = parts.filter(pa.array(shaped)).flatten()
    clock = pc.binary_join_element_wise(_or(minute, "00:00"), _or(second, ":00"), pa.scalar("", TEXT))
    moments = pc.binary_join_element_wise(day, clock, pa.scalar("T", TEXT)).to_pandas()
    found = pd.to_datetime(moments, format="%Y-%m-%dT%H:%M:%S", errors="coerce")
    seconds = found.to_numpy().astype("datetime64[s]")  # the unit of pandas' own times depends on its version
    sound = ~np.isnat(seconds)
    offset = _to_integers(pc.replace_substring(_or(zone, "+0000"), ":", ""))
    hours, minutes = np.abs(offset) // 100, np.abs(offset) % 100
    sound &= (hours < 24) & (minutes < 60)
    whole_s = np.where(sound, seconds.astype(np.int64), 0) - np.sign(offset) * (60 * hours + minutes) * 60
    below_us = _to_integers(pc.utf8_rpad(fraction, 9, "0")) // 1_000
    times = np.full(len(text), -1, np.int64)
    times[shaped] = np.where(sound, whole_s * 1_000_000 + below_us, -1)
    return times


def _or(text: pa.Array, missing: str) -> pa.Array:
    return pc.if_else(pa.array(is_empty(text)), pa.scalar(missing, TEXT), text)


def _to_integers(text: pa.Array) -> np.ndarray:
    return pc.replace_substring(text, "+", "").cast(pa.int64()).to_numpy(zero_copy_only=False)


def _parse_epoch(column: pa.Array, unit: str) -> np.ndarray:
    text = pc.utf8_trim_whitespace(pc.fill_null(as_text(column), ""))
    whole = to_numpy(pc.match_substring_regex(text, r"^\d{1,18}$"))
    times = np.full(len(text), -1, np.int64)
    numbers = text.filter(pa.array(whole)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    times[whole] = _to_microseconds(numbers, unit)
    if not whole.all():
        values, _, _ = as_float(pa.chunked_array([text.filter(pa.array(~whole))]))
        values = values * (1e6 / _PER_SECOND[unit])
        sound = (values >= 0) & (values <= _LAST_US)
        times[~whole] = np.where(sound, np.round(np.where(sound, values, 0)), -1).astype(np.int64)
    return times
