"""Vectorised order, history, seen rows and cut times against slow loops over plain Python lists."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_ssl.logs import timeline
from recsys_ssl.logs.rows import hash_ids
from recsys_ssl.logs.timeline import EVAL, NEITHER, TEST, TRAIN

# (query, item, time): few values, so that duplicates and equal times are common.
EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 6)), max_size=40)


def weights_of(num_events):
    return [float(line * 7 % 5) for line in range(num_events)]


def to_table(events):
    query, item, time = (list(column) for column in zip(*events)) if events else ([], [], [])
    return pa.table(
        {
            "query_id": pa.array([f"q{value}" for value in query], pa.large_string()),
            "item_row": pa.array(item, pa.int64()),
            "timestamp_us": pa.array(time, pa.int64()),
            "example_weight": pa.array(weights_of(len(query)), pa.float32()),
            "_file": pa.array([0] * len(query), pa.int32()),
            "_line": pa.array(range(len(query)), pa.int64()),
        }
    )


def to_tuples(table):
    columns = (table[name].to_pylist() for name in ("_query", "item_row", "timestamp_us", "_line"))
    return list(zip(*columns))


def slow_order(events, deduplicate):
    queries = sorted({query for query, _, _ in events})
    kept, seen = [], set()
    for query, time, line, item in sorted((q, t, line, i) for line, (q, i, t) in enumerate(events)):
        key = (query, item) if deduplicate == "pair" else (query, item, time)
        if key not in seen:
            seen.add(key)
            kept.append((queries.index(query), item, time, line))
    return kept


@pytest.mark.parametrize("deduplicate", ["event", "pair"])
@settings(max_examples=60, deadline=None)
@given(events=EVENTS)
def test_order_and_duplicates_equal_the_slow_loop(deduplicate, events):
    ordered, duplicates = timeline.order_events(to_table(events), deduplicate)
    assert to_tuples(ordered) == slow_order(events, deduplicate)
    assert duplicates + ordered.num_rows == len(events)
    keys = [event[:2] if deduplicate == "pair" else event for event in events]
    weights = weights_of(len(events))
    of_key = {key: max(weight for other, weight in zip(keys, weights) if other == key) for key in keys}
    assert ordered["example_weight"].to_pylist() == [of_key[keys[line]] for *_, line in to_tuples(ordered)]


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, length=st.integers(1, 5))
def test_history_equals_the_slow_loop_and_never_holds_the_present_or_future(events, length):
    ordered, _ = timeline.order_events(to_table(events), "event")
    rows = to_tuples(ordered)
    starts, ends = timeline.find_history(ordered["_query"].to_numpy(), ordered["timestamp_us"].to_numpy(), length)
    for at, (query, _, time, _) in enumerate(rows):
        past = [i for i, row in enumerate(rows) if row[0] == query and row[2] < time]
        assert list(range(starts[at], ends[at])) == past[-length:]


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, data=st.data())
def test_seen_rows_equal_the_slow_loop(events, data):
    ordered, _ = timeline.order_events(to_table(events), "event")
    rows = to_tuples(ordered)
    split = np.array(data.draw(st.lists(st.sampled_from([TRAIN, EVAL, TEST]), min_size=len(rows), max_size=len(rows))))
    split = split.astype(np.int8)
    for which in (EVAL, TEST):
        query, item, times = (ordered[name].to_numpy() for name in ("_query", "item_row", "timestamp_us"))
        held_out = [row for row, s in zip(rows, split) if s == which]
        before_split = [sorted({r[1] for r, s in zip(rows, split) if s < which and r[0] == h[0]}) for h in held_out]
        before_event = [sorted({r[1] for r in rows if r[0] == h[0] and r[2] < h[2]}) for h in held_out]
        for known_times, expected in ((None, before_split), (times, before_event)):
            lengths, seen = timeline.find_seen(query, item, known_times, split, which)
            parts = np.split(seen, np.cumsum(lengths))[:-1] if len(lengths) else []
            assert [part.tolist() for part in parts] == expected


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, data=st.data())
def test_counts_of_held_out_pairs_and_queries_equal_the_slow_loop(events, data):
    ordered, _ = timeline.order_events(to_table(events), "event")
    rows = to_tuples(ordered)
    splits = st.sampled_from([NEITHER, TRAIN, EVAL, TEST])
    split = data.draw(st.lists(splits, min_size=len(rows), max_size=len(rows)))
    columns = [ordered[name].to_numpy() for name in ("_query", "item_row")]
    for times in (None, ordered["timestamp_us"].to_numpy()):
        when = split if times is None else times.tolist()
        for which in (EVAL, TEST):
            held_out = [(*row[:2], w) for row, w, s in zip(rows, when, split) if s == which]
            every = [(*row[:2], w) for row, w, s in zip(rows, when, split) if s != NEITHER]
            low = [(*row[:2], w) for row, w, s in zip(rows, when, split) if s == NEITHER]
            is_repeat, is_disliked = (
                [any(e[:2] == h[:2] and e[2] < h[2] for e in found) for h in held_out] for found in (every, low)
            )
            is_out = [repeat or disliked for repeat, disliked in zip(is_repeat, is_disliked)]
            queries = {query for query, _, _ in held_out}
            starts = {query: min(w for q, _, w in held_out if q == query) for query in queries}
            strangers = [query for query in queries if not any(q == query and w < starts[query] for q, _, w in every)]

            arguments = (*columns, times, np.array(split, np.int8), which)
            num_queries = (len(queries), len(strangers))
            for mask_seen in (True, False):
                low_alone = sum(is_out) - sum(is_repeat) if mask_seen else sum(is_disliked)
                expected = (len(held_out), sum(is_repeat), low_alone, *num_queries)
                assert timeline.count_held_out(*arguments, by_event=True, mask_seen=mask_seen) == expected
                pairs = {h[:2] for h in held_out}
                repeats, disliked, out = (
                    len(pairs - {h[:2] for h, of in zip(held_out, mask) if not of})
                    for mask in (is_repeat, is_disliked, is_out)
                )
                by_query = (len(pairs), repeats, out - repeats if mask_seen else disliked, *num_queries)
                assert timeline.count_held_out(*arguments, by_event=False, mask_seen=mask_seen) == by_query

            # What the lists of seen rows say.
            lengths, seen = timeline.find_seen(*arguments)
            lists = np.split(seen, np.cumsum(lengths)[:-1])
            assert is_out == [item in part for (_, item, _), part in zip(held_out, lists)]


def test_ranges():
    assert timeline.ranges(np.array([3, 5, 0]), np.array([5, 5, 2])).tolist() == [3, 4, 0, 1]


# --- Cut times -------------------------------------------------------------------------------------


def find_cuts(batches, validation, test):
    search = timeline.Search()
    for _ in range(timeline.NUM_PASSES):
        parts = [timeline.count_digits(np.array(batch, np.int64), search) for batch in batches]
        halves = [timeline.merge_digits(parts[::2]), timeline.merge_digits(parts[1::2])]
        search = timeline.refine(search, timeline.merge_digits(halves), validation, test)
    return search


@settings(max_examples=80, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.integers(0, 4_102_444_800_000_000) | st.integers(0, 3), max_size=30), min_size=1, max_size=5
    ),
    validation=st.floats(0.01, 0.49),
    test=st.floats(0.01, 0.49),
)
def test_cut_times_are_exact_quantiles(batches, validation, test):
    times = sorted(time for batch in batches for time in batch)
    search = find_cuts(batches, validation, test)
    if not times:
        assert search.ranks is None
        return
    num_test, num_validation = max(1, round(len(times) * test)), max(1, round(len(times) * validation))
    first_test, first_eval = len(times) - num_test, max(0, len(times) - num_test - num_validation)
    assert search.prefixes == (times[first_eval], times[first_test])


def test_events_at_a_cut_time_all_go_to_the_later_split():
    times = np.array([1, 2, 3, 4, 5, 6, 7, 7, 7, 9])
    cuts = find_cuts([times.tolist()], 0.2, 0.2).prefixes
    assert cuts == (7, 7)  # ranks 6 and 8 are both 7
    split = timeline.split_by_time(times, cuts)
    assert split.tolist() == [TRAIN] * 6 + [TEST] * 4


def test_a_split_by_group_keeps_groups_together_in_the_shares_of_the_spec():
    groups = hash_ids(pa.array([f"g{n % 5000}" for n in range(20_000)], pa.large_string()))
    split = timeline.split_by_group(groups, 0.1, 0.2, seed=1)
    np.testing.assert_array_equal(split.reshape(4, 5000), np.tile(split[:5000], [4, 1]))
    assert abs((split[:5000] == EVAL).mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 5000)
    assert abs((split[:5000] == TEST).mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 5000)
    assert (timeline.split_by_group(groups, 0.1, 0.2, seed=2) != split).mean() > 0.2


def test_random_split_is_the_hash_of_the_pair_in_the_shares_of_the_spec():
    queries = pa.array([f"q{n % 100}" for n in range(20_000)], pa.large_string())
    items = pa.array([f"i{n // 100}" for n in range(20_000)], pa.large_string())
    split = timeline.split_by_hash(queries, items, 0.1, 0.2, seed=1)
    assert abs((split == EVAL).mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 20_000)
    assert abs((split == TEST).mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 20_000)
    order = np.random.default_rng(0).permutation(20_000)
    moved = timeline.split_by_hash(queries.take(pa.array(order)), items.take(pa.array(order)), 0.1, 0.2, seed=1)
    assert (moved == split[order]).all()
    assert (timeline.split_by_hash(queries, items, 0.1, 0.2, seed=2) != split).mean() > 0.2


def test_earlier_events_of_a_query_are_counted_whatever_their_time():
    assert timeline.count_earlier(np.array([3, 3, 3, 5, 9, 9])).tolist() == [0, 1, 2, 0, 0, 1]
    assert timeline.count_earlier(np.zeros(0, np.int64)).tolist() == []
