"""A function over a stream: order, the end of the stream, and how far ahead of the results it is read."""

import pytest

from recsys_ssl.encoders.chunks import map_chunks


@pytest.mark.parametrize("size", [1, 3, 100])
def test_chunks_keep_the_order_and_lose_nothing(size):
    chunks = list(map_chunks(list, iter(range(7)), 1, size))
    assert chunks == [list(range(i, min(i + size, 7))) for i in range(0, 7, size)]


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (2, 2 * 2 + 1)])
def test_a_stream_is_read_a_few_chunks_ahead_only(workers, ahead):
    taken = []
    stream = (taken.append(i) or i for i in range(60))
    results = map_chunks(sum, stream, workers, size=2)
    for number, total in enumerate(results):
        assert total == 4 * number + 1
        assert len(taken) <= 2 * (number + ahead)
    assert number == 29


def test_there_must_be_a_worker():
    with pytest.raises(ValueError, match="workers must be at least 1. Received: workers=0"):
        map_chunks(list, [], 0)
