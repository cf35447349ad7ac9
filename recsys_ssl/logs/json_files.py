"""JSON lines: an object a line; a line that is none is a reject.

A column may be a path into nested objects. A field may hold one value in some lines and a list in others. A column has
one type, so these lines become batches of their own: no record is read otherwise because of another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Optional

import numpy as np
import pyarrow as pa

from recsys_ssl.logs.batches import Batch, Reject, check_columns
from recsys_ssl.logs.text_blocks import UNREADABLE, Block, as_raw, is_text, split_lines, why_unreadable

# Numbers stay the text that they are in the file: no id or timestamp is rounded. NaN is what writers put where nothing
# is known, as null.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda name: None if name == "NaN" else name)


def read_json(blocks: Iterator[Block], file: str, encoding: str, columns: Mapping[str, str]) -> Iterator[Batch]:
    """Yields the records of each block of lines; arguments as in `readers.read_batches`."""
    checked = False
    for block in blocks:
        lines = split_lines(block.data, encoding)
        kept = np.flatnonzero([bool(line.strip()) for line in lines])
        try:
            records = [_DECODER.decode(lines[i]) for i in kept.tolist()]
            reasons = [None if isinstance(record, dict) else "not a JSON object" for record in records]
            if not is_text(lines):
                raise ValueError
        except (ValueError, RecursionError):
            decoded = [_decode_json(lines[i]) for i in kept.tolist()]
            records, reasons = [record for record, _ in decoded], [why for _, why in decoded]
        picked = [[_json_text(value) for value in _pick(column, records, reasons)] for column in columns]
        for column, values in zip(columns, picked):
            if _has(dict, values) or (_has(list, values) and any(map(_is_nested, values))):
                nested = f"{column!r} is an object or a list of lists"
                reasons = [why or (nested if _is_nested(value) else None) for why, value in zip(reasons, values)]
                values[:] = [None if _is_nested(value) else value for value in values]
        reasons = _find_lone_surrogates(picked, reasons)
        rejects = block.rejects + [
            Reject(why, file, block.first + i, as_raw(lines[i])) for i, why in zip(kept.tolist(), reasons) if why
        ]
        sound = [i for i, why in enumerate(reasons) if not why]
        if sound and not checked:
            check_columns(file, columns, _list_names([records[i] for i in sound], columns))
            checked = True
        picked = [[values[i] for i in sound] for values in picked] if len(sound) < len(kept) else picked
        numbers = block.first + kept[sound]
        for rows in _group_by_form(picked, len(sound)):
            alike = picked if len(rows) == len(sound) else [[values[i] for i in rows.tolist()] for values in picked]
            table = pa.table({name: _to_column(values) for name, values in zip(columns, alike)})
            yield Batch(table, numbers[rows], rejects)
            rejects = []


def _pick(column: str, records: Sequence, reasons: Sequence[Optional[str]]) -> list:
    """The values of a column; one that no record has by this name is a path, as `user.id`, into nested objects."""
    path = column.split(".")
    if len(path) == 1:
        return [record.get(column) if not why else None for record, why in zip(records, reasons)]
    return [
        (record[column] if column in record else _walk(record, path)) if not why else None
        for record, why in zip(records, reasons)
    ]


def _walk(value: object, path: Sequence[str]) -> object:
    """The value at a path, None where there is none; behind a list of objects, the list of their values."""
    for place, key in enumerate(path):
        if isinstance(value, list):
            rest = path[place:]
            return [_walk(element, rest) if isinstance(element, dict) else None for element in value]
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list_names(records: Sequence[dict], columns: Mapping[str, str]) -> list[str]:
    """The keys of some records, those one level below, and the columns that are paths to a value."""
    names = dict.fromkeys(chain.from_iterable(records))
    if all(column in names for column in columns):
        return list(names)
    below = (f"{key}.{name}" for record in records for key, value in record.items() for name in _keys(value))
    paths = (
        column
        for column in columns
        if "." in column and any(_walk(record, column.split(".")) is not None for record in records)
    )
    return list(names | dict.fromkeys(chain(below, paths)))


def _keys(value: object) -> Sequence[str]:
    if isinstance(value, list):
        value = next((element for element in value if isinstance(element, dict)), None)
    return list(value) if isinstance(value, dict) else []


def _decode_json(line: str) -> tuple[object, Optional[str]]:
    if why := why_unreadable(line):
        return None, why
    try:
        record = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None, "not valid JSON"
    return record, None if isinstance(record, dict) else "not a JSON object"


def _group_by_form(columns: Sequence[list], num_records: int) -> list[np.ndarray]:
    """Rows whose columns have one type each: in some columns some records hold a list and others a single value."""
    groups = np.zeros(num_records, np.int64)
    for values in columns:
        if _has(list, values) and _has(str, values):
            is_list = np.array([isinstance(value, list) for value in values], bool)
            _, groups = np.unique(2 * groups + is_list, return_inverse=True)
    return [np.flatnonzero(groups == group) for group in range(groups.max(initial=0) + 1)]


def _to_column(values: Sequence) -> pa.Array:
    if _has(list, values):
        return pa.array(values, pa.large_list(pa.large_string()))
    return pa.array(values, pa.large_string())


def _find_lone_surrogates(columns: list[list], reasons: Sequence[Optional[str]]) -> list[Optional[str]]:
    """JSON can spell half a character ("\\ud83d"), which is no text."""
    try:
        for values in columns:
            _to_column([value for value in values if not isinstance(value, list)])
            _to_column([value for value in values if isinstance(value, list)])
        return list(reasons)
    except UnicodeEncodeError:
        texts = (json.dumps(row, ensure_ascii=False) for row in zip(*columns))
        return [why or ("not valid UTF-8" if UNREADABLE.search(text) else None) for text, why in zip(texts, reasons)]


def _json_text(value: object) -> object:
    """Text, a list of texts and nulls, or None; what is nested deeper stays as it is."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [element if isinstance(element, list) else _json_text(element) for element in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _has(kind: type, values: Sequence) -> bool:
    return kind in set(map(type, values))


def _is_nested(value: object) -> bool:
    if isinstance(value, list):
        return any(isinstance(element, (list, dict)) for element in value)
    return isinstance(value, dict)
