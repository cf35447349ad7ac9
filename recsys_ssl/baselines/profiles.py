"""What a baseline may know of the query of each ranking: what it had chosen before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from recsys_ssl import examples, lists
from recsys_ssl.evaluation.queries import RankingTask, to_strings
from recsys_ssl.pairs import Pairs, count_once, read_pairs
from recsys_ssl.spec import FeatureSpec


@dataclass(frozen=True)
class Profiles:
    """What the query of each ranking had chosen, as far as the two-tower knows it: 8 bytes an event of each ranking.

    The training events of the query, then the item_sequence of the event that the ranking embeds; an event that is
    in both is there once.
    """

    rows: np.ndarray
    """[num_events] int64 catalogue rows, ranking after ranking, oldest first where the log has time."""
    offsets: np.ndarray
    """[num_rankings + 1] int64."""
    num_items: int
    has_time: bool

    @property
    def _owners(self) -> np.ndarray:
        return lists.owners(np.diff(self.offsets))

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.offsets) - 1, self.num_items

    def to_matrix(self) -> sp.csr_matrix:
        """[num_rankings, num_items] float32, 1 for the items of the profile."""
        return count_once(self._owners, self.rows, self._shape)

    def to_counts(self) -> sp.csr_matrix:
        """[num_rankings, num_items] float32, how often each item was chosen."""
        counts = sp.csr_matrix((np.ones(len(self.rows), np.float32), (self._owners, self.rows)), self._shape)
        counts.sum_duplicates()
        return counts

    def to_places(self) -> sp.csr_matrix:
        """[num_rankings, num_items] float32, the place of the last choice of each item; 1 is the oldest event's.

        Raises:
            ValueError: the log has no time.
        """
        if not self.has_time:
            raise ValueError("the order of events needs a log with time. Received: one without. Leave the arm out.")
        place = np.arange(len(self.rows)) - self.offsets[self._owners] + 1
        # Of an item that was chosen several times the last event stays: it comes first in reverse.
        keys = self._owners * np.int64(self.num_items) + self.rows
        keys, first = np.unique(keys[::-1], return_index=True)
        places = place[::-1][first].astype(np.float32)
        return sp.csr_matrix((places, (keys // self.num_items, keys % self.num_items)), self._shape)


# --- Building -------------------------------------------------------------------------------------------


def build_profiles(
    spec: FeatureSpec, interactions_dir: str, catalogue_dir: str, split: str, task: RankingTask, train: Pairs
) -> Profiles:
    """What a baseline may know of the query of each ranking, which is what the two-tower knows of its past.

    A history may hold training events, and nothing in it says which. Of the events of an item in it, as many are not
    of training as the query has held-out events of the item before the ranking's own, and at most all; each of the
    others is the latest training event of the item that is not taken yet, where there is one. So, in a split by time,
    each event is there once; where training events were thinned away, those that the history still holds are there.

    Args:
        interactions_dir: encoded interactions.
        catalogue_dir: encoded catalogue; read only when the spec has an item_sequence.
        task: of the whole split, so that `event_rows` index its records in file order.
    """
    owners, rows = _train_events(task, train)
    if spec.item_sequences:
        feature = max(spec.item_sequences, key=lambda feature: feature.length)  # it holds the others
        row_of_code = _read_row_of_code(catalogue_dir, spec.sequence_id_feature.name)
        sequence_owners, sequence_rows = _read_sequences(interactions_dir, split, feature.name, task, row_of_code)
        held_out = _held_out_before(spec, interactions_dir, split, task)
        span = np.int64(task.num_items)
        kept = ~_in_both(owners * span + rows, sequence_owners * span + sequence_rows, held_out)
        owners = np.concatenate([owners[kept], sequence_owners])
        rows = np.concatenate([rows[kept], sequence_rows])
        order = np.argsort(owners, kind="stable")
        owners, rows = owners[order], rows[order]
    lengths = np.bincount(owners, minlength=task.num_rankings)
    return Profiles(rows, np.concatenate([[0], np.cumsum(lengths)]), task.num_items, train.times_us is not None)


def find_queries(task: RankingTask, pairs: Pairs) -> np.ndarray:
    """[num_rankings] int64 index into `pairs.query_ids`, -1 for a query without."""
    trained = to_strings(pa.array(pairs.query_ids, from_pandas=True).cast(pa.large_binary()))
    ids, known = (pa.array(texts, pa.large_string()) for texts in (task.query_ids, trained))
    found = pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy().astype(np.int64)
    return found[task.cluster]


def _train_events(task: RankingTask, train: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The ranking and the item row of each training event of each ranking's query, oldest first."""
    rows, starts = train.in_order()
    codes = find_queries(task, train)
    known = np.flatnonzero(codes >= 0)
    lengths = np.diff(starts)[codes[known]]
    return np.repeat(known, lengths), rows[_ranges(starts[codes[known]], lengths)]


