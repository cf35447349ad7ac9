"""Files of records in each of the forms that are read, and what may happen to their bytes; any draw is from `rng`.

records --FORMS--> bytes --BYTES--> spoiled --PACKED--> packed
"""

from __future__ import annotations

import bz2
import decimal
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Optional

import pyarrow as pa
import pyarrow.parquet as pq

Records = list[dict[str, Any]]

# --- Files ---------------------------------------------------------------------------------------------


def _to_csv(rng: random.Random, records: Records) -> bytes:
    end, names = rng.choice(["\n", "\n", "\n", "\r\n", "\r"]), list(records[0])
    lines = [names, *([str(record.get(name, "")) for name in names] for record in records)]
    text = "".join(",".join(map(_quote, line)) + end for line in lines)
    return text.encode("utf-8", "surrogatepass")


def _quote(cell: str) -> str:
    """As `csv` does, which refuses some of the cells."""
    return '"' + cell.replace('"', '""') + '"' if any(sign in cell for sign in ',"\n\r') else cell


def _to_jsonl(rng: random.Random, records: Records) -> bytes:
    return "\n".join(json.dumps(record, ensure_ascii=rng.random() < 0.9) for record in records).encode(
        "utf-8", "surrogatepass"
    )


def _to_json(rng: random.Random, records: Records) -> bytes:
    return json.dumps(records, indent=rng.choice([None, 1])).encode()


def _to_parquet(rng: random.Random, records: Records) -> bytes:
    names = list(records[0])
    changed = rng.sample(names, rng.randint(0, 2))
    columns = {}
    for name in names:
        texts = [None if record.get(name) is None else _clean(str(record[name])) for record in records]
        make = rng.choice(list(_COLUMNS.values())) if name in changed else pa.array
        try:
            columns[name] = make(texts)
        except (ValueError, TypeError, OverflowError, decimal.InvalidOperation):
            columns[name] = pa.array(texts)
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, version="2.6")
    return out.getvalue()


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _whole(texts: Sequence[Optional[str]]) -> list[Optional[int]]:
    return [None if text is None else int(float(text)) for text in texts]


_COLUMNS: dict[str, Callable[[Sequence[Optional[str]]], pa.Array]] = {
    "int": lambda texts: pa.array(_whole(texts)),
    "float": lambda texts: pa.array([None if text is None else float(text) for text in texts]),
    "float32": lambda texts: pa.array([None if text is None else float(text) for text in texts], pa.float32()),
    "uint64": lambda texts: pa.array([2**64 - 1] * len(texts), pa.uint64()),
    "decimal": lambda texts: pa.array([None if text is None else decimal.Decimal(text) for text in texts]),
    "bool": lambda texts: pa.array([text == texts[0] for text in texts]),
    "timestamp": lambda texts: pa.array(_whole(texts), pa.int64()).cast(pa.timestamp("s")),
    "timestamp_ns": lambda texts: pa.array(_whole(texts), pa.int64()).cast(pa.timestamp("ns", "Asia/Tokyo")),
    "date": lambda texts: pa.array(_whole(texts), pa.int64()).cast(pa.timestamp("s")).cast(pa.date32()),
    "duration": lambda texts: pa.array(_whole(texts), pa.int64()).cast(pa.duration("s")),
    "time": lambda texts: pa.array([1] * len(texts), pa.int32()).cast(pa.time32("s")),
    "bytes": lambda texts: pa.array([b"\xff\x00" if text is None else text.encode() for text in texts]),
    "fixed": lambda texts: pa.array([b"abcd"] * len(texts), pa.binary(4)),
    "large": lambda texts: pa.array(texts, pa.large_string()),
    "dictionary": lambda texts: pa.array(texts).dictionary_encode(),
    "list": lambda texts: pa.array([[text] for text in texts]),
    "nested": lambda texts: pa.array([[[text]] for text in texts]),
    "struct": lambda texts: pa.array([{"x": text} for text in texts]),
    "map": lambda texts: pa.array([[("k", text)] for text in texts], pa.map_(pa.string(), pa.string())),
    "null": lambda texts: pa.nulls(len(texts)),
}
FORMS = {"csv": _to_csv, "jsonl": _to_jsonl, "json": _to_json, "parquet": _to_parquet}


