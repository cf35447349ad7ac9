"""A function over a stream, chunk by chunk, in this process or in several; memory does not grow with the stream."""

from __future__ import annotations

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Optional, TypeVar

CHUNK_SIZE = 512
"""Items of a chunk where nobody says otherwise."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_chunks(
    function: Callable[[list[_Item]], _Result], items: Iterable[_Item], workers: int, size: Optional[int] = None
) -> Iterator[_Result]:
    """Applies a function to lists of items, in order, over `workers` processes; one worker is this process.

    More than one worker starts processes that import this module, so a script that asks for them must guard its own
    start with `if __name__ == "__main__"`. At most 2 * workers + 1 chunks are read ahead of the results.

    Args:
        size: items of a chunk; CHUNK_SIZE when None.

    Raises:
        ValueError: workers is not positive.
        BrokenProcessPool: a worker died; results before are sound.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1. Received: workers={workers}. Use the number of free cores.")
    items = iter(items)
    chunks = iter(lambda: list(itertools.islice(items, size or CHUNK_SIZE)), [])
    return map(function, chunks) if workers == 1 else _map_in_pool(function, chunks, workers)


def _map_in_pool(function: Callable, chunks: Iterable[list], workers: int) -> Iterator:
    # Spawned, since a fork of a process with TensorFlow's threads may hang.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        pending: deque[Future] = deque()
        for chunk in chunks:
            pending.append(pool.submit(function, chunk))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
