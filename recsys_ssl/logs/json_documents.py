"""One JSON document taken apart into the records of one of its arrays, without a Python object for all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Optional

import numpy as np

from recsys_ssl.logs.batches import LogError, Reject
from recsys_ssl.logs.compression import DamageError
from recsys_ssl.logs.text_blocks import as_raw, decode

WRITE_OBJECTS = 'Write each record as an object, as pandas does with orient="records"'
MAX_BYTES = 512 << 20  # of a document, which is held as text

Chunk = tuple[list[str], np.ndarray, list[Reject]]
"""Texts of records, [num_records] int64 the lines where they begin, and rejects."""

# With `strict=False` a line end within a string is found to be wrong with its record, not with the document.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)
_LITERALS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_CUT_NUMBER, _CUT_ESCAPE = re.compile(r"\.|[eE][+-]?"), re.compile(r"\\?u?[0-9a-fA-F]{0,3}")
_OBJECTS = re.compile(r"(?m)^\}\s*\{")
_BLANKS = re.compile(r"[ \t\n\r]*")


def read_document(reads: Iterator[bytes], file: str) -> tuple[str, Optional[str]]:
    """The text, and why it ends too early, if it is known.

    Raises:
        LogError: it is longer than `MAX_BYTES`.
    """
    pieces, num_bytes, damage = [], 0, None
    try:
        for read in reads:
            pieces.append(read)
            num_bytes += len(read)
            if num_bytes > MAX_BYTES:
                raise LogError(
                    f"{file}: a JSON document must not have more than {MAX_BYTES >> 20} MiB. Write it as one object a "
                    "line, e.g. by `jq -c '.[]'`, and set format: jsonl."
                )
    except DamageError as error:
        damage = str(error)
    return decode(b"".join(pieces)), damage


def split_document(
    text: str, damage: Optional[str], file: str, records: Optional[str], rows_per_chunk: int
) -> Iterator[Chunk]:
    """Yields the elements of the array; a document that is cut off gives those before, and one reject.

    Args:
        damage: why the text ends too early, if it is known.
        records: dotted path of the array; None: the document is the array.

    Raises:
        LogError: there is no such array, or the text is no JSON.
    """
    if not text.strip():
        yield [], np.zeros(0, np.int64), [Reject(damage or "file is empty", file, 1, "")]
        return
    texts: list[str] = []
    lines: list[int] = []
    rejects: list[Reject] = []
    line, counted, at = 1, 0, 0
    try:
        at = _skip(text, _find_array(text, file, records))
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            _, end = _DECODER.raw_decode(text, at)
            texts.append(text[at:end])
            lines.append(line)
            at = _skip_comma(text, end)
            if len(texts) == rows_per_chunk:
                yield texts, np.array(lines, np.int64), []
                texts, lines = [], []
        at += 1
        for _ in records.split(".") if records else ():
            at = _find_end(text, at)
        _check_end(text, _skip(text, at), file)
    except (ValueError, RecursionError) as error:
        if isinstance(error, LogError):
            raise
        place = getattr(error, "pos", at)
        is_cut = damage is not None or _is_cut(text, error)
        if not is_cut:
            why = getattr(error, "msg", "it is nested too deep")
            line = 1 + text.count("\n", 0, place)
            raise LogError(f"{file}:{line}: this is not valid JSON: {why}. Mend the file or write it again.") from error
        line = line + text.count("\n", counted, at)
        rejects.append(Reject(damage or "JSON document is cut off here", file, line, as_raw(text[at:])))
    yield texts, np.array(lines, np.int64), rejects


def _is_cut(text: str, error: Exception) -> bool:
    """Whether what is missing is the end of the text."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    rest = text[error.pos :].rstrip()
    if error.msg.startswith("Invalid \\u"):
        return _CUT_ESCAPE.fullmatch(rest) is not None
    is_literal = any(word.startswith(rest) for word in _LITERALS)  # as no rest at all
    return is_literal or _CUT_NUMBER.fullmatch(rest) is not None or error.msg.startswith("Unterminated string")


