"""Beam transforms that read logs and tables, check each record, and drop records of an id seen before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from recsys_ssl.lists import one_array
from recsys_ssl.logs import records
from recsys_ssl.logs.batches import LogError, MissingColumnError
from recsys_ssl.logs.elements import source_columns
from recsys_ssl.logs.headers import find_header
from recsys_ssl.logs.paths import Found, find_files
from recsys_ssl.logs.readers import Batch, Reject, read_batches, read_name
from recsys_ssl.logs.rows import hash_ids, split_by
from recsys_ssl.logs.timeline import EVAL, TEST, TRAIN
from recsys_ssl.logs.values import marks_of
from recsys_ssl.spec import ContentFeature, FeatureSpec, Files

_SIDES = ("events", "items", "queries")
_MOST_SEARCHED = 1_000_000  # records, for a field that files do not begin with
_NOUNS = {"items": "item", "queries": "query"}


class Source(NamedTuple):
    """A file to read."""

    place: int
    """Place among the files of its side, in order of path."""
    path: str
    name: str
    """Relative to the data directory; what rejects and messages call it."""
    split: int = TRAIN
    """Of a log whose split is given by files: the one that its records belong to, see `timeline`."""

    @property
    def data_dir(self) -> str:
        """Where the paths of the spec begin."""
        return self.path.removesuffix(self.name) or "."


def find_sources(spec: FeatureSpec, data_dir: str, rows_per_batch: int) -> dict[str, list[Source]]:
    """The files of `events`, `items` and `queries`, as far as the spec has them.

    Reads the first records of each side, so that a plain mistake shows before any worker starts.

    Raises:
        LogError: a path matches no file, or the first file of a side, or of a given split, lacks a column; of JSON, see
            `check_fields`.
    """
    sources = {}
    for side in _SIDES:
        found = match_files(side, spec, data_dir)
        if found:
            sources[side] = found
            if is_json(side, spec):
                check_fields(found, side, spec, rows_per_batch)
            else:
                for first in {source.split: source for source in reversed(found)}.values():
                    next(read_source(first, side, spec, rows_per_batch), None)
    return sources


def is_json(side: str, spec: FeatureSpec) -> bool:
    """Whether records of a side may leave out fields."""
    files = _files_of(side, spec)
    return files is not None and files.format in ("jsonl", "json")


def check_fields(sources: Sequence[Source], side: str, spec: FeatureSpec, rows_per_batch: int) -> None:
    """Raises when no JSON file of a side has a column: writers leave out fields that are null.

    Raises:
        LogError: no file begins with records that have the field, and none of the first `_MOST_SEARCHED` has a value.
    """
    columns = _columns_of(side, spec)
    try:
        next(_read(sources[0], side, spec, columns, rows_per_batch), None)
    except MissingColumnError:
        for column, key in columns.items():
            if not _occurs(sources, side, spec, {column: key}, rows_per_batch):
                next(_read(sources[0], side, spec, {column: key}, rows_per_batch), None)  # raises as above


def _occurs(
    sources: Sequence[Source], side: str, spec: FeatureSpec, column: Mapping[str, str], rows_per_batch: int
) -> bool:
    for source in sources:
        try:
            first = next(_read(source, side, spec, column, rows_per_batch), None)
            if first is not None and len(first.lines):
                return True
        except MissingColumnError:
            pass
    num_read = 0  # records, whose fields may differ from those of the first
    for source in sources:
        for batch in read_source(source, side, spec, rows_per_batch, column):
            num_read += len(batch.lines)
            if any(values.null_count < len(values) for values in batch.columns.columns):
                return True
            if num_read >= _MOST_SEARCHED:
                return False
    return False


def match_files(side: str, spec: FeatureSpec, data_dir: str) -> list[Source]:
    """The files of `events`, `items` or `queries`, none of a side that the spec does not have.

    Of a given split the files of training come first, then those of validation and of the test.

    Raises:
        LogError: see `paths.find_files`; or two splits have the same file.
    """
    found = _find(side, spec, data_dir)
    return [Source(place, file.path, file.name, split) for place, (file, split) in enumerate(found)]


def list_versions(spec: FeatureSpec, data_dir: str) -> list[tuple[str, int, float]]:
    """Name, size and change time of every file that the spec reads, sorted; it changes when the data do.

    The files of content, which may be millions, are one element for each feature: a hash, the sum and the latest.

    Raises:
        LogError: see `paths.find_files`.
    """
    found = [file for side in _SIDES for file, _ in _find(side, spec, data_dir)]
    contents = [f for f in spec.item_features if isinstance(f, ContentFeature) and f.file_paths]
    versions = {(file.name, file.num_bytes, file.changed) for file in found}
    return sorted(versions | {_version_of(feature, data_dir) for feature in contents})


def _version_of(feature: ContentFeature, data_dir: str) -> tuple[str, int, float]:
    """A version of all files of a feature."""
    files = find_files(feature.file_paths, data_dir, f"items.features.{feature.name}")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.num_bytes} {file.changed}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16], sum(file.num_bytes for file in files), max(file.changed for file in files)


def _find(side: str, spec: FeatureSpec, data_dir: str) -> list[tuple[Found, int]]:
    """The files of a side, each with its split."""
    files = _files_of(side, spec)
    if files is None:
        return []
    if side != "events":
        return [(file, TRAIN) for file in find_files(files.paths, data_dir, f"{side}.table.paths")]
    keys = (
        ("events.paths", files.paths, TRAIN),
        ("split.validation_paths", spec.split.validation_paths, EVAL),
        ("split.test_paths", spec.split.test_paths, TEST),
    )
    found: list[tuple[Found, int]] = []
    for key, paths, split in keys:
        of_split = find_files(paths or [], data_dir, key)
        others = {file.path: other for file, other in found}
        twice = next((file for file in of_split if file.path in others), None)
        if twice is not None:
            other = keys[others[twice.path]][0]
            raise LogError(
                f"{key}: a file is of one split. Received: {twice.name!r}, which {other} names, too. Remove it from "
                "one of them."
            )
        found += [(file, split) for file in of_split]
    return found


def _files_of(side: str, spec: FeatureSpec) -> Optional[Files]:
    return spec.events if side == "events" else getattr(spec, side).table


def read_source(
    source: Source,
    side: str,
    spec: FeatureSpec,
    rows_per_batch: int,
    columns: Optional[Mapping[str, str]] = None,
) -> Iterator[Batch]:
    """Yields the records of a file of a side; see `readers.read_batches`.

    Args:
        columns: all of the side when None. One that no record of a JSON file has is null; see `check_fields`.
    """
    columns = _columns_of(side, spec) if columns is None else columns
    return _read(source, side, spec, columns, rows_per_batch, may_lack=is_json(side, spec))


def _columns_of(side: str, spec: FeatureSpec) -> dict[str, str]:
    if side == "events":
        return records.event_columns(spec)
    table = getattr(spec, side)
    return records.table_columns(table.features, table.id, side, spec.split.column)


def _read(
    source: Source,
    side: str,
    spec: FeatureSpec,
    columns: Mapping[str, str],
    rows_per_batch: int,
    may_lack: bool = False,
) -> Iterator[Batch]:
    files = _files_of(side, spec)
    if files is None:
        raise ValueError(f"a side must have files. Received: {side}.")
    absent: dict[str, Optional[str]] = {}
    if may_lack:
        absent = dict.fromkeys(source_columns(columns, files.explode) if files.explode else columns)
    with FileSystems.open(source.path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
        constants = {**absent, **read_name(source.name, files.file_column)}
        contents = _find_contents(side, spec)
        yield from read_batches(stream, source.name, files, columns, rows_per_batch, constants, contents)


def _find_contents(side: str, spec: FeatureSpec) -> set[str]:
    """Columns of a side whose bytes are content, and are read by no other feature as text."""
    contents = [f for f in spec.item_features if isinstance(f, ContentFeature) and f.reads_bytes]
    keys = {f"items.features.{feature.name}" for feature in contents}
    others = {feature.source_column for feature in spec.item_features if feature not in contents}
    return {column for column, key in _columns_of(side, spec).items() if key in keys} - others


def find_header_of(side: str, batch: Batch, spec: FeatureSpec) -> Optional[str]:
    """What looks like names of columns in the first batch of a file without header; see `headers.find_header`."""
    files = _files_of(side, spec)
    return find_header(batch, files.columns) if files is not None and files.columns else None


def check_batch(batch: Batch, source: Source, side: str, spec: FeatureSpec) -> records.Checked:
    """Checks the records of a file of a side; see `records.check_events` and `records.check_table`."""
    if side == "events":
        return records.check_events(batch, source.name, source.place, spec)
    table = getattr(spec, side)
    group_column, marks = spec.split.column if side == "items" else None, marks_of(table.table)
    return records.check_table(
        batch, source.name, source.place, table.features, table.id, _NOUNS[side], marks, source.data_dir, group_column
    )


# --- Tables as elements ------------------------------------------------------------------------------


def partition_by(table: pa.Table, column: str, num_partitions: int) -> Iterator[tuple[int, pa.Table]]:
    """Yields (partition of the id, its records); an id has the same partition as item and as query."""
    hashes = hash_ids(one_array(table[column])) % np.uint64(num_partitions)
    return split_by(table, hashes.astype(np.int64), num_partitions)


def concat(tables: Iterable[pa.Table]) -> Optional[pa.Table]:
    """One table of all; None when there is none."""
    tables = list(tables)
    return concat_some(tables) if tables else None


def concat_some(tables: Iterable[pa.Table]) -> pa.Table:
    """One table of all, of which there is at least one."""
    return pa.concat_tables(tables).combine_chunks()


def tag_rejects(side: str, rejects: Sequence[Reject]) -> Iterator[beam.pvalue.TaggedOutput]:
    """Yields the rejects of `events`, `items` or `queries`, or the unreadable values of one, as `items_values`."""
    if rejects:
        yield beam.pvalue.TaggedOutput("rejects", (side, records.rejects_to_table(rejects)))


def reject_rows(table: pa.Table, reason: str, names: Sequence[str], columns: Sequence[str]) -> list[Reject]:
    """Rejects of records that are already columns.

    Args:
        table: has _file and _line.
        names: the files' names by index.
        columns: what to tell of the record.
    """
    rows = table.select(["_file", "_line", *columns]).to_pylist()
    return [Reject(reason, names[row.pop("_file")], row.pop("_line"), row) for row in rows]


# --- Transforms ------------------------------------------------------------------------------------


class ReadRecords(beam.PTransform):
    """Reads the files of `events`, `items` or `queries` and checks each record.

    Files are the unit of parallel reading: give a large log as many files.

    Returns:
        records: (partition of the item's, or the table's own, id; checked table). ids: of events without item
        table, (partition, table of distinct items). rejects: (side, table). counts: dicts of numbers.
    """

    def __init__(self, side: str, sources: Sequence[Source], spec: FeatureSpec, num_partitions: int, rows: int):
        super().__init__()
        self._sources, self._reader = list(sources), _ReadRecords(side, spec, num_partitions, rows)

    def expand(self, pipeline):
        sources = pipeline | beam.Create(self._sources)  # which also spreads them over the workers
        return sources | beam.ParDo(self._reader).with_outputs("rejects", "counts", "ids", main="records")


class _ReadRecords(beam.DoFn):
    def __init__(self, side: str, spec: FeatureSpec, num_partitions: int, rows_per_batch: int):
        self._side, self._spec, self._partitions, self._rows = side, spec, num_partitions, rows_per_batch

    def process(self, source):
        is_log, key = self._side == "events", "item_id" if self._side == "events" else "_id"
        is_first = True
        for batch in read_source(source, self._side, self._spec, self._rows):
            if is_first and (header := find_header_of(self._side, batch, self._spec)):
                yield beam.pvalue.TaggedOutput("counts", {f"header {self._side}": (source.name, header)})
            is_first = False
            checked = check_batch(batch, source, self._side, self._spec)
            read = len(batch.lines) + len(batch.rejects)
            counts = {f"{self._side}_read": read, "ignored": checked.ignored}
            counts |= {f"note {self._side}: {note}": number for note, number in checked.notes.items()}
            yield beam.pvalue.TaggedOutput("counts", counts)
            yield from tag_rejects(self._side, batch.rejects + checked.rejects)
            yield from tag_rejects(f"{self._side}_values", checked.unreadable)
            yield from partition_by(checked.table, key, self._partitions)
            if is_log and self._spec.items.table is None:
                items = records.known_items(
                    batch, checked.sound, source.name, source.place, self._spec, source.data_dir
                )
                yield from tag_rejects("items", items.rejects)
                yield from tag_rejects("items_values", items.unreadable)
                for part in partition_by(items.table, "_id", self._partitions):
                    yield beam.pvalue.TaggedOutput("ids", part)


class DeduplicateTable(beam.PTransform):
    """Keeps the first record of each id, in order of file and line; a partition is sorted by id.

    Returns:
        records: (partition, table). rejects: (side, table), the later records.
    """

    def __init__(self, side: str, names: Sequence[str]):
        super().__init__()
        self._side, self._names = side, list(names)

    def expand(self, tables):
        return (
            tables
            | beam.GroupByKey()
            | beam.ParDo(_DeduplicateTable(self._side, self._names)).with_outputs("rejects", main="records")
        )


class _DeduplicateTable(beam.DoFn):
    def __init__(self, side: str, names: list[str]):
        self._side, self._names = side, names

    def process(self, element):
        partition, tables = element
        first, later = records.deduplicate_ids(concat_some(tables))
        reason = f"duplicate {_NOUNS[self._side]} id"
        yield from tag_rejects(self._side, reject_rows(later, reason, self._names, ["_id"]))
        yield partition, first


class CollectIds(beam.PTransform):
    """The catalogue of a log without item table: (partition, table of its items by id, as each came first)."""

    def expand(self, ids):
        return ids | beam.GroupByKey() | beam.MapTuple(_unite_ids)


def _unite_ids(partition: int, tables: Iterable[pa.Table]) -> tuple[int, pa.Table]:
    table = concat_some(tables)
    if table.num_columns > 1:
        return partition, records.deduplicate_ids(table)[0]
    return partition, pa.table({"_id": table["_id"].unique()}).sort_by("_id")
