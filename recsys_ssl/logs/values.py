"""Columns to text and numbers: what is a value, what is missing, and what is neither."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import NamedTuple, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.batches import is_list
from recsys_ssl.spec import Files

TEXT = pa.large_string()
WRITTEN = pa.struct([("text", TEXT), ("is_number", pa.bool_())])
"""Cells of a format whose numbers are no text, as they stand there: which of them `Marks` do not concern."""
EXACT_BITS = {16: 11, 32: 24, 64: 53}
"""A float of so many bits knows each integer below 2 to the power of this; above, neighbours are one."""
_MOST_BYTES_SHOWN = 200
_MAX_FLOAT32 = float(np.finfo(np.float32).max)

# --- Text ------------------------------------------------------------------------------------------


def as_text(column: lists.Column) -> pa.Array:
    """[num_records] large_string; null stays null, NaN is null, a whole float is written as an integer.

    A moment has one text whatever the unit and zone of its column: in UTC, without zeros behind its fraction. Lists
    have no text: null, see `holds_list`.
    """
    array = _decoded(column)
    if is_list(array.type):
        return pa.nulls(len(array), TEXT)
    if pa.types.is_floating(array.type):
        return _float_text(array)
    if pa.types.is_decimal(array.type):
        return _decimal_text(array)
    if pa.types.is_duration(array.type):
        return _float_text(_to_float64(array))
    if pa.types.is_timestamp(array.type) or pa.types.is_time(array.type):
        if getattr(array.type, "tz", None) is not None:
            array = array.cast(pa.timestamp(array.type.unit, "UTC"))
        # By the unit of the file a moment has 0, 3, 6 or 9 digits behind the second.
        return pc.replace_substring_regex(array.cast(TEXT), r"(?:\.0+|(\.\d*[1-9])0+)(Z?)$", r"\1\2")
    if pa.types.is_fixed_size_binary(array.type) or pa.types.is_binary(array.type):
        array = array.cast(pa.large_binary())
    return array if array.type == TEXT else array.cast(TEXT)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are written, so that numbers among them have to be read."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or is_binary(kind)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes, which are text for most features."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def to_written(text: pa.Array, is_number: np.ndarray) -> pa.Array:
    """[num_records] WRITTEN; null stays null."""
    arrays = [text, pa.array(is_number, pa.bool_())]
    return pa.StructArray.from_arrays(arrays, fields=list(WRITTEN), mask=text.is_null())


def find_numbers(column: lists.Column) -> np.ndarray:
    """[num_records] bool, True where a cell is known to be a number that is no text."""
    array = lists.one_array(column)
    return to_numpy(pc.struct_field(array, [1])) if array.type == WRITTEN else np.zeros(len(array), bool)


def show_text(table: pa.Table) -> pa.Table:
    """The columns, WRITTEN ones as text, and long bytes by how they begin."""
    names = table.column_names
    return pa.table([_show_text(table[name]) for name in names], names)


def _show_text(column: lists.Column) -> lists.Column:
    if column.type == WRITTEN:
        return as_text(column)
    if is_binary(column.type):
        return pa.array([_show_bytes(value) for value in column.to_pylist()], pa.large_binary())
    if is_list(column.type) and column.type.value_type == WRITTEN:
        values, lengths = lists.flatten(column, TEXT)
        return lists.from_flat(as_text(values), lengths)
    return column


def _show_bytes(value: Optional[bytes]) -> Optional[bytes]:
    if value is None or len(value) <= _MOST_BYTES_SHOWN:
        return value
    return value[: _MOST_BYTES_SHOWN // 2] + f"... ({len(value):,} bytes)".encode()


def without_words(table: pa.Table, words: Sequence[str], contents: Collection[str] = ()) -> pa.Table:
    """The columns with null for each cell, or value of a list, that is one of some words; blanks around it are none.

    Args:
        contents: columns whose bytes are no text, and stay as they are.
    """
    texts = pa.array(words, TEXT)
    columns = {name: table[name] for name in table.column_names}
    return pa.table(
        {
            name: column if name in contents and is_binary(column.type) else _without_words(column, texts)
            for name, column in columns.items()
        }
    )


def _without_words(column: lists.Column, words: pa.Array) -> pa.Array:
    array = lists.one_array(column) if column.type == WRITTEN else _decoded(column)
    if is_list(array.type):
        values, lengths = lists.flatten(array, TEXT)
        return lists.from_flat(_without_words(values, words), lengths)
    texts = pa.array(spell_like(pc.utf8_trim_whitespace(words).to_pylist(), array), TEXT)
    found = pc.is_in(pc.utf8_trim_whitespace(pc.fill_null(as_text(array), "")), texts)
    if not pc.any(found).as_py():
        return array
    rows = pa.array(np.arange(len(array)), mask=to_numpy(found))
    return array.take(rows)  # a choice by `if_else` has no kernel for durations and halves


def holds_list(column: lists.Column) -> np.ndarray:
    """[num_records] bool, True where a list with a value stands for one value."""
    if not is_list(column.type):
        return np.zeros(len(column), bool)
    return lists.flatten(column, TEXT)[1] > 0


def is_empty(text: pa.Array) -> np.ndarray:
    """[num_texts] bool, True for null and the empty text; blanks are a value."""
    return to_numpy(pc.fill_null(pc.equal(text, ""), True))


def to_numpy(mask: pa.Array) -> np.ndarray:
    """[num_records] bool of a mask, False where it is null."""
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False)


def _decoded(column: lists.Column) -> pa.Array:
    array = lists.one_array(column)
    if array.type == WRITTEN:
        return pc.struct_field(array, [0])
    return array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array


def spell_like(words: Sequence[str], column: lists.Column) -> list[str]:
    """Words of a spec as `as_text` writes them; in a column of floats -1.0 is -1, and 0.1 is one of the column's width.

    Other words, and those for any other column, stay as they are.
    """
    kind = _value_type(column)
    if not pa.types.is_floating(kind):
        return list(words)
    with np.errstate(over="ignore"):
        numbers = parse_floats(pa.array(words, TEXT)).astype(kind.to_pandas_dtype())
    texts = as_text(pa.array(numbers)).to_pylist()
    return [text if np.isfinite(number) else word for word, number, text in zip(words, numbers, texts)]


def _float_text(array: pa.Array) -> pa.Array:
    if pa.types.is_float16(array.type):
        array = _widen_halves(array)
    values = array.to_numpy(zero_copy_only=False).astype(np.float64)  # null becomes NaN
    whole = (values == np.floor(values)) & (np.abs(values) < 2.0**63)
    text = array.filter(pa.array(~whole)).cast(TEXT)
    integers = pa.array(values[whole].astype(np.int64)).cast(TEXT)
    order = np.empty(len(values), np.int64)
    order[np.flatnonzero(~whole)] = np.arange(len(text))
    order[np.flatnonzero(whole)] = len(text) + np.arange(len(integers))
    return pa.concat_arrays([text, integers]).take(pa.array(order, mask=np.isnan(values)))


def _widen_halves(array: pa.Array) -> pa.Array:
    """Halves, which have no text in Arrow, as the float32 that has the shortest text of each."""
    halves = array.to_numpy(zero_copy_only=False).astype(np.float16)
    distinct, place = np.unique(halves, return_inverse=True)
    return pa.array(np.array([float(str(half)) for half in distinct], np.float32)[place])


def _decimal_text(array: pa.Array) -> pa.Array:
    encoded = array.dictionary_encode()
    text = [None if value is None else _write_decimal(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(text, TEXT).take(encoded.indices)


def _write_decimal(value: Decimal) -> str:
    return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")


# --- Numbers ---------------------------------------------------------------------------------------


class Marks(NamedTuple):
    """How numbers are written as text, see `spec.Files`."""

    decimal: str = "."
    thousands: Optional[str] = None


PLAIN = Marks()


def marks_of(files: Files) -> Marks:
    """How the numbers of some files are written."""
    return Marks(files.decimal, files.thousands)


# Each but the first needs a spec that says so; one that reads "1,299" as a whole number goes before one that does not.
_OTHER_MARKS = [Marks(".", ","), Marks(","), Marks(",", "."), Marks(".", " "), Marks(",", " "), Marks(".", "'"), PLAIN]
_CURRENCIES = (
    "AED ARS AUD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR JPY KRW MXN MYR NGN NOK NZD PEN PHP "
    "PKR PLN RMB RON RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR Rs Rs. kr kr. Ft Kč zł лв"
)
_CURRENCY = r"(?:[A-Z]{0,2}\p{Sc}|(?i:" + "|".join(word.replace(".", r"\.") for word in _CURRENCIES.split()) + "))"
_BLANKS = "[ \u00a0\u202f]"
_THOUSANDS = {",": ",", ".": r"\.", " ": _BLANKS, "'": "['\u2019]"}


def as_float(column: lists.Column, marks: Marks = PLAIN) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of a column; false and true are 0 and 1, a duration or a time of day is its seconds.

    Args:
        marks: of numbers that are text, not of those of JSON or Parquet. Signs and words of currencies around them,
            and %, do not matter.

    Returns:
        [num_records] float64, NaN where there is none; [num_records] bool, True where the cell is empty, null or
        NaN; [num_records] bool, True where it is something else than a number that 32 bits can hold, a list among them.
    """
    array = _decoded(column)
    if is_list(array.type):
        bad = holds_list(array)
        return np.full(len(array), np.nan), ~bad, bad
    if not is_text(array.type):
        values = pc.fill_null(_to_float64(array), float("nan")).to_numpy(zero_copy_only=False)
        missing = np.isnan(values)
    else:
        text = pc.utf8_trim_whitespace(pc.fill_null(as_text(array), ""))
        missing = to_numpy(pc.is_in(pc.utf8_lower(text), pa.array(["", "nan"], TEXT)))
        values = np.full(len(text), np.nan)
        is_number = find_numbers(column)
        for cells, written in ((~missing & ~is_number, marks), (~missing & is_number, PLAIN)):
            values[cells] = parse_floats(text.filter(pa.array(cells)), written, booleans=True)
    bad = ~missing & ~(np.abs(values) <= _MAX_FLOAT32)
    return np.where(bad, np.nan, values), missing, bad


