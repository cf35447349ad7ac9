"""Malformed logs with their item tables and specs, generated from a seed.

sound records --spoil cells--> CSV, JSON lines or Parquet --spoil bytes--> files
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from benchmarks.anylog.malformed_files import BYTES, FORMS, PACKED, Records, damage

_NUM_EVENTS, _NUM_ITEMS, _NUM_QUERIES = 120, 30, 15


class Input(NamedTuple):
    """A generated log with its item table."""

    made: str
    """How it was made, in words."""
    spec: dict[str, Any]
    files: dict[str, bytes]


def generate(seed: int, number: int) -> Input:
    """The input of a number: the same whenever it is asked for."""
    rng = random.Random(seed * 1_000_003 + number)
    form = rng.choice(["csv", "csv", "jsonl", "jsonl", "json", "parquet", "parquet"])
    packed = rng.choice([None, None, None, "gz", "gz", "bz2", "xz"]) if form != "parquet" else None
    suffix = f"{form}.{packed}" if packed else form
    spec, records = _spec(rng, form, suffix), _sound(rng)
    habit = _add_habit(rng, spec, form) if rng.random() < 0.3 else "plain"
    sides = rng.choice([["events"], ["items"], ["events", "items"]])
    way = rng.choice(["cells", "cells", "cells", "header", "bytes", "bytes", "none"])
    made = [f"#{number} of seed {seed}", suffix, habit, " and ".join(sides)]
    for side in sides:
        if way == "cells":
            made.append(_spoil_cells(rng, records[side], form in ("json", "jsonl")))
        if way == "header":
            made.append(_spoil_header(rng, records[side]))
    files = {side: FORMS[form](rng, records[side]) for side in records}
    if way == "bytes":
        kind = rng.choice(["odd lines", "odd lines", *BYTES])
        files |= {side: BYTES[kind](rng, files[side]) for side in sides}
        made.append(kind)
    if packed:
        files = {side: PACKED[packed](data) for side, data in files.items()}
        if rng.random() < 0.2:
            files["events"] = damage(rng, files["events"])
            made.append("damaged once packed")
    return Input("; ".join(made), spec, {f"{side}.{suffix}": data for side, data in files.items()})


# --- Sound records -------------------------------------------------------------------------------------


def _sound(rng: random.Random) -> dict[str, Records]:
    items = [
        {"item": f"i{k}", "title": f"Thing {k}", "tags": f"a{k % 3}|b{k % 5}", "price": f"{k * 1.5}", "vec": f"{k} 1 2"}
        for k in range(_NUM_ITEMS)
    ]
    events = [
        {
            "user": f"u{rng.randrange(_NUM_QUERIES)}",
            "item": f"i{rng.randrange(_NUM_ITEMS)}",
            "time": f"{1_600_000_000 + 97 * k}",
            "rating": f"{rng.randint(1, 5)}",
        }
        for k in range(_NUM_EVENTS)
    ]
    return {"events": events, "items": items}


def _spec(rng: random.Random, form: str, suffix: str) -> dict[str, Any]:
    files: dict[str, Any] = {"format": form}
    if form == "csv" and rng.random() < 0.2:
        files["quoting"] = "none"
    time = {"column": "time", "unit": rng.choice(["s", "s", "s", "ms", "iso8601"])}
    features = [
        {"name": "item", "kind": "id"},
        {"name": "title", "kind": "text"},
        {"name": "tags", "kind": "categorical", "multi_valued": True, "separator": "|"},
        {"name": "price", "kind": "numeric"},
        {"name": "vec", "kind": "dense", "dim": 3},
    ]
    return {
        "version": 1,
        "name": "fuzz",
        "max_rejected_share": rng.choice([0.01, 1.0, 1.0]),
        "events": {
            "paths": [f"events.{suffix}"],
            "query_id": "user",
            "item_id": "item",
            "timestamp": time,
            "label": {"column": "rating", "threshold": 3.0},
            **files,
        },
        "items": {
            "table": {"paths": [f"items.{suffix}"], **files},
            "id": "item",
            "title": "title",
            "features": features,
        },
        "queries": {
            "id": "user",
            "features": [{"name": "user", "kind": "id"}, {"name": "history", "kind": "item_sequence", "length": 5}],
        },
    }


def _add_habit(rng: random.Random, spec: dict[str, Any], form: str) -> str:
    """Asks for one of the ways to read that a spec may name, whether the log is so or not."""
    files = [spec["events"], spec["items"]["table"]]
    habit = rng.choice(["missing", "numbers", "explode", "parts", "encoding", "delimiter", "nested", "file", "format"])
    if habit == "missing":
        for each in files:
            each["missing"] = ["-", "NULL", "nan", "u1"]
    elif habit == "numbers":
        for each in files:
            each |= {"decimal": ",", "thousands": "."}
    elif habit == "explode":
        spec["events"]["explode"] = {"column": "item", "separator": "|"}
    elif habit == "parts":
        into = {"into": ["shown", "clicked"], "part_separator": "-"}
        spec["events"] |= {"explode": {"column": "item", "separator": " ", **into}, "item_id": "shown"}
    elif habit == "encoding" and form != "parquet":
        for each in files:
            each["encoding"] = rng.choice(["latin-1", "cp1252", "utf-16", "utf-7", "cp037", "shift_jis", "gb18030"])
    elif habit == "delimiter" and form == "csv":
        spec["events"]["delimiter"] = rng.choice(["::", "||", ";", "\t", ",,"])
    elif habit == "nested":
        spec["events"]["query_id"] = "user.a"
    elif habit == "file":
        spec["events"] |= {"file_column": "of", "query_id": "of"}
    elif habit == "format" and rng.random() < 0.5:
        spec["events"]["timestamp"] = {"column": "time", "format": "%d/%m/%y %H:%M"}
    return habit


# --- Cells ---------------------------------------------------------------------------------------------

_NUMBERS = "nan NaN inf -inf 1e999 -1 0 -0 99999999999999999999999 1.5 1_000 １２３ 0x10 +5 --5 1e3 5,0 1,000 $5 5% 𝟓"
_WORDS = r"true null None NULL \N N/A - — {} [] [1] {"
_TIMES = "2020-01-01 20200101 2020-02-30 0000-00-00 9999-12-31T23:59:59Z 2020-01-01T25:00Z 12/31/20 -1e30 1e18"
_LISTS = ["|", "||||", "a|b||c|", "1 2", "1 2 3 4", "nan 1 2", "1  2 3", "['a', 'b']", '["a", "b"]', "1;2;3"]
_ODD = [
    "",
    " ",
    " 5 ",
    "\t",
    "'",
    '"',
    '""',
    "a\nb",
    "a\r\nb",
    "a\rb",
    "a,b",
    "é",
    "用户",
    "\u202e",
    "\x00",
    "\x1b[31mred",
]
_LONG = ["x" * 5000, '"' * 300, "," * 300]
_CELLS = [*_NUMBERS.split(), *_WORDS.split(), *_TIMES.split(), *_LISTS, *_ODD, *_LONG]
_VALUES: list[Any] = [
    *(None, True, 1, 1.5, -1, 10**40, float("nan"), float("inf"), "x", "\ud83d"),
    *([], [1, "a"], [None], [[["deep"]]], ["a"] * 1000, {}, {"a": [1]}, {"a": {"b": {"c": None}}}, [{"a": 1}]),
]


def _spoil_cells(rng: random.Random, records: Records, nested: bool) -> str:
    share = rng.choice([0.01, 0.2, 1.0])
    columns = rng.sample(list(records[0]), rng.randint(1, len(records[0])))
    for record in records:
        for column in columns:
            if rng.random() < share:
                record[column] = rng.choice(_VALUES) if nested and rng.random() < 0.6 else rng.choice(_CELLS)
    return f"{share:.0%} of {', '.join(columns)}"


def _spoil_header(rng: random.Random, records: Records) -> str:
    column = rng.choice(list(records[0]))
    name = rng.choice([None, f"{column} ", column.upper(), f'"{column}', "item", "", f"\ufeff{column}"])
    for record in records:
        value = record.pop(column)
        if name is not None:
            record[name] = value
    return f"{column} named {name!r}"
