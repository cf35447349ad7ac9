"""Beam transforms that number the catalogue, join the log with it, order the events and find the cut times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl.lists import one_array
from recsys_ssl.logs import records, timeline
from recsys_ssl.logs.ids import find_twin
from recsys_ssl.logs.rows import find_rows, hash_ids
from recsys_ssl.logs.sources import Source, concat, partition_by, reject_rows, tag_rejects
from recsys_ssl.logs.values import TEXT
from recsys_ssl.spec import FeatureSpec, Split

_EVENT_COLUMNS = ["query_id", "item_id", "timestamp_us"]
_MOST_UNKNOWN = 100  # ids, of which another form is looked for


class NumberItems(beam.PTransform):
    """[num_partitions + 1] int64, the catalogue row where each partition begins, and the number of items."""

    def __init__(self, num_partitions: int):
        super().__init__()
        self._num_partitions = num_partitions

    def expand(self, catalogue):
        return (
            catalogue
            | beam.MapTuple(lambda partition, table: (partition, table.num_rows))
            | beam.combiners.ToList()
            | beam.Map(_to_offsets, self._num_partitions)
        )


def _to_offsets(sizes: Iterable[tuple[int, int]], num_partitions: int) -> np.ndarray:
    offsets = np.zeros(num_partitions + 1, np.int64)
    for partition, size in sizes:
        offsets[partition + 1] = size
    return np.cumsum(offsets)


class JoinItems(beam.PTransform):
    """Gives each event the catalogue row of its item.

    Takes {"events": (partition of the item, table), "items": (partition, catalogue)}.

    Args:
        offsets: side input, see `NumberItems`.
        names: the log's files.
        keeps_disliked: whether what queries rated low, which no count here includes, is joined and kept too.

    Returns:
        records: (partition of the query, positives with item_row, with `keeps_disliked` _kind, and for a split by
        groups of items _group uint64, the hash of the item's group). impressions: (partition of the item, row within
        it and number). rejects: events whose item is not in the catalogue. unknown: lists of some such items. counts.
    """

    def __init__(self, offsets, names: Sequence[str], keeps_disliked: bool = False):
        super().__init__()
        self._offsets, self._names, self._keeps_disliked = offsets, list(names), keeps_disliked

    def expand(self, groups):
        return (
            groups
            | beam.CoGroupByKey()
            | beam.ParDo(_JoinItems(self._names, self._keeps_disliked), self._offsets).with_outputs(
                "impressions", "rejects", "unknown", "counts", main="records"
            )
        )


class _JoinItems(beam.DoFn):
    def __init__(self, names: list[str], keeps_disliked: bool):
        self._names, self._keeps_disliked = names, keeps_disliked

    def process(self, element, offsets):
        partition, groups = element
        events, catalogue = concat(groups["events"]), concat(groups["items"])
        if events is None:
            return
        ids = one_array(catalogue["_id"]) if catalogue else pa.array([], TEXT)
        row = find_rows(one_array(events["item_id"]), ids)
        kind = events["_kind"].to_numpy()
        unknown = events.filter(pa.array((row < 0) & (kind != records.DISLIKED)))
        yield from tag_rejects("events", reject_rows(unknown, "item not in the table", self._names, _EVENT_COLUMNS))
        yield from _tag_unknown(unknown["item_id"])
        shown = row[(row >= 0) & (kind == records.IMPRESSION)]
        yield beam.pvalue.TaggedOutput("counts", {"impressions": len(shown)})
        if len(shown):
            yield beam.pvalue.TaggedOutput("impressions", (partition, np.unique(shown, return_counts=True)))
        kept = (row >= 0) & (kind != records.IMPRESSION)
        positives = (events if self._keeps_disliked else events.drop(["_kind"])).filter(pa.array(kept))
        positives = positives.append_column("item_row", pa.array(row[kept] + offsets[partition]))
        if catalogue is not None and "_group" in catalogue.column_names:
            groups_of_items = hash_ids(one_array(catalogue["_group"]))
            positives = positives.append_column("_group", pa.array(groups_of_items[row[kept]]))
        yield from partition_by(positives, "query_id", len(offsets) - 1)


class OrderEvents(beam.PTransform):
    """Brings the events of each query together, in order of time, without duplicates, with the query's record.

    Where the split is given by files, it comes before the time, and the events have it as _split.

    Takes {"events": (partition of the query, table), "queries": (partition, table)}; the latter is the catalogue
    when queries are items, and is absent when there is no query table.

    Returns:
        records: (events with _query and _query_row, query table). rejects: events whose query is no item, when it
        has to be one. unknown: lists of some queries that the query table does not have. counts.
    """

    def __init__(self, offsets, spec: FeatureSpec, sources: Sequence[Source]):
        super().__init__()
        self._offsets, self._orderer = offsets, _OrderEvents(spec, sources)

    def expand(self, groups):
        return (
            groups
            | beam.CoGroupByKey()
            | beam.ParDo(self._orderer, self._offsets).with_outputs("rejects", "unknown", "counts", main="records")
        )


class _OrderEvents(beam.DoFn):
    def __init__(self, spec: FeatureSpec, sources: Sequence[Source]):
        self._spec, self._names = spec, [source.name for source in sources]
        self._splits = np.array([source.split for source in sources], np.int8)

    def process(self, element, offsets):
        partition, groups = element
        events, queries = concat(groups["events"]), concat(groups.get("queries", []))
        if events is None:
            return
        if queries is not None:
            row = find_rows(one_array(events["query_id"]), one_array(queries["_id"]))
        else:
            row = np.full(events.num_rows, -1)
        events = events.append_column("_query_row", pa.array(row))
        if self._spec.queries.same_as_items:
            unknown = events.filter(pa.array((row < 0) & timeline.is_chosen(events)))
            yield from tag_rejects(
                "events", reject_rows(unknown, "query not in the item table", self._names, _EVENT_COLUMNS)
            )
            known = row >= 0
            events = events.drop(["_query_row"]).filter(pa.array(known))
            events = events.append_column("query_row", pa.array(row[known] + offsets[partition]))
            queries = None
        if self._spec.split.kind == "given":
            events = events.append_column("_split", pa.array(self._split(events)))
        ordered, duplicates = timeline.order_events(events, self._spec.events.deduplicate)
        yield beam.pvalue.TaggedOutput("counts", self._count(ordered, duplicates))
        if self._spec.queries.table:
            chosen = ordered.filter(pa.array(timeline.is_chosen(ordered)))
            yield from _tag_unknown(_without_record(chosen)["query_id"])
        if ordered.num_rows:
            yield partition, ordered, queries

    def _split(self, events: pa.Table) -> np.ndarray:
        share = self._spec.split
        query_ids, item_ids = one_array(events["query_id"]), one_array(events["item_id"])
        of_file = self._splits[events["_file"].to_numpy()]
        validation = 0.0 if share.validation_paths else share.validation
        return timeline.split_by_file(of_file, query_ids, item_ids, validation, share.seed)

    def _count(self, ordered: pa.Table, duplicates: int) -> dict[str, int | tuple[int]]:
        ordered = ordered.filter(pa.array(timeline.is_chosen(ordered)))
        counts: dict[str, int | tuple[int]] = {"positives": ordered.num_rows, "duplicates": duplicates}
        counts["num_queries"] = pc.count_distinct(ordered["_query"]).as_py()
        if ordered.num_rows and self._spec.events.timestamp:  # of tuples the least is kept
            bounds = pc.min_max(ordered["timestamp_us"]).as_py()
            counts |= {"first_us": (bounds["min"],), "minus_last_us": (-bounds["max"],)}
        if self._spec.queries.table:
            missing = _without_record(ordered)
            counts["queries_without_features"] = pc.count_distinct(missing["_query"]).as_py()
            known = pc.min(ordered["query_id"].filter(pc.greater_equal(ordered["_query_row"], 0))).as_py()
            counts |= {} if known is None else {"id queries: known": (known,)}
        return counts


def _without_record(ordered: pa.Table) -> pa.Table:
    return ordered.filter(pc.equal(ordered["_query_row"], -1))


# --- Ids that a table does not have --------------------------------------------------------------------


class FindTwins(beam.PTransform):
    """Looks in a table for another form of ids of the log that it does not have; see `ids.find_twin`.

    Takes {"unknown": lists of ids, "table": (partition, table)}.

    Args:
        side: `items` or `queries`.

    Returns:
        Dicts "id SIDE: WHAT" -> (id,): `unknown` the first of the log, `table` the first of the table; and
        "twin SIDE" -> (id of the log, id of the table).
    """

    def __init__(self, side: str):
        super().__init__()
        self._side = side

    def expand(self, found):
        unknown = beam.pvalue.AsSingleton(found["unknown"] | beam.CombineGlobally(_least_ids))
        return found["table"] | beam.FlatMap(_find_twins, unknown, self._side)


def _tag_unknown(ids: pa.ChunkedArray) -> Iterator[beam.pvalue.TaggedOutput]:
    if len(ids):
        yield beam.pvalue.TaggedOutput("unknown", sorted(ids.unique().to_pylist())[:_MOST_UNKNOWN])


def _least_ids(parts: Iterable[list[str]]) -> list[str]:
    return sorted({each for part in parts for each in part})[:_MOST_UNKNOWN]


def _find_twins(element: tuple[int, pa.Table], unknown: list[str], side: str) -> Iterator[dict[str, tuple]]:
    ids = one_array(element[1]["_id"])
    if unknown and len(ids):
        found = {f"id {side}: unknown": (unknown[0],), f"id {side}: table": (pc.min(ids).as_py(),)}
        twin = find_twin(unknown, ids)
        yield found | ({f"twin {side}": twin} if twin else {})


class FindCutTimes(beam.PTransform):
    """The exact times, in microseconds, where eval and test begin: (eval, test); or None without any event.

    With n events in order of time, n * test (rounded, at least one) are meant for test and n * validation before
    them for eval; events at a cut time all go to the later split. Found in three counting passes over the times,
    each a combiner of at most 8 MiB, however many events there are (see `timeline.merge_digits`).

    Takes arrays [any] int64 of microseconds since 1970.
    """

    def __init__(self, split: Split):
        super().__init__()
        self._split = split

    def expand(self, times):
        search = times.pipeline | beam.Impulse() | "Begin" >> beam.Map(lambda _: tuple(timeline.Search()))
        for level in range(timeline.NUM_PASSES):
            counts = (
                times
                | f"Count{level}" >> beam.Map(_count_digits, beam.pvalue.AsSingleton(search))
                | f"Merge{level}" >> beam.CombineGlobally(timeline.merge_digits)
            )
            search = search | f"Refine{level}" >> beam.Map(
                _refine, beam.pvalue.AsSingleton(counts), self._split.validation, self._split.test
            )
        return search | "Cuts" >> beam.Map(_to_cuts)


def _count_digits(times: np.ndarray, search: tuple):
    return timeline.count_digits(times, timeline.Search(*search))


def _refine(search: tuple, counts, validation: float, test: float) -> tuple:
    return tuple(timeline.refine(timeline.Search(*search), counts, validation, test))


def _to_cuts(search: tuple) -> Optional[tuple[int, int]]:
    found = timeline.Search(*search)
    return found.prefixes if found.ranks else None