def round_like(number: float, column: lists.Column) -> float:
    """A number of a spec as a column of floats holds it: 0.7 of 32 bits is less than 0.7 of 64 bits."""
    kind = _value_type(column)
    if not pa.types.is_floating(kind):
        return number
    with np.errstate(over="ignore"):
        return float(kind.to_pandas_dtype()(number))


def _value_type(column: lists.Column) -> pa.DataType:
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def _to_float64(array: pa.Array) -> pa.Array:
    if pa.types.is_float16(array.type):
        return pa.array(array.to_numpy(zero_copy_only=False).astype(np.float64), from_pandas=True)
    if pa.types.is_duration(array.type) or pa.types.is_time(array.type):
        per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[str(array.type).partition("[")[2].rstrip("]")]
        width = pa.int32() if pa.types.is_time32(array.type) else pa.int64()
        return pc.divide(array.cast(width).cast(pa.float64(), safe=False), per_second)
    if pa.types.is_temporal(array.type):
        return pa.array(np.where(array.is_valid(), np.inf, np.nan))  # there, and no number
    return array.cast(pa.float64(), safe=False)


def parse_floats(text: pa.Array, marks: Marks = PLAIN, booleans: bool = False) -> np.ndarray:
    """[num_texts] float64, NaN for what is no number."""
    if marks == PLAIN:
        try:
            return text.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass  # some text is none; slower, but says which
    encoded = text.dictionary_encode()
    distinct = encoded.dictionary
    values = _parse_written(distinct, marks)
    if booleans:
        place = pc.index_in(pc.utf8_lower(distinct), pa.array(["false", "true"], TEXT))
        values = np.where(to_numpy(place.is_valid()), pc.fill_null(place, 0).to_numpy(zero_copy_only=False), values)
    return values[encoded.indices.to_numpy(zero_copy_only=False)]


