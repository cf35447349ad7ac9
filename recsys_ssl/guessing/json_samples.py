"""Samples of JSON lines, and of one JSON document that holds an array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Optional

import pyarrow as pa

from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.sample import ELEMENT, Fact, Sample, as_text

_DEPTH = 5
"""Of nested objects whose fields become columns."""
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda name: None if name == "NaN" else name)


def read_json(
    path: str, head: str, middle: str, facts: dict[str, Fact], limits: tuple[int, int], is_whole: bool
) -> Sample:
    """Reads records of JSON lines or of a document.

    Args:
        path: for messages.
        head: the beginning of the file.
        middle: lines of its middle; of a document it is not read.
        facts: what is known of how it is written; the format is added.
        limits: most records of the head and of the middle.
        is_whole: whether the head is the whole file.

    Raises:
        GuessError: there is neither an object a line nor an array of objects.
    """
    records = _read_lines(head, limits[0])
    if records is not None:
        facts["format"] = Fact("jsonl", "an object a line")
        records += _read_lines(middle, limits[1]) or []
        is_whole = is_whole and len(records) < limits[0]
    else:
        found = _find_array(head, 0)
        if found is None:
            raise GuessError(
                f"{path}: this begins like JSON, but holds neither an object a line nor an array of objects."
            )
        keys, begin = found
        facts["format"] = Fact("json", "one document")
        if keys:
            facts["records"] = Fact(".".join(keys), "the array of objects")
        records = list(_iterate_array(head, begin, limits[0]))
        is_whole = is_whole and len(records) < limits[0]
    return Sample(facts, *_to_table(records), is_whole)


def _read_lines(text: str, limit: int) -> Optional[list[dict]]:
    """The objects of lines; None when the first line is none."""
    records: list[dict] = []
    for line in text.split("\n"):
        if not line.strip() or len(records) >= limit:
            continue
        try:
            record = _DECODER.decode(line.lstrip("\ufeff"))
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            records.append(record)
        elif not records:
            return None
    # A document of one line that wraps its records is no JSON lines.
    wraps = len(records) == 1 and any(_is_records(value) for value in records[0].values())
    return None if wraps else records


def _is_records(value: object) -> bool:
    if isinstance(value, dict):
        return any(_is_records(inner) for inner in value.values())
    return isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict)


def _find_array(text: str, at: int) -> Optional[tuple[list[str], int]]:
    """The keys that lead to the first array of objects, and where its first object begins; the text may be cut."""
    at = _skip(text, at)
    if text[at : at + 1] == "[":
        begin = _skip(text, at + 1)
        return ([], begin) if text[begin : begin + 1] == "{" else None
    if text[at : at + 1] != "{":
        return None
    at += 1
    try:
        while text[_skip(text, at)] == '"':
            key, at = _DECODER.raw_decode(text, _skip(text, at))
            at = _skip(text, _skip(text, at) + 1)  # the colon
            found = _find_array(text, at)
            if found is not None:
                return [key, *found[0]], found[1]
            _, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at) + 1  # the comma
    except (ValueError, IndexError, RecursionError):
        pass
    return None


def _iterate_array(text: str, at: int, limit: int) -> Iterator[dict]:
    for _ in range(limit):
        try:
            record, at = _DECODER.raw_decode(text, _skip(text, at))
        except (ValueError, RecursionError):
            return
        if isinstance(record, dict):
            yield record
        at = _skip(text, at) + 1


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n\ufeff":
        at += 1
    return at


def _to_table(records: Sequence[dict]) -> tuple[pa.Table, dict[str, str]]:
    own_types: dict[str, str] = {}
    flat = [dict(_flatten(record, "", 0, own_types)) for record in records]
    names = list(dict.fromkeys(name for record in flat for name in record))
    return pa.table({name: _to_column([record.get(name) for record in flat]) for name in names}), own_types


def _flatten(record: dict, prefix: str, depth: int, own_types: dict[str, str]) -> Iterator[tuple[str, object]]:
    """The fields of nested objects by dotted path; of a list of objects, a list of each field's values."""
    for key, value in record.items():
        if not _is_name(key):
            continue
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            if depth < _DEPTH:
                yield from _flatten(value, f"{name}.", depth + 1, own_types)
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            fields = dict.fromkeys(
                field for part in value for field, inner in part.items() if _is_name(field) and not _is_nested(inner)
            )
            for field in fields:
                own_types[f"{name}.{field}"] = f"{ELEMENT}{name}"
                yield f"{name}.{field}", [part.get(field) for part in value]
        elif not (isinstance(value, list) and any(map(_is_nested, value))):
            yield name, value


def _is_name(key: str) -> bool:
    """Whether a spec can hold it: neither NUL nor half a character."""
    return "\0" not in key and not any("\ud800" <= letter <= "\udfff" for letter in key)


def _is_nested(value: object) -> bool:
    return isinstance(value, (dict, list))


def _to_column(values: Sequence[object]) -> pa.Array:
    num_lists = sum(isinstance(value, list) for value in values)
    if 2 * num_lists <= sum(value is not None for value in values):
        values = [None if isinstance(value, list) else value for value in values]  # an odd one
    else:
        listed = [value if value is None or isinstance(value, list) else [value] for value in values]
        texts = [None if value is None else [as_text(part) for part in value] for value in listed]
        return pa.array(texts, pa.large_list(pa.large_string()))
    return pa.array([as_text(value) for value in values], pa.large_string())
