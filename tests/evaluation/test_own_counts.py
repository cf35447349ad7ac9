"""Counts of what queries chose, batch by batch."""

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.evaluation import own_counts
from recsys_ssl.evaluation.own_counts import count_own
from tests.evaluation.made_arms import NUM_ITEMS, make_task


def batch(*events):
    ids, rows = zip(*events)
    return pa.array(ids, pa.large_binary()), np.array(rows, np.int64)


@pytest.mark.parametrize("at_a_time", [1, 3, 2**20])
def test_events_of_the_tasks_queries_are_counted_and_others_passed_over(at_a_time, monkeypatch):
    monkeypatch.setattr(own_counts, "_EVENTS", at_a_time)
    task = make_task(6, per_query=2)  # q0, q1, q2
    batches = [
        batch((b"q0", 5), (b"stranger", 5), (b"q0", 5), (b"q2", 399)),
        batch((b"q2", 0)),
        batch((b"q0", 5), (b"q0", 6), (b"\xff", 3)),
    ]
    counts = count_own(task, batches)
    expected = np.zeros((3, NUM_ITEMS))
    expected[0, [5, 6]], expected[2, [0, 399]] = [3, 1], 1
    np.testing.assert_array_equal(counts.toarray(), expected)
    assert counts.nnz == 4


def test_ids_that_are_no_text_are_those_of_the_task():
    task = make_task(2)
    task.query_ids[:] = ["\\xff", "b"]  # as the task writes the bytes b"\xff"
    counts = count_own(task, [batch((b"\xff", 1), (b"b", 2))])
    assert [row.indices.tolist() for row in counts] == [[1], [2]]


def test_no_event_is_no_count():
    assert count_own(make_task(4), []).nnz == 0


def test_a_row_outside_the_catalogue_is_an_error():
    with pytest.raises(ValueError, match=rf"item_row must lie in 0..{NUM_ITEMS - 1}.*Received -1..3"):
        count_own(make_task(4), [batch((b"q0", 3), (b"q1", -1))])
