"""Requests that wait at the same time are computed at once, and each gets its own answer."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from recsys_ssl.serving.batching import Batcher
from recsys_ssl.serving.errors import Code, RequestError


class Model:
    """Doubles numbers, once it is let; remembers its batches."""

    def __init__(self):
        self.batches, self.may_run, self.is_running = [], threading.Event(), threading.Event()

    def __call__(self, key, payloads):
        self.is_running.set()
        assert self.may_run.wait(20)
        self.batches.append((key, list(payloads)))
        if key == "broken":
            raise ZeroDivisionError
        return [ValueError("odd") if payload % 2 else 2 * payload for payload in payloads]


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    seen = []
    found = Batcher(model, max_rows=4, max_waiting=10, observe=lambda rows, requests: seen.append((rows, requests)))
    found.seen = seen
    yield found
    model.may_run.set()
    found.close()


def occupy(batcher, model):
    """One request that the model works on while others gather."""
    first = batcher.submit("first", 2, 1, 20)
    assert model.is_running.wait(20)
    return first


def test_what_waits_goes_together_by_its_key_and_in_order(batcher, model):
    first = occupy(batcher, model)
    jobs = [("a", 4, 1), ("b", 6, 1), ("a", 8, 2), ("a", 10, 2), ("b", 12, 1)]
    futures = [batcher.submit(key, payload, rows, 20) for key, payload, rows in jobs]
    model.may_run.set()
    assert [future.result(20) for future in (first, *futures)] == [4, 8, 12, 16, 20, 24]
    # The third of the key a has no room within four rows.
    assert model.batches == [("first", [2]), ("a", [4, 8]), ("b", [6, 12]), ("a", [10])]
    assert batcher.seen == [(1, 1), (3, 2), (2, 2), (2, 1)]


def test_what_is_larger_than_a_batch_goes_alone(batcher, model):
    occupy(batcher, model)
    large, small = batcher.submit("a", 4, 9, 20), batcher.submit("a", 6, 1, 20)
    model.may_run.set()
    assert (large.result(20), small.result(20)) == (8, 12)
    assert model.batches[1:] == [("a", [4]), ("a", [6])]


def test_one_that_fails_does_not_spoil_the_others(batcher, model):
    occupy(batcher, model)
    good, odd, broken = (batcher.submit(key, payload, 1, 20) for key, payload in (("a", 4), ("a", 5), ("broken", 6)))
    model.may_run.set()
    assert good.result(20) == 8
    with pytest.raises(ValueError, match="odd"):
        odd.result(20)
    with pytest.raises(ZeroDivisionError):
        broken.result(20)
    assert batcher.submit("a", 8, 1, 20).result(20) == 16


def test_what_comes_too_late_or_is_given_up_is_not_computed(batcher, model):
    occupy(batcher, model)
    late, given_up = batcher.submit("a", 4, 1, 0.0), batcher.submit("a", 6, 1, 20)
    assert given_up.cancel()
    time.sleep(0.01)
    model.may_run.set()
    with pytest.raises(RequestError, match="longer than the server allows") as error:
        late.result(20)
    assert error.value.code is Code.DEADLINE_EXCEEDED
    with pytest.raises(CancelledError):
        given_up.result(20)
    assert batcher.submit("a", 8, 1, 20).result(20) == 16
    assert model.batches == [("first", [2]), ("a", [8])]


def test_a_queue_that_is_full_refuses(batcher, model):
    occupy(batcher, model)
    futures = [batcher.submit("a", 2 * i, 2, 20) for i in range(5)]
    with pytest.raises(RequestError, match="busy") as error:
        batcher.submit("a", 2, 1, 20)
    assert error.value.http_status == 503
    model.may_run.set()
    assert [future.result(20) for future in futures] == [0, 4, 8, 12, 16]


def test_closing_answers_what_waits_and_takes_no_more(model):
    batcher = Batcher(model)
    first = occupy(batcher, model)
    waiting = batcher.submit("a", 4, 1, 20)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    model.may_run.set()
    closing.join(20)
    assert (first.result(0), waiting.result(0)) == (4, 8)
    with pytest.raises(RequestError, match="shutting down"):
        batcher.submit("a", 2, 1, 20)
