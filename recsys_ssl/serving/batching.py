"""Dynamic batching: requests that wait for the model at the same time go through it together.

No request waits for others to come: a free worker takes what is there, the oldest first and with it what has the same
key. While a batch is computed the next gathers, so that batches grow with the load.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from recsys_ssl.serving.errors import Code, RequestError

Run = Callable[[Any, Sequence[Any]], Sequence[Any]]


@dataclass
class _Job:
    key: Hashable
    payload: Any
    rows: int
    deadline: float
    future: Future = field(default_factory=Future)


class Batcher:
    """Workers that take payloads off a queue in batches; threads share it."""

    def __init__(
        self,
        run: Run,
        max_rows: int = 64,
        max_waiting: int = 4096,
        num_workers: int = 1,
        observe: Callable[[int, int], None] = lambda rows, requests: None,
    ):
        """Args:
        run: a key and payloads that have it -> a result for each, or an exception in its place.
        max_rows: of a batch; a payload of more goes alone.
        max_waiting: rows on the queue; beyond, `submit` refuses.
        observe: told rows and payloads of each batch.
        """
        self._run, self._observe = run, observe
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._is_open = True
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(num_workers)]
        for worker in self._workers:
            worker.start()

    def submit(self, key: Hashable, payload: Any, rows: int, timeout_s: float) -> Future:
        """The future result of a payload.

        Raises:
            RequestError: too much waits already, or the batcher is closed.
        """
        job = _Job(key, payload, rows, time.monotonic() + timeout_s)
        with self._changed:
            if not self._is_open:
                raise RequestError(Code.UNAVAILABLE, "the server is shutting down. Send the request to another.")
            if self._waiting and self._waiting + rows > self._max_waiting:
                raise RequestError(Code.UNAVAILABLE, "the server is busy. Send the request again in a second.")
            self._jobs.append(job)
            self._waiting += rows
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Ends the workers when all that waits is answered."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while batch := self._take():
            self._answer(batch)

    def _take(self) -> list[_Job]:
        """The next batch; nothing when the batcher is closed and the queue is empty."""
        with self._changed:
            while not self._jobs:
                if not self._is_open:
                    return []
                self._changed.wait()
            first = self._jobs.popleft()
            batch, rows, others = [first], first.rows, []
            while self._jobs and rows < self._max_rows:
                job = self._jobs.popleft()
                if job.key == first.key and rows + job.rows <= self._max_rows:
                    batch.append(job)
                    rows += job.rows
                else:
                    others.append(job)
            self._jobs.extendleft(reversed(others))
            self._waiting -= rows
        return batch

    def _answer(self, batch: list[_Job]) -> None:
        now, jobs = time.monotonic(), []
        for job in batch:
            if not job.future.set_running_or_notify_cancel():  # nobody waits for it any more
                continue
            if job.deadline < now:
                job.future.set_exception(late())
            else:
                jobs.append(job)
        if not jobs:
            return
        self._observe(sum(job.rows for job in jobs), len(jobs))
        try:
            results = self._run(jobs[0].key, [job.payload for job in jobs])
        except Exception as error:
            results = [error] * len(jobs)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)


def late() -> RequestError:
    return RequestError(Code.DEADLINE_EXCEEDED, "the answer takes longer than the server allows. Ask for less at once.")
