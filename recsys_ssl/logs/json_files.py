"""JSON: an object a line, or one document with an array of them; what is no object is a reject.

A column may be a path into nested objects. A field may hold one value in some lines and a list in others. A column has
one type, so these lines become batches of their own: no record is read otherwise because of another one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Optional

import numpy as np
import pyarrow as pa

from recsys_ssl import lists
from recsys_ssl.logs.batches import Batch, LogError, Reject, find_columns
from recsys_ssl.logs.json_documents import WRITE_OBJECTS, Chunk, check_single, read_document, split_document
from recsys_ssl.logs.text_blocks import UNREADABLE, Block, as_raw, is_text, split_lines, why_unreadable
from recsys_ssl.logs.values import PLAIN, TEXT, marks_of, to_written
from recsys_ssl.spec import Files

# Numbers stay the text that they are in the file: no id or timestamp is rounded. NaN is what writers put where nothing
# is known, as null.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda name: None if name == "NaN" else name)


class _Number(str):
    """A number, which text with marks of its own must not be taken for; whole ones are alike with any marks."""


_NUMBER_DECODER = json.JSONDecoder(parse_int=str, parse_float=_Number, parse_constant=_DECODER.parse_constant)


def read_json_lines(
    blocks: Iterator[Block],
    file: str,
    files: Files,
    columns: Mapping[str, str],
    constants: Mapping[str, Optional[str]] = MappingProxyType({}),
) -> Iterator[Batch]:
    """Yields the records of each block of lines; arguments as in `readers.read_batches`.

    Args:
        constants: column -> its value in the records that have no such field.
    """
    yield from _read_records(_split_lines(blocks, file), file, files, columns, constants)


def read_json_document(
    reads: Iterator[bytes],
    file: str,
    files: Files,
    columns: Mapping[str, str],
    constants: Mapping[str, Optional[str]],
    rows_per_batch: int,
) -> Iterator[Batch]:
    """Yields the records of an array in one document, with the lines where they begin; arguments as above.

    The text is held as a whole, up to `json_documents.MAX_BYTES`, but no more than a batch of its records.

    Args:
        reads: the document in UTF-8.
    """
    text, damage = read_document(reads, file)
    chunks = split_document(text, damage, file, files.records, rows_per_batch)
    yield from _read_records(chunks, file, files, columns, constants)


def _read_records(
    chunks: Iterator[Chunk],
    file: str,
    files: Files,
    columns: Mapping[str, str],
    constants: Mapping[str, Optional[str]],
) -> Iterator[Batch]:
    checked = False
    decoder = _DECODER if marks_of(files) == PLAIN else _NUMBER_DECODER
    for texts, numbers, rejects in chunks:
        try:
            records = [decoder.decode(text) for text in texts]
            reasons = [_why_no_object(record) for record in records]
            if not is_text(texts):
                raise ValueError
        except (ValueError, RecursionError):
            decoded = [_decode_json(text, files.encoding, decoder) for text in texts]
            records, reasons = [record for record, _ in decoded], [why for _, why in decoded]
        picked = [
            [_json_text(value) for value in _pick(column, records, reasons, constants.get(column))]
            for column in columns
        ]
        for column, values in zip(columns, picked):
            if _has(dict, values) or (_has(list, values) and any(map(_is_nested, values))):
                nested = f"{column!r} is an object or a list of lists"
                if files.explode is not None and column == files.explode.column:
                    nested += (
                        f"; explode makes records of values, or of objects whose fields the spec names, as "
                        f"{column}.id: write pairs as such objects"
                    )
                reasons = [why or (nested if _is_nested(value) else None) for why, value in zip(reasons, values)]
                values[:] = [None if _is_nested(value) else value for value in values]
        reasons = _find_lone_surrogates(picked, reasons)
        rejects = rejects + [
            Reject(why, file, line, as_raw(text)) for line, text, why in zip(numbers.tolist(), texts, reasons) if why
        ]
        sound = [i for i, why in enumerate(reasons) if not why]
        if sound and not checked:
            find_columns(file, columns, _list_names([records[i] for i in sound], columns), constants)
            checked = True
        picked = [[values[i] for i in sound] for values in picked] if len(sound) < len(texts) else picked
        lines = numbers[sound]
        for rows in _group_by_form(picked, len(sound)):
            alike = picked if len(rows) == len(sound) else [[values[i] for i in rows.tolist()] for values in picked]
            table = pa.table({name: _to_column(values) for name, values in zip(columns, alike)})
            yield Batch(table, lines[rows], rejects)
            rejects = []


def _split_lines(blocks: Iterator[Block], file: str) -> Iterator[Chunk]:
    is_first = True
    for block in blocks:
        lines = split_lines(block.data)
        kept = np.flatnonzero([bool(line.strip()) for line in lines])
        texts = [lines[i] for i in kept.tolist()]
        if is_first and texts:
            _check_lines(texts, file)
            is_first = False
        yield texts, block.first + kept, block.rejects


def _check_lines(texts: Sequence[str], file: str) -> None:
    """Raises LogError when the first line begins a document that is not of lines."""
    begin = texts[0].strip()
    if begin == "{":
        check_single("\n".join(texts), file, "jsonl")
    if begin in ("{", "[", "[{") or (begin.startswith("[") and _is_array_of_objects(begin)):
        raise LogError(
            f"{file}: format jsonl wants one object a line. Received: one JSON document, {begin[:40]!r}... "
            "Set format: json, and records where the array is within an object."
        )


def _is_array_of_objects(text: str) -> bool:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return re.match(r"\[\s*\{", text) is not None
    return bool(values) and all(isinstance(value, dict) for value in values)


def _pick(column: str, records: Sequence, reasons: Sequence[Optional[str]], constant: Optional[str]) -> list:
    """The values of a column; one that no record has by this name is a path, as `user.id`, into nested objects.

    Args:
        constant: the value of a record without the column.
    """
    path = column.split(".")
    if len(path) == 1:
        return [record.get(column, constant) if not why else None for record, why in zip(records, reasons)]
    return [
        (record[column] if column in record else _walk(record, path, constant)) if not why else None
        for record, why in zip(records, reasons)
    ]


def _walk(value: object, path: Sequence[str], absent: Optional[str] = None) -> object:
    """The value at a path, or `absent`; behind a list of objects, the list of their values."""
    for place, key in enumerate(path):
        if isinstance(value, list):
            rest = path[place:]
            return [_walk(element, rest) if isinstance(element, dict) else None for element in value]
        value = value.get(key, absent) if isinstance(value, dict) else absent
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


def _decode_json(text: str, encoding: str, decoder: json.JSONDecoder) -> tuple[object, Optional[str]]:
    if why := why_unreadable(text, encoding):
        return None, why
    try:
        record = decoder.decode(text)
    except (ValueError, RecursionError):
        return None, "not valid JSON"
    return record, _why_no_object(record)


def _why_no_object(record: object) -> Optional[str]:
    if isinstance(record, list) and record:
        return f"not a JSON object but an array. {WRITE_OBJECTS}"
    return None if isinstance(record, dict) else "not a JSON object"


def _group_by_form(columns: Sequence[list], num_records: int) -> list[np.ndarray]:
    """Rows whose columns have one type each: in some columns some records hold a list and others a single value."""
    groups = np.zeros(num_records, np.int64)
    for values in columns:
        if _has(list, values) and (_has(str, values) or _has(_Number, values)):
            is_list = np.array([isinstance(value, list) for value in values], bool)
            _, groups = np.unique(2 * groups + is_list, return_inverse=True)
    return [np.flatnonzero(groups == group) for group in range(groups.max(initial=0) + 1)]


def _to_column(values: Sequence) -> pa.Array:
    if _has(list, values):
        if any(isinstance(element, _Number) for value in values for element in value or ()):
            elements = list(chain.from_iterable(value or () for value in values))
            return lists.from_flat(_to_column(elements), np.array([len(value or ()) for value in values]))
        return pa.array(values, pa.large_list(TEXT))
    text = pa.array(values, TEXT)
    if _has(_Number, values):
        return to_written(text, np.array([isinstance(value, _Number) for value in values], bool))
    return text


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