# --- Bytes ---------------------------------------------------------------------------------------------

_ODD_LINES = [
    *(b"[1, 2]", b'"x"', b"1", b"null", b"{}", b"[]", b"// a comment", b"\xff\xfe", b"NaN", b"{", b'{"user":'),
    b'{"user": "u1", "user": "u2", "item": "i1", "time": 1600000000, "rating": 5}',
    b'{"user": "u1", "item": "i1", "time": 1600000000, "rating": 5,}',
    b'{"user": "\\ud800", "item": "i1", "time": 1600000000, "rating": 5}',
    *(
        b'{"user": "u1", "item": "i1", "time": %s, "rating": 5}' % value
        for value in (
            b"1e400",
            b"-0.0",
            b"18446744073709551616",
            b"Infinity",
            b"[" * 500 + b"]" * 500,
            b"1.6e9",
            b'"a\tb"',
        )
    ),
    *(b'{"item": "i1", "price": %s}' % value for value in (b"1e400", b"{}", b"[[1]]", b"true", b'"1,5"', b"-1e-400")),
    *(b'"', b'u1,"i1,1600000000,5', b'u1,i1"",1600000000,5', b"u1;i1;1600000000;5", b",,,", b"user,item,time,rating"),
]


def _add_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    for odd in rng.sample(_ODD_LINES, rng.choice([1, 3, len(_ODD_LINES)])):
        lines.insert(rng.randint(0, len(lines)), odd)
    return b"\n".join(lines)


def damage(rng: random.Random, data: bytes) -> bytes:
    spoiled = bytearray(data)
    for _ in range(rng.choice([1, 5, 50])):
        at, what = rng.randrange(len(spoiled)), rng.random()
        if what < 0.5:
            spoiled[at] = rng.randrange(256)
        elif what < 0.7 and len(spoiled) > 100:
            del spoiled[at : at + rng.randint(1, 50)]
        else:
            spoiled[at:at] = rng.randbytes(rng.randint(1, 30))
    return bytes(spoiled)


BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "damaged": damage,
    "odd lines": _add_lines,
    "cut": lambda rng, data: data[: rng.randrange(len(data))],
    "random": lambda rng, data: rng.randbytes(rng.choice([0, 1, 10, 5000])),
    "empty": lambda rng, data: b"",
    "only a header": lambda rng, data: data.split(b"\n")[0] + b"\n",
    "byte order mark": lambda rng, data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda rng, data: data.decode("utf-8", "replace").encode("utf-16"),
    "half of UTF-16": lambda rng, data: data.decode("utf-8", "replace").encode("utf-16")[:-1],
    "CR": lambda rng, data: data.replace(b"\n", b"\r"),
    "mixed line ends": lambda rng, data: b"".join(
        line + rng.choice([b"\n", b"\r\n", b"\r"]) for line in data.split(b"\n")
    ),
    "NUL": lambda rng, data: data.replace(b"i", b"\0"),
    "zeros": lambda rng, data: bytes(100_000),
    "open quotation mark": lambda rng, data: data.replace(b"u1", b'"u1', rng.randint(1, 9)),
    "wrong widths": lambda rng, data: b"\n".join(line + b"," * rng.choice([0, 0, 1, 3]) for line in data.split(b"\n")),
    "one line of a million cells": lambda rng, data: data + b"\n" + b"," * 1_000_000 + b"\n",
    "a cell of 3 MB": lambda rng, data: data + b"\nu1," + b"x" * 3_000_000 + b",1600000000,5\n",
    "a quoted cell of many lines": lambda rng, data: data + b'\nu1,"' + b"x\n" * 50_000 + b'",1600000000,5\n',
    "many empty lines": lambda rng, data: data + b"\n" * 5_000,
    "nested a thousand times": lambda rng, data: data + b'\n{"user": ' + b"[" * 1000 + b"]" * 1000 + b"}\n",
    "a page": lambda rng, data: b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
    "twice": lambda rng, data: data + b"\n" + data,
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": partial(gzip.compress, mtime=0),  # the same bytes at any time
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
