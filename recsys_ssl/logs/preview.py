"""What ingestion would reject, by the first records of every file, with the key of the spec to change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional, Union

import numpy as np
import pyarrow as pa

from recsys_ssl import lists
from recsys_ssl.logs import records
from recsys_ssl.logs.batches import Batch, LogError, MissingColumnError, Reject
from recsys_ssl.logs.ids import find_mixed_forms, find_twin
from recsys_ssl.logs.rows import find_rows
from recsys_ssl.logs.sources import Source, check_batch, check_fields, find_header_of, is_json, match_files, read_source
from recsys_ssl.logs.summary import hint_at_times
from recsys_ssl.spec import FeatureSpec

LOG_RECORDS = 200_000
"""Of a log, shared among its files: at least 100 and at most 5,000 of each."""
TABLE_RECORDS = 200_000
"""Of an item or query table: its ids must be known to say which of the log's are not."""
_LEAST, _MOST = 100, 5_000
_LONGEST_VALUE = 60
_SPLITS = ("of training", "of validation", "of the test")

Key = tuple[Union[str, int], ...]
"""Keys of the spec from its top, as ("events", "timestamp")."""


@dataclasses.dataclass
class Finding:
    """A reason to reject records, or a file."""

    reason: str
    key: Key
    number: int = 0
    example: str = ""
    """File, line and value of the first."""
    is_reject: bool = True
    """False for what is only worth to be told."""


@dataclasses.dataclass
class Side:
    """What was seen of `events`, `items` or `queries`."""

    name: str
    files: Sequence[str] = ()
    read: int = 0
    is_whole: bool = True
    """Whether these are all records."""
    findings: dict[str, Finding] = dataclasses.field(default_factory=dict)
    fails: bool = False
    """Whether a file cannot be read at all, or nothing is left."""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """Of the log: positives, impressions and ignored."""
    forms: dict[str, int] = dataclasses.field(default_factory=dict)
    """How often ids have a form that may be a mistake, or the one that is then meant; see `ids`."""

    @property
    def rejected(self) -> int:
        """Number of records that ingestion would reject."""
        return sum(finding.number for finding in self.findings.values() if finding.is_reject)

    def add(self, reason: str, key: Key, number: int = 1, example: str = "", is_reject: bool = True) -> None:
        """Adds records to the finding of a reason; key, example and kind are those of the first."""
        finding = self.findings.setdefault(reason, Finding(reason, key, 0, example, is_reject))
        finding.number += number


def preview(spec: FeatureSpec, data_dir: str) -> list[Side]:
    """Reads the first records of each file as ingestion does; nothing is written.

    Returns:
        The log and the tables that the spec has. A file that is missing, or lacks a column, is a finding, too.
    """
    sides, ids = [], {}
    for name in ("events", "items", "queries"):
        if name == "events" or getattr(spec, name).table is not None:
            side, found = _preview_side(name, spec, data_dir)
            sides.append(side)
            ids[name] = found
    for side in sides[1:]:
        _match_ids(sides[0], ids["events"], side, ids[side.name], spec)
    return sides


def will_fail(sides: Sequence[Side]) -> bool:
    """Whether most of a side would be rejected, or a file cannot be read."""
    return any(side.fails or 2 * side.rejected > side.read for side in sides)


# --- Files ---------------------------------------------------------------------------------------------


