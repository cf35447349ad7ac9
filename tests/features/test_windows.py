"""Windows of a sequence, against one event at a time."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from recsys_ssl import lists
from recsys_ssl.features.windows import cut_windows, window_batch


def draw_events(rng, num_events):
    """Queries and times in order, with many events of one time."""
    query = np.sort(rng.integers(0, rng.integers(1, 4), num_events))
    times = rng.integers(0, rng.integers(1, 60), num_events)
    return query, times[np.lexsort((times, query))]


@pytest.mark.parametrize("seed", range(40))
def test_each_event_sees_the_last_items_before_its_time_and_enough_of_them(seed):
    rng = np.random.default_rng(seed)
    query, times = draw_events(rng, int(rng.integers(1, 60)))
    length = int(rng.integers(1, 9))
    windows, events = cut_windows(query, times, length), []
    for first_item, num_items, first_event, num_events in zip(*windows[:4]):
        assert 0 <= num_items <= length
        own = range(first_event, first_event + num_events)
        assert max(windows.visible[event] for event in own) == num_items
        assert len(own) <= 4 * length
        for event in own:
            earlier = [i for i in range(len(query)) if query[i] == query[event] and times[i] < times[event]]
            visible = windows.visible[event]
            assert list(range(first_item, first_item + visible)) == earlier[len(earlier) - visible :]
            assert visible >= min(len(earlier), length // 2 + 1 if len(earlier) > length else length)
        events += own
    assert events == list(range(len(query)))


def test_by_hand():
    """Seven events one by one, of which events 3 and 4 are of one time, in windows of four items."""
    windows = cut_windows(np.zeros(8, int), np.array([0, 1, 2, 3, 3, 5, 6, 7]), 4)
    # Events 0..5 see at most five earlier ones: the first five of them fit the first window, then two more a window.
    np.testing.assert_array_equal(windows.first_event, [0, 5, 7])
    np.testing.assert_array_equal(windows.num_events, [5, 2, 1])
    np.testing.assert_array_equal(windows.first_item, [0, 2, 4])
    np.testing.assert_array_equal(windows.visible, [0, 1, 2, 3, 3, 3, 4, 3])
    np.testing.assert_array_equal(windows.num_items, [3, 4, 3])


def test_no_events_have_no_windows():
    windows = cut_windows(np.zeros(0, int), np.zeros(0, int), 4)
    assert [len(part) for part in windows] == [0] * 5


@pytest.fixture(scope="module")
def batch(make_records):
    """Three events of b and two of a, in a mixed order; item and time tell the event."""
    order = [("b", 2), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    events = [
        {
            "query_id": [query.encode()],
            "item_row": [10 * (query == "b") + place],
            "timestamp_us": [100 * (query == "b") + 7 * place],
            "sequence_position": [place],
            "example_weight": [float(place)],
            "mood": [[], [4, 5], [6]][place],
            "history": [1] * place,
        }
        for query, place in order
    ]
    return make_records({name: [event[name] for event in events] for name in events[0]})


def test_windows_hold_items_gaps_and_whole_events(batch):
    windows = window_batch(batch, 3, ("history",))
    found = {}
    for row in range(windows.num_rows):
        record = lists.record(windows, row)
        found[record["item_row"][0]] = record
    assert {first: record["item_row"] for first, record in found.items()} == {0: [0], 10: [10, 11]}
    assert {first: record["gap_us"] for first, record in found.items()} == {0: [7], 10: [7, 7]}
    assert {first: record["visible"] for first, record in found.items()} == {0: [0, 1], 10: [0, 1, 2]}
    for first, record in found.items():
        for place, serialized in enumerate(record["event"]):
            features = tf.train.Example.FromString(serialized).features.feature
            assert sorted(features) == ["example_weight", "item_row", "mood", "timestamp_us"]
            assert features["item_row"].int64_list.value == [first + place]
            assert features["mood"].int64_list.value == [[], [4, 5], [6]][place]


def test_windows_are_a_function_of_the_events_whatever_their_order(batch):
    mixed = pa.Table.from_batches([batch]).take(pa.array([3, 1, 4, 0, 2])).combine_chunks().to_batches()[0]
    once, again = (window_batch(events, 3, ("history",)) for events in (batch, mixed))
    assert once.equals(again)


def test_events_of_an_older_ingestion_are_refused(batch):
    columns = [name for name in batch.schema.names if name != "sequence_position"]
    older = pa.RecordBatch.from_pydict({name: batch.column(batch.schema.get_field_index(name)) for name in columns})
    with pytest.raises(ValueError, match=r"Received 0 of 5 records. Ingest the log again"):
        window_batch(older, 3, ("history",))
