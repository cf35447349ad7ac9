"""The evaluation task of a split: which rankings are made, what is held out of each and what is masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_ssl import lists
from recsys_ssl.spec import FeatureSpec

# Rows of a Parquet file that are decoded at a time: 64k vectors of 64 floats are 16 MiB.
_READ_ROWS = 65_536


@dataclass(frozen=True)
class RankingTask:
    """One ranking of the whole catalogue per group of held-out events.

    Ragged facts are in CSR form: ranking `r` owns `positive_rows[positive_offsets[r]:positive_offsets[r + 1]]`.
    State: 24 bytes a ranking, 8 bytes a held-out pair and 8 bytes a masked row, besides ids and slice values.
    """

    num_items: int
    """Items of the catalogue; every ranking is over all of them but the masked."""
    event_rows: np.ndarray
    """[num_rankings] int64, the row of the query embeddings that gives the ranking's vector."""
    cluster: np.ndarray
    """[num_rankings] int64, index into `query_ids`; the unit of resampling, since a query's rankings are dependent."""
    query_ids: np.ndarray
    """[num_clusters] str, the queries."""
    positive_offsets: np.ndarray
    """[num_rankings + 1] int64."""
    positive_rows: np.ndarray
    """[num_pairs] int64 catalogue rows of the held-out items, distinct within a ranking."""
    masked_offsets: np.ndarray
    """[num_rankings + 1] int64."""
    masked_rows: np.ndarray
    """[num_masked] int64 catalogue rows left out of the ranking, distinct, never a positive of the ranking."""
    num_repeats: int = 0
    """Held-out pairs that are in no ranking, since their item was seen; a query may have lost all of its rankings."""
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Slice name -> [num_rankings] str value; "" where the query has none."""
    query_rows: Optional[np.ndarray] = None
    """[num_rankings] int64 catalogue row of the query when queries are items, else None."""
    min_timestamp_us: Optional[int] = None
    """Earliest held-out event, microseconds since 1970; None when the log has no time."""
    masks_seen: bool = False
    """Whether seen items are left out; with `mask_seen` they are, unless a split has no other held-out item."""

    @property
    def num_rankings(self) -> int:
        return len(self.event_rows)

    @property
    def num_pairs(self) -> int:
        return len(self.positive_rows)

    @property
    def mean_eligible(self) -> float:
        """Items of a ranking, the masked left out, in the mean over rankings."""
        return self.num_items - len(self.masked_rows) / self.num_rankings

    @property
    def num_clusters(self) -> int:
        return len(self.query_ids)

    @property
    def ranking_of_pair(self) -> np.ndarray:
        """[num_pairs] int64, the ranking that each held-out pair belongs to."""
        return np.repeat(np.arange(self.num_rankings), np.diff(self.positive_offsets))


def build_task(query_dir: str | Path, spec: FeatureSpec, num_items: int) -> RankingTask:
    """Builds the rankings of a split from its query embeddings.

    `group_by: query` makes one ranking per query, with the vector and seen rows of its first held-out event
    (earliest time, then first row) and all its held-out items as positives; `event` makes one per event. The query's
    own row is masked always; a positive of the ranking never.

    With `mask_seen` what was seen is out, whether it is held out or not: first the held-out events whose item is among
    their own seen rows are dropped, and with them rankings that have no other; then the seen rows of each ranking are
    masked; `mask_disliked` does the same with what was rated low. Were repeats kept instead, each would be ranked among
    new items only, and a model that is good at finding out what is new would be judged by what is not. Where all
    held-out events are repeats, none is dropped and nothing masked.

    The events' light columns are held (about 40 bytes an event, plus 8 where queries are items), and the seen rows
    of the chosen events only; vectors are read later by `read_query_vectors`.

    Args:
        query_dir: Parquet directory of query embeddings, one row per held-out event.
        spec: only `evaluation` and `queries.same_as_items` are read.
        num_items: items of the catalogue.

    Raises:
        ValueError: there is no held-out event, a needed column is missing, or a row is outside the catalogue.
    """
    light = ["query_id", "item_row", "timestamp_us", *spec.evaluation.slices]
    if spec.queries.same_as_items:
        light.append("query_row")
    events = _read_columns(query_dir, light)
    if not events.num_rows:
        raise ValueError(f"an evaluation needs held-out events. Received none in {query_dir}. Enlarge the split.")
    item_rows = _integers(events, "item_row")
    _check_rows("item_row", item_rows, num_items)
    codes, query_ids = _encode(events["query_id"])
    times = None if events["timestamp_us"].null_count else _integers(events, "timestamp_us")

    def read_seen(chosen: np.ndarray) -> np.ndarray:
        return _read_seen(query_dir, chosen, num_items)

    return make_task(
        spec,
        num_items,
        query_codes=codes,
        query_ids=query_ids,
        item_rows=item_rows,
        times=times,
        query_rows=_integers(events, "query_row") if spec.queries.same_as_items else None,
        repeats=_find_repeats(query_dir, item_rows) if spec.evaluation.masks else np.zeros(len(item_rows), bool),
        read_seen=read_seen,
        slices={name: to_strings(events[name]) for name in spec.evaluation.slices},
    )


def make_task(
    spec: FeatureSpec,
    num_items: int,
    query_codes: np.ndarray,
    query_ids: np.ndarray,
    item_rows: np.ndarray,
    times: Optional[np.ndarray],
    query_rows: Optional[np.ndarray],
    repeats: np.ndarray,
    read_seen: Callable[[np.ndarray], np.ndarray],
    slices: Mapping[str, np.ndarray],
) -> RankingTask:
    """Builds the rankings from arrays of held-out events; see `build_task` for the rules.

    Args:
        query_codes: [num_events] int64 index into `query_ids`.
        item_rows: [num_events] int64 catalogue rows of the held-out items.
        times: [num_events] int64 microseconds since 1970, or None.
        query_rows: [num_events] int64 catalogue rows of the queries when queries are items, else None.
        repeats: [num_events] bool, the events that no ranking asks for: see `find_repeats`; none without `mask_seen`.
        read_seen: takes the chosen events [num_rankings] and returns their seen rows as sorted distinct keys
            `ranking * num_items + row`.
        slices: name -> [num_events] str.
    """
    # --- Events: what was seen is asked for no more ---------------------------------------------------------------
    masks_seen = spec.evaluation.masks and not repeats.all()
    kept = np.flatnonzero(~repeats) if masks_seen else np.arange(len(query_codes))

    # --- Groups: `group` [num_kept] names the ranking of each event, `first` the event that gives its vector -------
    if spec.evaluation.group_by == "event":
        first = kept
        group = np.arange(len(kept))
        num_pairs = len(query_codes)
    else:
        by_time = kept if times is None else kept[np.argsort(times[kept], kind="stable")]
        _, at, group_by_time = np.unique(query_codes[by_time], return_index=True, return_inverse=True)
        first = by_time[at]
        group = np.empty(len(query_codes), np.int64)
        group[by_time] = group_by_time
        group = group[kept]
        num_pairs = len(np.unique(query_codes * np.int64(num_items) + item_rows))
    positives = np.unique(group * np.int64(num_items) + item_rows[kept])
    left, cluster = np.unique(query_codes[first], return_inverse=True)

    # --- Masked rows; the ranking's own positives are none of them already, but for the query's own row ------------
    masked = read_seen(first) if masks_seen else np.empty(0, np.int64)
    if query_rows is not None:
        query_rows = query_rows[first]
        _check_rows("query_row", query_rows, num_items)
        masked = np.append(masked, np.arange(len(first)) * np.int64(num_items) + query_rows)
    masked = np.setdiff1d(masked, positives)

    positive_offsets, positive_rows = _to_csr(positives, len(first), num_items)
    masked_offsets, masked_rows = _to_csr(masked, len(first), num_items)
    return RankingTask(
        num_items=num_items,
        event_rows=first,
        cluster=cluster,
        query_ids=query_ids[left],
        positive_offsets=positive_offsets,
        positive_rows=positive_rows,
        masked_offsets=masked_offsets,
        masked_rows=masked_rows,
        num_repeats=num_pairs - len(positives),
        slices={name: values[first] for name, values in slices.items()},
        query_rows=query_rows,
        min_timestamp_us=None if times is None else int(times.min()),
        masks_seen=masks_seen,
    )


def find_repeats(item_rows: np.ndarray, seen_rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[num_events] bool, whether the item of an event is one that its query has seen.

    Args:
        item_rows: [num_events] int64.
        seen_rows: [sum of lengths] int64, the seen rows of one event after the other.
        lengths: [num_events] int64.
    """
    owners = lists.owners(lengths)
    return np.bincount(owners[seen_rows == item_rows[owners]], minlength=len(item_rows)) > 0