def check_single(text: str, file: str, form: str) -> None:
    """Raises LogError when a text has objects one after another, each over several lines."""
    if _OBJECTS.search(text):
        wanted = "one document" if form == "json" else "one object a line"
        raise LogError(
            f"{file}: format {form} wants {wanted}. Received: objects one after another, over several lines. Write "
            "each on a line of its own, e.g. by `jq -c .`, and set format: jsonl."
        )


def _find_array(text: str, file: str, records: Optional[str]) -> int:
    """The place after its opening bracket."""
    at = _skip(text, 0)
    if text[at : at + 1] == "{" and re.match(r"[^\n]*\}\s*\n\s*\{", text[at:]):
        raise LogError(f"{file}: format json wants one document. Received: an object a line. Set format: jsonl.")
    if text[at : at + 1] == "{":
        check_single(text, file, "json")
    for key in records.split(".") if records else ():
        at = _find_value(text, at, key, file, records)
    if text[at : at + 1] == "[":
        return at + 1
    value, _ = _DECODER.raw_decode(text, _skip(text, 0))
    found = ", ".join(list(_list_arrays(value))[:10])
    advice = f"Set records to one of: {found}." if found else "It has no array of objects; check the file."
    if not found and isinstance(value, dict) and any(map(_holds_arrays, value.values())):
        advice = f"Its rows are arrays. {WRITE_OBJECTS}."
    where = f"records names {records!r}, which" if records else "the document"
    raise LogError(f"{file}: {where} is no array of records. {advice}")


def _find_value(text: str, at: int, key: str, file: str, records: Optional[str]) -> int:
    """The place of the value of a key of the object that begins at a place."""
    names: list[str] = []
    if text[at : at + 1] == "{":
        at = _skip(text, at + 1)
        while text[at : at + 1] != "}":
            name, at = _read_key(text, at)
            if name == key:
                return at
            names.append(name)
            at = _skip_comma(text, _DECODER.raw_decode(text, at)[1])
    there = ", ".join(map(repr, names[:20])) or "no key"
    raise LogError(f"{file}: records names {records!r}, but there is no {key!r}. There is: {there}. Correct records.")


def _find_end(text: str, at: int) -> int:
    """The place after an object, from the place after one of its values."""
    at = _skip_comma(text, at)
    while text[at : at + 1] != "}":
        _, at = _read_key(text, at)
        at = _skip_comma(text, _DECODER.raw_decode(text, at)[1])
    return at + 1


def _read_key(text: str, at: int) -> tuple[str, int]:
    """The key that begins at a place, and the place of its value."""
    key, at = _DECODER.raw_decode(text, at)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return key, _skip(text, at + 1)


def _holds_arrays(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def _list_arrays(value: object, prefix: str = "", depth: int = 4) -> Iterator[str]:
    """Dotted paths of the arrays of objects."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and prefix:
        yield prefix.removesuffix(".")
    elif isinstance(value, dict) and depth:
        for key, below in value.items():
            yield from _list_arrays(below, f"{prefix}{key}.", depth - 1)


def _skip(text: str, at: int) -> int:
    """The place after blanks."""
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]


def _skip_comma(text: str, at: int) -> int:
    """The place of the next element, or of the bracket that closes all."""
    at = _skip(text, at)
    if text[at : at + 1] == ",":
        return _skip(text, at + 1)
    if text[at : at + 1] not in ("]", "}"):
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return at


def _check_end(text: str, at: int, file: str) -> None:
    if at < len(text):
        line = 1 + text.count("\n", 0, at)
        raise LogError(
            f"{file}:{line}: after the document something follows, {text[at : at + 20]!r}. Write one document a file, "
            "or one object a line with format: jsonl."
        )
