"""Malformed logs, generated from a seed: each must be read or told of, soon, and every record of it counted.

    sound records --spoil cells--> CSV, JSON lines or Parquet --spoil bytes--> files --> read and checked, or ingested

Most inputs go through reading and checking alone, in this process; some through `recsys-ssl ingest` as a whole.
"""

from __future__ import annotations

import bz2
import contextlib
import decimal
import gzip
import io
import json
import lzma
import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.anylog.commands import run_command
from benchmarks.anylog.results import FuzzResult

Records = list[dict[str, Any]]

_LIMIT_S, _WHOLE_LIMIT_S = 60.0, 300.0
_NUM_EVENTS, _NUM_ITEMS, _NUM_QUERIES = 120, 30, 15


class Input(NamedTuple):
    """A generated log with its item table."""

    made: str
    """How it was made, in words."""
    spec: dict[str, Any]
    files: dict[str, bytes]


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
_FORMS = {"csv": _to_csv, "jsonl": _to_jsonl, "json": _to_json, "parquet": _to_parquet}


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


def _damage(rng: random.Random, data: bytes) -> bytes:
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


_BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "damaged": _damage,
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
_PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": partial(gzip.compress, mtime=0),  # the same bytes at any time
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


# --- One input -----------------------------------------------------------------------------------------


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
    files = {side: _FORMS[form](rng, records[side]) for side in records}
    if way == "bytes":
        kind = rng.choice(["odd lines", "odd lines", *_BYTES])
        files |= {side: _BYTES[kind](rng, files[side]) for side in sides}
        made.append(kind)
    if packed:
        files = {side: _PACKED[packed](data) for side, data in files.items()}
        if rng.random() < 0.2:
            files["events"] = _damage(rng, files["events"])
            made.append("damaged once packed")
    return Input("; ".join(made), spec, {f"{side}.{suffix}": data for side, data in files.items()})


# --- Whether it was read or told of --------------------------------------------------------------------


def fuzz(examples: int, seed: int, whole_share: float = 0.1, keep: Optional[Path] = None) -> FuzzResult:
    """Generates logs and reads each.

    Args:
        whole_share: of them that goes through the whole `recsys-ssl ingest`, at seconds each.
        keep: receives the files of those that went wrong, as small as they can be made.
    """
    every = round(1 / whole_share) if whole_share else 0
    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        for number in range(examples):
            made, place = generate(seed, number), Path(scratch) / "log"
            check = ingest_whole if every and number % every == 0 else read_and_check
            fault = _check(check, made, place)
            if fault is None:
                continue
            found.append(f"{made.made}: {fault}")
            if keep:
                _keep(made, fault, check, keep / f"{seed}-{number}", place)
    return FuzzResult(examples, len(found), found)


def _check(check: Callable[[dict[str, Any], Path], Optional[str]], made: Input, place: Path) -> Optional[str]:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, data in made.files.items():
        (place / name).write_bytes(data)
    return check(made.spec, place)


def ingest_whole(spec: dict[str, Any], place: Path) -> Optional[str]:
    """What is wrong with the outcome of the command; None for nothing."""
    (place / "spec.yaml").write_text(yaml.safe_dump(spec))
    outcome = run_command("recsys-ssl ingest spec.yaml --data . --workdir out", place, _WHOLE_LIMIT_S)
    if outcome.status is None:
        return f"hangs: more than {_WHOLE_LIMIT_S:.0f} s"
    if outcome.status not in (0, 1) or "Traceback" in outcome.output or "The whole story is in" in outcome.output:
        return f"status {outcome.status}: {outcome.output[-400:]}"
    summaries = list(place.glob("out/**/summary.json"))
    return _find_loss(json.loads(summaries[0].read_text())) if summaries else None


def _find_loss(summary: dict[str, Any]) -> Optional[str]:
    told = sum(summary[name] for name in ("positives", "ignored", "impressions", "duplicates"))
    told += sum(summary["rejected"].values())
    return None if told == summary["events_read"] else f"{summary['events_read']} read, {told} told of"


def read_and_check(spec: dict[str, Any], place: Path) -> Optional[str]:
    """What is wrong with reading and checking alone; None for nothing."""
    from recsys_ssl.logs.readers import LogError

    try:
        with _time_limit(_LIMIT_S):
            return next(filter(None, _count_sides(spec, place)), None)
    except LogError as error:
        return f"a message of {len(str(error))} characters" if len(str(error)) > 6000 else None
    except TimeoutError:
        return f"hangs: more than {_LIMIT_S:.0f} s"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(frame.filename).name}:{frame.lineno})"


def _count_sides(spec: dict[str, Any], place: Path) -> Iterator[Optional[str]]:
    """For each file what was lost of it."""
    from recsys_ssl.logs import sources
    from recsys_ssl.spec import FeatureSpec

    feature_spec = FeatureSpec.model_validate(spec)
    for side, files in sources.find_sources(feature_spec, str(place), 50).items():
        reader = sources._ReadRecords(side, feature_spec, 2, 50)
        for source in files:
            read = told = 0
            for element in reader.process(source):
                tag = getattr(element, "tag", None)
                if tag == "counts":
                    read += element.value[f"{side}_read"]
                    told += element.value["ignored"]
                elif tag == "rejects" and element.value[0] == side:
                    told += element.value[1].num_rows
                elif tag is None:
                    told += element[1].num_rows
            yield None if read == told else f"{side}: {read} read, {told} told of"


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError within the block after a time; of the main thread."""

    def interrupt(signum, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- What went wrong, made small -----------------------------------------------------------------------


def _keep(made: Input, fault: str, check: Callable, directory: Path, place: Path) -> None:
    small = made
    if check is read_and_check:
        for name in made.files:
            small = _shrink(small, name, fault.split(":")[0], place)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, data in small.files.items():
        (directory / name).write_bytes(data)
    (directory / "spec.yaml").write_text(yaml.safe_dump(small.spec))
    (directory / "fault.txt").write_text(f"{made.made}\n{fault}\n")


def _shrink(made: Input, name: str, kind: str, place: Path) -> Input:
    """Leaves out lines of a file as long as the same kind of fault comes."""
    data = made.files[name]
    lines = data.splitlines(keepends=True)
    if len(lines) < 3 or not name.endswith(("csv", "jsonl")):
        return made

    def fails(some: list[bytes]) -> bool:
        fault = _check(read_and_check, made._replace(files={**made.files, name: b"".join(some)}), place)
        return fault is not None and fault.split(":")[0] == kind

    step = len(lines) // 2
    while step:
        at = 1
        while at < len(lines):
            fewer = lines[:at] + lines[at + step :]
            if fails(fewer):
                lines = fewer
            else:
                at += step
        step //= 2
    return made._replace(files={**made.files, name: b"".join(lines)})