def read_query_vectors(query_dir: str | Path, event_rows: np.ndarray) -> np.ndarray:
    """Reads the vectors of some held-out events: [len(event_rows), dim] float32, 4 * dim bytes a row."""
    vectors = None
    for start, column in iterate_column(query_dir, "vector"):
        inside = np.flatnonzero((event_rows >= start) & (event_rows < start + len(column)))
        read = _vectors(column)
        if vectors is None:
            vectors = np.full((len(event_rows), read.shape[1]), np.nan, np.float32)
        vectors[inside] = read[event_rows[inside] - start]
    if vectors is None:
        raise ValueError(f"query embeddings need rows. Received none in {query_dir}. Embed the split first.")
    return vectors


def read_item_embeddings(item_dir: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads a whole catalogue, which must fit in memory: 4 * dim + 8 bytes a row, besides the ids.

    Returns:
        ids [num_items] str, vectors [num_items, dim] float32, train_counts [num_items] int64.

    Raises:
        ValueError: the files do not hold rows 0..N-1 in order.
    """
    vectors = [_vectors(column) for _, column in iterate_column(item_dir, "vector")]
    table = _read_columns(item_dir, ["item_row", "item_id", "train_count"])
    rows = _integers(table, "item_row")
    if not len(rows) or not np.array_equal(rows, np.arange(len(rows))):
        raise ValueError(
            f"item embeddings must hold rows 0..N-1 in sorted file order. Received {len(rows)} rows out of order in "
            f"{item_dir}. Write shards whose names sort by row."
        )
    return to_strings(table["item_id"]), np.concatenate(vectors), _integers(table, "train_count")


def check_same_queries(control_dir: str | Path, treatment_dir: str | Path) -> int:
    """Checks that both arms embedded the same held-out events in the same order, and returns how many.

    Raises:
        ValueError: they differ; a paired comparison would compare different questions.
    """
    columns = ["query_id", "item_row", "timestamp_us"]
    control, treatment = _read_columns(control_dir, columns), _read_columns(treatment_dir, columns)
    if control.num_rows != treatment.num_rows:
        raise ValueError(
            f"both arms must hold the same held-out events. Received {control.num_rows} rows in {control_dir} and "
            f"{treatment.num_rows} in {treatment_dir}. Embed the same split with both models."
        )
    for name in columns:
        left, right = control[name], treatment[name]
        if not left.equals(right):
            differ = np.asarray(pc.fill_null(pc.not_equal(left, right), True))
            at = np.flatnonzero(differ & ~(_is_null(left) & _is_null(right)))[0]
            raise ValueError(
                f"both arms must hold the same held-out events in the same order. Received different {name} at row "
                f"{at}: {left[at].as_py()!r} and {right[at].as_py()!r}. Embed the same split with both models."
            )
    return control.num_rows


# --- Parquet ----------------------------------------------------------------------------------------


def open_files(directory: str | Path, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
    paths = sorted(Path(directory).glob("*.parquet"))
    if not paths:
        raise ValueError(f"embeddings are Parquet files. Received none in {directory}. Run the stage that embeds.")
    for path in paths:
        with pq.ParquetFile(path) as file:
            missing = sorted(set(columns) - set(file.schema_arrow.names))
            if missing:
                raise ValueError(f"{path} must have the columns {list(columns)}. Missing: {missing}. Embed again.")
            yield file


def iterate_column(directory: str | Path, column: str) -> Iterator[tuple[int, pa.Array]]:
    """Yields (row of the first record, values) of one heavy column over the sorted files of a directory."""
    start = 0
    for file in open_files(directory, [column]):
        for batch in file.iter_batches(batch_size=_READ_ROWS, columns=[column]):
            yield start, batch.column(0)
            start += batch.num_rows


def _read_columns(directory: str | Path, columns: Sequence[str]) -> pa.Table:
    tables = [file.read(columns=list(columns)) for file in open_files(directory, columns)]
    # A shard without any timestamp may have a column of type null, which promotion turns into the others' type.
    return lists.concat_tables(tables)


def _read_seen(directory: str | Path, event_rows: np.ndarray, num_items: int) -> np.ndarray:
    """[num_seen] int64 keys `ranking * num_items + row` of the seen rows of the chosen events."""
    keys = [np.empty(0, np.int64)]
    for start, column in iterate_column(directory, "seen_rows"):
        inside = np.flatnonzero((event_rows >= start) & (event_rows < start + len(column)))
        taken = column.take(pa.array(event_rows[inside] - start))
        values, lengths = lists.flatten(taken, pa.int64())
        rows = values.to_numpy(zero_copy_only=False).astype(np.int64)
        _check_rows("seen_rows", rows, num_items)
        keys.append(np.repeat(inside, lengths) * np.int64(num_items) + rows)
    return np.unique(np.concatenate(keys))


def _find_repeats(directory: str | Path, item_rows: np.ndarray) -> np.ndarray:
    """[num_events] bool, see `find_repeats`; the seen rows of one batch are held at a time."""
    repeats = np.zeros(len(item_rows), bool)
    for start, column in iterate_column(directory, "seen_rows"):
        values, lengths = lists.flatten(column, pa.int64())
        part = slice(start, start + len(column))
        repeats[part] = find_repeats(item_rows[part], values.to_numpy(zero_copy_only=False), lengths)
    return repeats


def _vectors(column: pa.Array) -> np.ndarray:
    if not pa.types.is_fixed_size_list(column.type) or column.null_count:
        raise ValueError(
            "vector must be a fixed_size_list<float32> without nulls. "
            f"Received: {column.type} with {column.null_count} nulls. Embed again."
        )
    return lists.to_vectors(column).astype(np.float32, copy=False)


def _integers(table: pa.Table, name: str) -> np.ndarray:
    column = table[name]
    if column.null_count:
        raise ValueError(f"{name} must have no null. Received {column.null_count}. Embed again.")
    return column.to_numpy().astype(np.int64)


def to_strings(column: lists.Column) -> np.ndarray:
    """[n] object array of str; null is "" and bytes that are no UTF-8 are escaped."""
    try:
        return np.asarray(column.cast(pa.large_string()).fill_null(""))
    except pa.ArrowInvalid:
        values = [(value or b"").decode("utf-8", "backslashreplace") for value in column.to_pylist()]
        return np.array(values, dtype=object)


def _encode(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Index [n] int64 into the distinct values, and these as str in order of first appearance."""
    if column.null_count:
        raise ValueError(f"query_id must have no null. Received {column.null_count}. Embed again.")
    encoded = column.dictionary_encode().unify_dictionaries()  # an array of all ids could hold 2 GiB at most
    if not encoded.num_chunks:
        return np.zeros(0, np.int64), np.zeros(0, object)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
    return codes, to_strings(encoded.chunk(0).dictionary)


def _is_null(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.is_null())


def _check_rows(name: str, rows: np.ndarray, num_items: int) -> None:
    if len(rows) and (rows.min() < 0 or rows.max() >= num_items):
        raise ValueError(
            f"{name} must lie in 0..{num_items - 1}, the rows of the catalogue. Received {rows.min()}..{rows.max()}. "
            "Embed queries and items of the same ingestion."
        )


def _to_csr(keys: np.ndarray, num_rankings: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits sorted keys `ranking * num_items + row` into CSR offsets [num_rankings + 1] and rows."""
    lengths = np.bincount(keys // num_items, minlength=num_rankings)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), keys % num_items
