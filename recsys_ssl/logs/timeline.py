"""What an event may know: order in time, duplicates, history, seen items, and the split by time.

Plain functions of arrays. Events of one query lie together and in order of time, so that a history is a
range of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl.logs.records import POSITIVE, order_of
from recsys_ssl.logs.rows import hash_ids, mix_hashes

TRAIN, EVAL, TEST = 0, 1, 2
NEITHER = -1
"""In place of a split: what a query rated low, which rankings leave out."""
_NEVER = np.iinfo(np.int64).max
_BITS_OF_TIME = 54  # the year 2100 in microseconds needs 52

# --- Order -----------------------------------------------------------------------------------------


def order_events(events: pa.Table, deduplicate: str) -> tuple[pa.Table, int]:
    """Sorts the events of some queries by (query, moment, place in the log) and drops the duplicates.

    Args:
        events: columns query_id, item_row, timestamp_us, example_weight, _file, _line, maybe _place, _kind and _split
            (see `moments`); all of each query.
        deduplicate: `event`: identical (query, item, time) once; `pair`: each (query, item) once, the first; with the
            largest weight of those that are one. What was rated low is no duplicate of a positive, nor are events of
            two given splits.

    Returns:
        The events with the column _query int64 (0, 1, ... in order of id), and the number of duplicate positives.
    """
    encoded = events["query_id"].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    rank = np.empty(len(encoded.dictionary), np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
    keys = pd.DataFrame(
        {
            "query": rank[encoded.indices.to_numpy()],
            "moment": moments(events),
            "item": events["item_row"].to_numpy(),
            "chosen": is_chosen(events),
            "split": events["_split"].to_numpy() if "_split" in events.column_names else 0,
        }
    )
    places = [events[name].to_numpy() for name in reversed(order_of(events))]
    order = np.lexsort((*places, keys["moment"], keys["query"]))
    keys = keys.iloc[order]
    same = ["query", "item", "split" if deduplicate == "pair" else "moment"]
    same = same if keys["chosen"].all() else [*same, "chosen"]
    kept = ~keys.duplicated(same).to_numpy()
    ordered = events.take(pa.array(order[kept]))
    if not kept.all():
        weights = keys.assign(weight=events["example_weight"].to_numpy()[order]).groupby(same)["weight"]
        largest = pa.array(weights.transform("max").to_numpy()[kept], events["example_weight"].type)
        ordered = ordered.set_column(ordered.column_names.index("example_weight"), "example_weight", largest)
    num_duplicates = int((~kept & keys["chosen"]).sum())
    return ordered.append_column("_query", pa.array(keys["query"].to_numpy()[kept])), num_duplicates


def is_chosen(events: pa.Table) -> np.ndarray:
    """[num_events] bool, True for the positives; without a kind all are."""
    if "_kind" not in events.column_names:
        return np.ones(events.num_rows, bool)
    return events["_kind"].to_numpy() == POSITIVE


def moments(events: pa.Table) -> np.ndarray:
    """[num_events] int64 that order what a query did: the times, and where the split is given (_split), that first.

    All of an earlier split is then before an event, whatever its time, as it is before the model that is tested.
    """
    times = events["timestamp_us"].to_numpy()
    if "_split" not in events.column_names:
        return times
    return (events["_split"].to_numpy().astype(np.int64) << _BITS_OF_TIME) + times


def chosen_times(events: pa.Table) -> np.ndarray:
    """[num_positives] int64 microseconds."""
    return events["timestamp_us"].to_numpy()[is_chosen(events)]


def count_earlier(query: np.ndarray) -> np.ndarray:
    """[num_events] int64: how many events of the same query lie before each, whatever their time.

    Args:
        query: [num_events] int, ascending.
    """
    return np.arange(len(query)) - np.searchsorted(query, query)


def find_history(query: np.ndarray, timestamp_us: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The last `length` events of the same query strictly before each event; events of one time do not see each other.

    Args:
        query: [num_events] int, ascending.
        timestamp_us: [num_events] int64, ascending within a query.

    Returns:
        [num_events] int64 first row and [num_events] int64 end row (exclusive) of each event's history.
    """
    if not len(query):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = np.arange(len(query))
    new_query = np.concatenate([[True], query[1:] != query[:-1]])
    new_time = new_query | np.concatenate([[True], timestamp_us[1:] != timestamp_us[:-1]])
    query_start = np.maximum.accumulate(np.where(new_query, rows, 0))
    end = np.maximum.accumulate(np.where(new_time, rows, 0))
    return np.maximum(query_start, end - length), end


