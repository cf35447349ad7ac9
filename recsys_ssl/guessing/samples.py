"""A bounded sample of the files of one side, as a table of texts, and what the spec says of how they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl.guessing.dialect import Dialect, guess_dialect, guess_encoding, split_rows, to_text
from recsys_ssl.guessing.opened import HEAD_BYTES, GuessError, open_parts

HEAD_RECORDS = 50_000
MIDDLE_RECORDS = 10_000
MOST_FILES = 8
"""Of a side, evenly among its files in order of path."""
MOST_VALUES = 20
"""Of a partition, each of which is read from one file besides."""
_DEPTH = 5


class Fact(NamedTuple):
    """A key of `Files` in the spec, its value, and what was seen."""

    value: object
    why: str


class Sample(NamedTuple):
    """What was read of the files of a side."""

    facts: dict[str, Fact]
    table: pa.Table
    """[num_records] large_string, or large_list of it."""
    own_types: dict[str, str]
    """Column -> `time`, `number` or `bool`, where the file says it."""
    is_whole: bool
    """Whether these are all records."""


def read_sample(paths: Sequence[str], partitions: Sequence[Mapping[str, str]]) -> Sample:
    """Reads some records of some of the files: the first 50,000, and 10,000 from the middle, shared among the files.

    Args:
        paths: files of one side, in order of path.
        partitions: [num_paths] the columns that `key=value` directories give.

    Raises:
        GuessError: they are no CSV, JSON or Parquet.
    """
    chosen = _choose(partitions)
    share = len(chosen)
    first = _read_one(paths[chosen[0]], share, None)
    samples = [first, *(_read_one(paths[place], share, first.facts) for place in chosen[1:])]
    tables = []
    for place, sample in zip(chosen, samples):
        table = sample.table
        for name, value in partitions[place].items():
            if name not in table.column_names:
                table = table.append_column(name, pa.array([value] * table.num_rows, pa.large_string()))
        tables.append(table)
    is_whole = len(chosen) == len(paths) and all(sample.is_whole for sample in samples)
    own_types = {name: kind for sample in samples for name, kind in sample.own_types.items()}
    return Sample(first.facts, _concat(tables), own_types, is_whole)


def _choose(partitions: Sequence[Mapping[str, str]]) -> list[int]:
    """Places of the files to read: some evenly, and the first of each value of a partition that has few."""
    last = len(partitions) - 1
    chosen = {round(i * last / max(1, MOST_FILES - 1)) for i in range(MOST_FILES)}
    firsts: dict[str, dict[str, int]] = {}
    for place, columns in enumerate(partitions):
        for name, value in columns.items():
            firsts.setdefault(name, {}).setdefault(value, place)
    few = [places for places in firsts.values() if len(places) <= MOST_VALUES]
    return sorted(chosen.union(*(places.values() for places in few)))


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of all; a column that some lack is null there, one that is text here and a list there is a list."""
    kinds: dict[str, pa.DataType] = {}
    for table in tables:
        for field in table.schema:
            if field.name not in kinds or pa.types.is_large_list(field.type):
                kinds[field.name] = field.type
    aligned = []
    for table in tables:
        columns = {}
        for name, kind in kinds.items():
            column = table[name] if name in table.column_names else pa.nulls(table.num_rows, kind)
            if column.type != kind:
                texts = column.to_pylist()
                column = pa.array([None if text is None else [text] for text in texts], kind)
            columns[name] = column
        aligned.append(pa.table(columns))
    return pa.concat_tables(aligned).combine_chunks()


def _read_one(path: str, share: int, known: Optional[dict[str, Fact]]) -> Sample:
    with open(path, "rb") as stream:
        is_parquet = stream.read(4) == b"PAR1"
    return _read_parquet(path, share) if is_parquet else _read_text(path, share, known)


# --- Text ------------------------------------------------------------------------------------------