def _parse_written(text: pa.Array, marks: Marks) -> np.ndarray:
    parts = pc.extract_regex(text, _number_pattern(marks))
    shaped = to_numpy(parts.is_valid())
    before, after, whole, fraction, bare, exponent = parts.filter(pa.array(shaped)).flatten()
    negative = to_numpy(pc.match_substring_regex(pc.binary_join_element_wise(before, after, _NOTHING), "[-\u2212]"))
    whole = pc.replace_substring_regex(whole, "[^0-9]", "")
    point = pc.replace_substring(pc.binary_join_element_wise(fraction, bare, _NOTHING), marks.decimal, ".")
    digits = pc.binary_join_element_wise(whole, point, exponent, _NOTHING)
    values = np.full(len(text), np.nan)
    values[shaped] = digits.cast(pa.float64()).to_numpy(zero_copy_only=False) * np.where(negative, -1.0, 1.0)
    return values


_NOTHING = pa.scalar("", TEXT)


def _number_pattern(marks: Marks) -> str:
    point = marks.decimal.replace(".", r"\.")
    whole = r"\d+"
    if marks.thousands is not None:  # groups of three, or of two as in India
        mark = _THOUSANDS[marks.thousands]
        whole = rf"\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}|\d+"
    sign, blank = "[+\u2212-]?", f"{_BLANKS}*"
    return (
        rf"^(?P<before>{sign}){blank}(?:{_CURRENCY}{blank})?(?P<after>{sign}){blank}"
        rf"(?:(?P<whole>{whole})(?P<fraction>{point}\d*|)|(?P<bare>{point}\d+))(?P<exponent>[eE][+-]?\d+|)"
        rf"{blank}(?:%|{_CURRENCY})?$"
    )


def find_marks(text: pa.Array, marks: Marks) -> tuple[Optional[Marks], np.ndarray]:
    """The marks that make numbers of most of some texts that are none with `marks`.

    Returns:
        The marks, None when no text is a number with others; [num_texts] bool, True where it becomes one.
    """
    is_none = np.isnan(_parse_written(text, marks))
    found = [(is_none & ~np.isnan(_parse_written(text, other)), other) for other in _OTHER_MARKS if other != marks]
    read, best = max(found, key=lambda pair: pair[0].sum())
    return (best, read) if read.any() else (None, read)