def _in_both(train: np.ndarray, sequences: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """[num_train] bool, which training events are also in the sequences; see `build_profiles`.

    Args:
        train: [num_train] int64 keys of ranking and item, a ranking's oldest first.
        sequences: [num_sequence_events] int64 keys of the events of the histories.
        held_out: [num_held_out] int64 keys of the held-out events before the rankings.
    """
    keys, index, in_train = np.unique(train, return_inverse=True, return_counts=True)
    before = _count_of(held_out, keys)
    shared = np.maximum(_count_of(sequences, keys) - before, 0)
    # Occurrences are numbered from the latest, 0, to the oldest.
    order = np.argsort(index, kind="stable")
    from_latest = np.empty(len(train), np.int64)
    from_latest[order] = np.repeat(np.cumsum(in_train), in_train) - np.arange(len(train)) - 1
    return from_latest < shared[index]


def _count_of(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """[num_keys] int64, how many of the values are each of the sorted distinct keys."""
    values = np.sort(values)
    return np.searchsorted(values, keys, side="right") - np.searchsorted(values, keys)


def _held_out_before(spec: FeatureSpec, interactions_dir: str, split: str, task: RankingTask) -> np.ndarray:
    """[num_events] int64 keys ranking * num_items + row of the query's held-out events before each ranking's own."""
    keys = []
    own = read_pairs(interactions_dir, split)
    own_times = _times(own)[task.event_rows]
    for other in spec.split.names[1:]:
        events = own if other == split else read_pairs(interactions_dir, other)
        event_times = _times(events)
        order = np.lexsort((event_times, events.query_codes))
        codes = find_queries(task, events)
        known = np.flatnonzero(codes >= 0)
        # One ascending number orders the events by query, then time; ranks of the times keep it small.
        times = np.unique(np.concatenate([event_times, own_times]))
        span = np.int64(len(times) + 1)
        when = events.query_codes[order] * span + np.searchsorted(times, event_times[order])
        starts = np.searchsorted(when, codes[known] * span)
        ends = np.searchsorted(when, codes[known] * span + np.searchsorted(times, own_times[known]))
        rows = events.item_rows[order][_ranges(starts, ends - starts)]
        keys.append(np.repeat(known, ends - starts) * np.int64(task.num_items) + rows)
    return np.concatenate(keys)


def _times(events: Pairs) -> np.ndarray:
    if events.times_us is None:
        raise ValueError("an item_sequence needs events with timestamp_us. Received none. Ingest the log again.")
    return events.times_us


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[sum of lengths] int64: starts[0], starts[0] + 1, ..., starts[1], ..."""
    return np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)


def _read_row_of_code(catalogue_dir: str, name: str) -> np.ndarray:
    """Catalogue row of each code of the id vocabulary; -1 for a code of no item or of several, which names none."""
    code_batches = []
    for batch in examples.read_batches(examples.list_shards(catalogue_dir, examples.CATALOGUE_SPLIT)):
        values, lengths = lists.flat(batch, name, pa.int64())
        if not np.all(lengths == 1):
            raise ValueError(f"each item must have one {name}. Received {lengths.min()}..{lengths.max()} in an item.")
        code_batches.append(values)
    codes = np.concatenate(code_batches)
    row_of_code = np.full(codes.max() + 1, -1, np.int64)
    row_of_code[codes] = np.arange(len(codes))
    row_of_code[np.bincount(codes) > 1] = -1
    return row_of_code


def _read_sequences(
    interactions_dir: str, split: str, name: str, task: RankingTask, row_of_code: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ranking and the item row of each known item of the item_sequence of `task.event_rows`, oldest first."""
    event_batches, row_batches, start = [], [], 0
    for batch in examples.read_batches(examples.list_shards(interactions_dir, split)):
        codes, lengths = lists.flat(batch, name, pa.int64())
        found = np.full(len(codes), -1, np.int64)
        inside = codes < len(row_of_code)
        found[inside] = row_of_code[codes[inside]]
        event_batches.append(start + lists.owners(lengths)[found >= 0])
        row_batches.append(found[found >= 0])
        start += batch.num_rows
    if task.event_rows.max(initial=-1) >= start:
        raise ValueError(f"the task must be of the split {split!r}. Received event {task.event_rows.max()} of {start}.")
    events, rows = np.concatenate(event_batches), np.concatenate(row_batches)
    starts = np.searchsorted(events, task.event_rows)
    lengths = np.searchsorted(events, task.event_rows, side="right") - starts
    return np.repeat(np.arange(task.num_rankings), lengths), rows[_ranges(starts, lengths)]