def _read_text(path: str, share: int, known: Optional[dict[str, Fact]]) -> Sample:
    opened = open_parts(path, HEAD_BYTES // share)
    encoding = guess_encoding(opened.head + opened.middle)
    head = to_text(opened.head, encoding)
    if not opened.is_whole:
        head = head.rpartition("\n")[0] or head
    middle = to_text(opened.middle, encoding._replace(marked=False)).partition("\n")[2].rpartition("\n")[0]
    facts = {}
    if not encoding.marked and encoding.name != "utf-8":
        facts["encoding"] = Fact(encoding.name, encoding.why)
    start = head.lstrip("\ufeff \n\t")[:1]
    limits = HEAD_RECORDS // share, MIDDLE_RECORDS // share
    if start in ("{", "["):
        return _read_json(path, head, middle, facts, limits, opened.is_whole)
    return _read_csv(path, head, middle, facts, limits, opened.is_whole, known)


def _read_csv(
    path: str,
    head: str,
    middle: str,
    facts: dict[str, Fact],
    limits: tuple[int, int],
    is_whole: bool,
    known: Optional[dict[str, Fact]],
) -> Sample:
    if head.lower().startswith("sep=") and len(head.split("\n", 1)[0]) <= 6:
        raise GuessError(f"{path}: the first line is {head[:5]!r}, which only Excel reads. Remove the line.")
    dialect = guess_dialect(head)
    if dialect is None:
        raise GuessError(
            f"{path}: no delimiter gives all lines the same number of cells. The first line is "
            f"{head.split(chr(10), 1)[0][:80]!r}. Write CSV, JSON lines or Parquet; one line per user with a list: "
            "put a tab between the user and the list."
        )
    if known is not None and "columns" in known and not dialect.header:  # one side, one dialect
        dialect = dialect._replace(names=list(known["columns"].value))  # type: ignore[call-overload]
    rows = split_rows(head, dialect.delimiter, dialect.quoting, dialect.comment)[dialect.header :]
    later = split_rows(middle, dialect.delimiter, dialect.quoting, dialect.comment)
    some = rows[: limits[0]] + later[: limits[1]]
    width = len(dialect.names)
    columns = zip(*(row for row in some if len(row) == width))
    table = pa.table(
        [pa.array(list(cells), pa.large_string()) for cells in columns]
        or [pa.array([], pa.large_string()) for _ in dialect.names],
        names=_distinct_names(path, dialect.names),
    )
    whole = is_whole and len(rows) <= limits[0]
    return Sample(_csv_facts(dialect) | facts, table, {}, whole)


def _distinct_names(path: str, names: Sequence[str]) -> list[str]:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise GuessError(f"{path}: the header has a name twice: {', '.join(twice)}. Rename one of them.")
    return list(names)


def _csv_facts(dialect: Dialect) -> dict[str, Fact]:
    facts = {}
    if dialect.delimiter != ",":
        facts["delimiter"] = Fact(dialect.delimiter, dialect.why_delimiter)
    if dialect.quoting != "minimal":
        facts["quoting"] = Fact("none", "no cell is enclosed in quotation marks")
    if dialect.comment:
        facts["comment"] = Fact(dialect.comment, "lines at the beginning")
    facts["header"] = Fact(dialect.header, dialect.why_header)
    if not dialect.header:
        facts["columns"] = Fact(dialect.names, "named here, the file has no header")
    return facts


# --- JSON ------------------------------------------------------------------------------------------

_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda name: None if name == "NaN" else name)


def _read_json(
    path: str, head: str, middle: str, facts: dict[str, Fact], limits: tuple[int, int], is_whole: bool
) -> Sample:
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
    return Sample(facts, _to_table(records), {}, is_whole)


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


def _to_table(records: Sequence[dict]) -> pa.Table:
    flat = [dict(_flatten(record, "", 0)) for record in records]
    names = list(dict.fromkeys(name for record in flat for name in record))
    return pa.table({name: _to_column([record.get(name) for record in flat]) for name in names})


def _flatten(record: dict, prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    """Nested objects by dotted path; lists of objects stay out."""
    for key, value in record.items():
        if isinstance(value, dict):
            if depth < _DEPTH:
                yield from _flatten(value, f"{prefix}{key}.", depth + 1)
        elif not (isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value)):
            yield f"{prefix}{key}", value