def find_seen(
    query: np.ndarray,
    item_row: np.ndarray,
    timestamp_us: Optional[np.ndarray],
    split: np.ndarray,
    which: int,
    masked: Optional[np.ndarray] = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, ascending, that each held-out event's query had chosen, or rated low, before it.

    Strictly before the event's time, or, in a log without time, before the split begins. Pairs of an event and a
    row take 16 bytes each while they are sorted.

    Args:
        query: [num_events] int, ascending.
        item_row: [num_events] int64 catalogue row.
        timestamp_us: [num_events] int64, ascending within a query; None: the log has no time.
        split: [num_events] TRAIN, EVAL, TEST or NEITHER.
        which: EVAL or TEST.
        masked: [num_events] bool, the events that count; None: all.

    Returns:
        [num_events_of_which] int64 number of rows, and [sum of it] int64 rows.
    """
    held_out = np.flatnonzero(split == which)
    if timestamp_us is None:
        before = np.flatnonzero(split < which)
        owner = query[before]
        starts, ends = np.searchsorted(owner, query[held_out]), np.searchsorted(owner, query[held_out], side="right")
        events = before[ranges(starts, ends)]
    else:
        starts, ends = (bounds[held_out] for bounds in find_history(query, timestamp_us, len(query)))
        events = ranges(starts, ends)
    owner = np.repeat(np.arange(len(held_out)), ends - starts)
    if masked is not None and not masked.all():
        owner, events = owner[masked[events]], events[masked[events]]
    return distinct_lists(owner, item_row[events], len(held_out))


class HeldOut(NamedTuple):
    """What the rankings of a split can be made of."""

    pairs: int
    """Held-out events; where a query has one ranking, its events of one item count once."""
    repeats: int
    """Pairs whose item the query had chosen before."""
    disliked: int
    """Pairs that are left out only since the query had rated their item low before."""
    queries: int
    without_history: int
    """Queries that had chosen nothing before their first held-out event."""


def count_held_out(
    query: np.ndarray,
    item_row: np.ndarray,
    timestamp_us: Optional[np.ndarray],
    split: np.ndarray,
    which: int,
    by_event: bool,
    mask_seen: bool = True,
) -> HeldOut:
    """Counts a split's pairs and queries, and those that have no past or too much of it.

    "Before" is as in `find_seen`, whose lists hold the items of exactly the pairs that are left out: the disliked ones,
    and with `mask_seen` the repeats. Takes 50 bytes an event.

    Args:
        by_event: one ranking per held-out event; else one per query.
        mask_seen: whether repeats are left out already, whatever the query had rated low.

    The other arguments are those of `find_seen`.
    """
    when = split.astype(np.int64) if timestamp_us is None else timestamp_us
    _, pair = np.unique(query * np.int64(item_row.max(initial=0) + 1) + item_row, return_inverse=True)
    held_out, chosen = split == which, split != NEITHER
    is_repeat, is_disliked = (
        (when > _first(pair, np.where(mask, when, _NEVER))[pair])[held_out] for mask in (chosen, ~chosen)
    )
    pair, owner, when_held_out = pair[held_out], query[held_out], when[held_out]

    def count(events: np.ndarray) -> int:
        """Pairs of some held-out events only; one with another event, too, is chosen again later."""
        if by_event:
            return int(events.sum())
        return len(np.unique(pair)) - len(np.unique(pair[~events]))

    repeats = count(is_repeat)
    disliked = count(is_repeat | is_disliked) - repeats if mask_seen else count(is_disliked)
    queries = np.unique(owner)
    begins = _first(owner, when_held_out)[queries] == _first(query[chosen], when[chosen])[queries]
    return HeldOut(count(np.ones(len(pair), bool)), repeats, disliked, len(queries), int(begins.sum()))


def _first(group: np.ndarray, when: np.ndarray) -> np.ndarray:
    """[largest group + 1] int64 the least of each group; the largest int64 for a group without any."""
    least = np.full(group.max(initial=-1) + 1, _NEVER)
    np.minimum.at(least, group, when)
    return least


def distinct_lists(owner: np.ndarray, rows: np.ndarray, num_lists: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [num_lists] and ascending values of the lists of distinct rows that the pairs (owner, row) make."""
    span = np.int64(rows.max() + 1) if len(rows) else np.int64(1)
    keys = np.unique(owner * span + rows)
    return np.bincount(keys // span, minlength=num_lists), keys % span


def ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[sum(ends - starts)] int64: starts[0], ..., ends[0] - 1, starts[1], ..."""
    lengths = ends - starts
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) - np.repeat(before - starts, lengths)


# --- Split -----------------------------------------------------------------------------------------


def split_by_time(timestamp_us: np.ndarray, cuts_us: Sequence[int]) -> np.ndarray:
    """[num_events] int8: TRAIN before the first cut, EVAL from it on, TEST from the second on."""
    return np.searchsorted(np.asarray(cuts_us), timestamp_us, side="right").astype(np.int8)


def split_by_hash(query_ids: pa.Array, item_ids: pa.Array, validation: float, test: float, seed: int) -> np.ndarray:
    """[num_events] int8 split of a log without time: a seeded hash of (query, item), the same in every run."""
    return _split_by_share(mix_hashes(hash_ids(query_ids), hash_ids(item_ids), seed), validation, test)


def split_by_group(groups: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """[num_events] int8 split of a log without time, the same for all events of a group of items.

    Args:
        groups: [num_events] uint64 hash of the group of the event's item, see `rows.hash_ids`.
        validation: share of the groups, not of the events, that is EVAL; a large group may take more than its share.
    """
    return _split_by_share(mix_hashes(groups, np.uint64(0), seed), validation, test)


def split_by_file(
    split: np.ndarray, query_ids: pa.Array, item_ids: pa.Array, validation: float, seed: int
) -> np.ndarray:
    """[num_events] int8 split of a log whose files are of one split each.

    Args:
        split: [num_events] int8, that of each event's file.
        validation: share of the TRAIN events that becomes EVAL, by the hash of `split_by_hash`; 0: none does.
    """
    drawn = split_by_hash(query_ids, item_ids, validation, 0.0, seed) == EVAL
    return np.where(drawn & (split == TRAIN), np.int8(EVAL), split)


def _split_by_share(hashes: np.ndarray, validation: float, test: float) -> np.ndarray:
    share = hashes / 2.0**64
    return np.where(share < test, TEST, np.where(share < test + validation, EVAL, TRAIN)).astype(np.int8)


# --- Exact quantiles in bounded memory -------------------------------------------------------------
# Radix selection: a time is three digits of 18 bits. Each pass counts one digit among the times that begin with
# the digits found so far, and so finds the next digit of each cut.

_BITS = _BITS_OF_TIME // 3
NUM_PASSES = 3


class Search(NamedTuple):
    """What is known of the cuts after some passes."""

    level: int = 0
    prefixes: tuple[int, int] = (0, 0)
    """The leading digits of the eval and the test cut."""
    ranks: Optional[tuple[int, int]] = None
    """Rank of each cut among the times that begin with its prefix; None before the first pass."""


Counts = tuple[np.ndarray, np.ndarray]


def count_digits(timestamp_us: np.ndarray, search: Search) -> tuple[Counts, Counts]:
    """For each cut: the next digits that occur after its prefix, and how often (at most 2^18 pairs, 4 MiB)."""
    shift = _BITS * (NUM_PASSES - 1 - search.level)
    leading = timestamp_us >> shift

    def count(prefix: int) -> Counts:
        return np.unique(leading[leading >> _BITS == prefix] & ((1 << _BITS) - 1), return_counts=True)

    of_eval, of_test = search.prefixes
    return count(of_eval), count(of_test)


def merge_digits(parts: Sequence[tuple[Counts, Counts]]) -> tuple[Counts, Counts]:
    """Adds up counts; never larger than 2 x 2^18 pairs of int64 = 8 MiB, however many times there are."""
    parts = list(parts)

    def merge(cut: int) -> Counts:
        digits = np.concatenate([np.zeros(0, np.int64), *(part[cut][0] for part in parts)])
        counts = np.concatenate([np.zeros(0, np.int64), *(part[cut][1] for part in parts)])
        unique, index = np.unique(digits, return_inverse=True)
        return unique, np.bincount(index, counts, len(unique)).astype(np.int64)

    return merge(0), merge(1)


def refine(search: Search, counts: tuple[Counts, Counts], validation: float, test: float) -> Search:
    """Takes one digit more; after the last pass the prefixes are the cuts, in microseconds."""
    if not len(counts[0][0]):  # no event at all
        return search._replace(level=search.level + 1)
    ranks = search.ranks or cut_ranks(int(counts[0][1].sum()), validation, test)

    def next_digit(cut: int) -> tuple[int, int]:
        """The prefix with one digit more, and the rank among the times that begin with it."""
        digits, number = counts[cut]
        ends = np.cumsum(number)
        at = int(np.searchsorted(ends, ranks[cut], side="right"))
        return (search.prefixes[cut] << _BITS) | int(digits[at]), ranks[cut] - int(ends[at] - number[at])

    (eval_prefix, eval_rank), (test_prefix, test_rank) = next_digit(0), next_digit(1)
    return Search(search.level + 1, (eval_prefix, test_prefix), (eval_rank, test_rank))


def cut_ranks(num_events: int, validation: float, test: float) -> tuple[int, int]:
    """Ranks (from 0, in order of time) of the first eval and the first test event, if no two times are equal."""
    num_test = max(1, round(num_events * test))
    num_validation = max(1, round(num_events * validation))
    return max(0, num_events - num_test - num_validation), max(0, num_events - num_test)