def _preview_side(name: str, spec: FeatureSpec, data_dir: str) -> tuple[Side, list[pa.Table]]:
    side, tables = Side(name), []
    place: Key = ("events",) if name == "events" else (name, "table")
    try:
        sources = match_files(name, spec, data_dir)
    except LogError as error:
        side.fails = True
        split: Key = tuple(str(error).partition(":")[0].split("."))
        side.add(str(error), split if split[0] == "split" else (*place, "paths"), is_reject=False)
        return side, []
    side.files = [source.name for source in sources]
    most = min(_MOST, max(_LEAST, LOG_RECORDS // len(sources))) if name == "events" else TABLE_RECORDS
    if is_json(name, spec):
        try:
            check_fields(sources, name, spec, _MOST)
        except MissingColumnError as error:
            side.fails = True
            side.add(str(error), _key_of_message(str(error), place, spec), is_reject=False)
        except LogError:
            pass  # which reading the file tells again
    for source in sources:
        try:
            for place_of_batch, batch in enumerate(_first_batches(source, side, spec, most)):
                if place_of_batch == 0 and (header := find_header_of(name, batch, spec)):
                    told = "the first record looks like names of columns, though header is false"
                    side.add(told, (*place, "header"), 1, f"{source.name}: {header}", is_reject=False)
                tables.append(_check(batch, source, side, spec))
        except LogError as error:
            side.fails = True
            side.add(str(error), _key_of_message(str(error), place, spec), is_reject=False)
    _add_forms(side, spec)
    if name == "events" and tables and spec.events.timestamp:
        times = lists.one_array(pa.concat_tables(tables)["timestamp_us"]).to_numpy()
        for hint in hint_at_times(int(times.min()), int(times.max()), spec.events.timestamp) if len(times) else []:
            side.add(hint, ("events", "timestamp"), is_reject=False)
    if not side.read and not side.fails:
        side.fails = True
        side.add("no record is there", (*place, "paths"), is_reject=False)
    if side.read and not side.rejected and not side.fails and name == "events" and not side.counts.get("positives"):
        side.fails = True
        side.add("no record is positive", ("events", "label"), is_reject=False)
    return side, tables


def _first_batches(source: Source, side: Side, spec: FeatureSpec, most: int) -> Iterator[Batch]:
    seen = 0
    for batch in read_source(source, side.name, spec, min(most, _MOST)):
        if seen >= most - 1:  # the first line may be a header
            side.is_whole = False
            return
        seen += len(batch.lines) + len(batch.rejects)
        yield batch


def _check(batch: Batch, source: Source, side: Side, spec: FeatureSpec) -> pa.Table:
    checked = check_batch(batch, source, side.name, spec)
    side.read += len(batch.lines) + len(batch.rejects)
    for reject in (*batch.rejects, *checked.rejects):
        key, column = _locate(reject.reason, side.name, spec)
        side.add(reject.reason, key, 1, _show(reject, column))
    _add_values(side, checked.unreadable, side.name, spec, "taken for missing")
    if side.name == "events" and spec.items.from_events:
        items = records.known_items(batch, checked.sound, source.name, source.place, spec, source.data_dir)
        _add_values(side, items.rejects, "items", spec, "the item would be rejected")
        _add_values(side, items.unreadable, "items", spec, "taken for missing")
    for note, number in checked.notes.items():
        _add_note(side, note, number)
    if side.name == "events":
        kinds = checked.table["_kind"].to_numpy()
        positives = int((kinds == records.POSITIVE).sum())
        for word, number in (
            ("positives", positives),
            ("impressions", int((kinds == records.IMPRESSION).sum())),
            ("ignored", checked.ignored),
            *([(_SPLITS[source.split], positives)] if spec.split.kind == "given" else []),
        ):
            side.counts[word] = side.counts.get(word, 0) + number
    names = ["query_id", "item_id", "timestamp_us", "_file", "_line"] if side.name == "events" else ["_id"]
    return checked.table.select([name for name in names if name in checked.table.column_names])


def _add_values(side: Side, rejects: Sequence[Reject], of: str, spec: FeatureSpec, effect: str) -> None:
    for reject in rejects:
        key, column = _locate(reject.reason, of, spec)
        side.add(f"{reject.reason}; {effect}", key, 1, _show(reject, column), is_reject=False)


def _add_note(side: Side, note: str, number: int) -> None:
    what, _, word = note.partition(": ")
    label: Key = ("events", "label")
    if what == "ignored":
        side.add(f"event type {word!r} is ignored", (*label, "positive"), number, is_reject=False)
    elif what == "read":
        side.add(f"event type {word!r} is read as one that the spec writes otherwise", label, number, is_reject=False)
    elif what.startswith("word "):
        files: Key = ("events", "missing") if side.name == "events" else (side.name, "table", "missing")
        side.add(
            f"{what.removeprefix('word ')} reads {word!r}, as if there were nothing", files, number, is_reject=False
        )
    else:
        side.forms[what] = side.forms.get(what, 0) + number


def _add_forms(side: Side, spec: FeatureSpec) -> None:
    """Tells of ids that are rounded, or written in two ways."""
    for noun in ("item", "query"):
        key, _ = _locate(f"{noun} id", side.name, spec)
        if rounded := side.forms.get(f"rounded {noun} id"):
            side.add(
                f"{noun} ids are rounded numbers, as 1.2E+15: different ids may be one", key, rounded, is_reject=False
            )
        for number, told in find_mixed_forms(side.forms, noun):
            side.add(f"some {noun} ids {told}", key, number, is_reject=False)


# --- Keys of the spec ------------------------------------------------------------------------------------


def _locate(reason: str, side: str, spec: FeatureSpec) -> tuple[Key, Optional[str]]:
    """The key that a reason to reject is about, and the column that it reads."""
    events = spec.events
    found: dict[str, tuple[Key, Optional[str]]]
    place: Key = ("events",) if side == "events" else (side, "table")
    if side == "events":
        found = {
            "query id": (("events", "query_id"), events.query_id),
            "item id": (("events", "item_id"), events.item_id),
            "timestamp": (("events", "timestamp"), events.timestamp.column if events.timestamp else None),
            "label": (("events", "label", "column"), events.label.column),
            "event type": (("events", "label", "event_type"), events.label.event_type),
            "weight": (("events", "weight"), events.weight),
            "query equals": (("queries", "same_as_items"), events.item_id),
            "an element of": (("events", "explode"), None),
        }
        features = events.features
    else:
        table = getattr(spec, side)
        found = {"item id": (("items", "id"), table.id), "query id": (("queries", "id"), table.id)}
        features = table.features
    for beginning, located in found.items():
        if reason.startswith(beginning):
            return located
    files = events if side == "events" else getattr(spec, side).table
    if files.explode and reason.startswith(files.explode.column) and ("element" in reason or "list" in reason):
        return (*place, "explode"), files.explode.column
    for number, feature in enumerate(features):
        if reason.startswith(f"{feature.name} is "):
            return (side, "features", number), getattr(feature, "source_column", None)
    return (*place, _files_key(reason)), None


def _files_key(reason: str) -> str:
    """The key of `Files` that a fault of a line is about."""
    words = {
        "columns": "delimiter",
        "escape": "escape",
        "quotation": "quoting",
        "UTF": "encoding",
        "encod": "encoding",
        "JSON": "format",
        "header": "header",
    }
    return next((key for word, key in words.items() if word in reason), "paths")


def _key_of_message(message: str, place: Key, spec: FeatureSpec) -> Key:
    """The key that the error of a file names: "a.csv: events.query_id needs column ..."."""
    _, _, rest = message.partition(": ")
    keys = rest.split(" ", 1)[0].split(".")
    if keys[0] not in ("events", "items", "queries", "split"):
        return (*place, "format")
    if keys[1:2] == ["features"]:
        names = [feature.name for feature in getattr(spec, keys[0]).features]
        return (keys[0], "features", *(names.index(name) for name in keys[2:] if name in names))
    return tuple(keys)


def _show(reject: Reject, column: Optional[str]) -> str:
    value = reject.record.get(column, reject.record) if isinstance(reject.record, dict) else reject.record
    text = repr(value)
    return f"{reject.file}:{reject.line}: {text[:_LONGEST_VALUE]}{'...' if len(text) > _LONGEST_VALUE else ''}"


# --- Ids of the log and of the tables ------------------------------------------------------------------


class _Unknown(NamedTuple):
    number: int
    first: int
    """Place of the first, -1 without any."""


def _match_ids(log: Side, events: list[pa.Table], side: Side, tables: list[pa.Table], spec: FeatureSpec) -> None:
    """Adds how many events name an item, or a query, that the table does not have."""
    if not events or not tables:
        return
    column = "item_id" if side.name == "items" else "query_id"
    noun = column.partition("_")[0]
    seen, known = pa.concat_tables(events), pa.concat_tables(tables)["_id"]
    unknown = _find_unknown(seen[column], known)
    if not unknown.number:
        return
    table = "the table" if side.is_whole else f"the first {side.read:,} records of the table"
    where = f"{log.files[seen['_file'][unknown.first].as_py()]}:{seen['_line'][unknown.first].as_py()}"
    first = seen[column][unknown.first].as_py()
    twin = find_twin([first], lists.one_array(known))
    example = f"{where}: {first!r}; the table has {(twin[1] if twin else known[0].as_py())!r}"
    is_reject = side.name == "items" and side.is_whole
    effect = "" if side.name == "items" else ": such events know no feature of it"
    log.add(f"{noun} is not in {table}{effect}", (side.name, "id"), unknown.number, example, is_reject)
    if unknown.number == seen.num_rows and side.is_whole:
        log.fails = True


def _find_unknown(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> _Unknown:
    missing = find_rows(lists.one_array(ids), known.unique()) < 0
    return _Unknown(int(missing.sum()), int(np.argmax(missing)) if missing.any() else -1)