def _to_column(values: Sequence[object]) -> pa.Array:
    num_lists = sum(isinstance(value, list) for value in values)
    if 2 * num_lists <= sum(value is not None for value in values):
        values = [None if isinstance(value, list) else value for value in values]  # an odd one
    else:
        listed = [value if value is None or isinstance(value, list) else [value] for value in values]
        texts = [None if value is None else [_as_text(part) for part in value] for value in listed]
        return pa.array(texts, pa.large_list(pa.large_string()))
    return pa.array([_as_text(value) for value in values], pa.large_string())


def _as_text(value: object) -> Optional[str]:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).encode("utf-8", "replace").decode("utf-8")  # half a character is no text


# --- Parquet ---------------------------------------------------------------------------------------


def _read_parquet(path: str, share: int) -> Sample:
    try:
        parquet = pq.ParquetFile(path, coerce_int96_timestamp_unit="us")
        num_head, num_middle = HEAD_RECORDS // share, MIDDLE_RECORDS // share
        parts = [_first_rows(parquet, 0, num_head)]
        is_whole = parquet.metadata.num_rows <= num_head
        if parquet.num_row_groups > 2:
            parts.append(_first_rows(parquet, parquet.num_row_groups // 2, num_middle))
    except (pa.ArrowException, OSError) as error:
        raise GuessError(f"{path}: this is no Parquet: {str(error).splitlines()[0]}. Write the file again.") from error
    records = pa.concat_tables([part for part in parts if part is not None])
    while any(pa.types.is_struct(kind) for kind in records.schema.types):
        records = records.flatten()  # the fields of a struct get dotted names
    columns, own_types = {}, {}
    for name in records.column_names:
        column, kind = _texts_of(records[name])
        if column is not None:
            columns[name] = column
        if kind:
            own_types[name] = kind
    return Sample({"format": Fact("parquet", "by its first bytes")}, pa.table(columns), own_types, is_whole)


def _first_rows(parquet: pq.ParquetFile, group: int, num_rows: int) -> pa.Table:
    groups = list(range(group, parquet.num_row_groups)) or None
    for batch in parquet.iter_batches(batch_size=num_rows, row_groups=groups):
        return pa.Table.from_batches([batch])
    return parquet.schema_arrow.empty_table()


def _texts_of(column: pa.ChunkedArray) -> tuple[Optional[pa.Array], str]:
    """A column as texts or lists of texts, None where it is neither, and what the file knows of its type."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        value = kind.value_type
        if pa.types.is_nested(value):
            return None, ""
        texts = [None if row is None else [_as_text(part) for part in row] for row in array.to_pylist()]
        return pa.array(texts, pa.large_list(pa.large_string())), ""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = array.cast(pa.timestamp("s"), safe=False) if pa.types.is_timestamp(kind) else array.cast(pa.date32())
        return times.cast(pa.string()).cast(pa.large_string()), "time"
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
        return None, ""
    if pa.types.is_boolean(kind):
        return array.cast(pa.string()).cast(pa.large_string()), "bool"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([_decode(value) for value in array.to_pylist()], pa.large_string()), ""
    if pa.types.is_decimal(kind):
        texts = [None if value is None else format(value, "f") for value in array.to_pylist()]
        return pa.array(texts, pa.large_string()), "number"
    if pa.types.is_floating(kind):
        texts = [_float_text(value) for value in array.to_pylist()]
        return pa.array(texts, pa.large_string()), "number"
    if pa.types.is_integer(kind):
        return array.cast(pa.string()).cast(pa.large_string()), "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            array.cast(pa.large_binary()).cast(pa.large_string())  # which looks whether it is UTF-8
            return array.cast(pa.large_string()), ""
        except pa.ArrowInvalid:
            return pa.array(
                [_decode(value) for value in array.cast(pa.large_binary()).to_pylist()], pa.large_string()
            ), ""
    return None, ""


def _decode(value: Optional[bytes]) -> Optional[str]:
    return None if value is None else value.decode("utf-8", "replace")


def _float_text(value: Optional[float]) -> Optional[str]:
    if value is None or value != value:
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def name_of(path: str) -> str:
    """A file's or directory's name without suffixes: `ratings.dat.gz` -> `ratings`."""
    return os.path.basename(path.rstrip(os.sep)).partition(".")[0]
