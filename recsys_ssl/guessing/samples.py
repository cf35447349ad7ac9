"""A bounded sample of the files of one side, as a table of texts, and what the spec says of how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import pyarrow as pa

from recsys_ssl.file_kinds import find_kind
from recsys_ssl.guessing.csv_samples import read_csv
from recsys_ssl.guessing.dialect import guess_encoding, to_text
from recsys_ssl.guessing.json_samples import read_json
from recsys_ssl.guessing.opened import HEAD_BYTES, open_parts
from recsys_ssl.guessing.parquet_samples import read_parquet
from recsys_ssl.guessing.sample import HEAD_RECORDS, MIDDLE_RECORDS, Fact, Sample

MOST_FILES = 8
"""Of a side, evenly among its files in order of path."""
MOST_VALUES = 20
"""Of a partition, each of which is read from one file besides."""


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
        is_parquet = find_kind(stream.read(4), ["parquet"]) is not None
    return read_parquet(path, share) if is_parquet else _read_text(path, share, known)


def _read_text(path: str, share: int, known: Optional[dict[str, Fact]]) -> Sample:
    opened = open_parts(path, HEAD_BYTES // share)
    encoding = guess_encoding(opened.head)
    if encoding.name == "utf-8":  # the middle begins somewhere in a character
        later = guess_encoding(opened.middle.partition(b"\n")[2])
        encoding = encoding if later.name == "utf-8" else later
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
        return read_json(path, head, middle, facts, limits, opened.is_whole)
    return read_csv(path, head, middle, facts, limits, opened.is_whole, known)
