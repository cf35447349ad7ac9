"""The E-step in processes of one machine: rotations are split, and patterns; these and the volume are shared memory.

As in the paper, each worker has a block of rotations and all patterns. In an iteration it tells the others the sums of
its rotations for each pattern, 32 bytes each, and its two volumes, 16 side^3 bytes; no responsibility leaves it. Where
there are more workers than rotations can feed, the patterns are split as well: a mesh of blocks of both. Rotations come
first, since every block of patterns computes and adds up all slices of its rotations again.

A worker that is killed costs the iteration: another takes its place, and the iteration is done again from the volume
that it began with.

References:
    Ekeberg, Engblom and Liu 2015, arXiv:1409.4256: rotations in blocks, patterns and model on every rank.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from recsys_ssl.diffraction.emc import make_mesh
from recsys_ssl.diffraction.expectation import Problem, Shard, Statistics
from recsys_ssl.diffraction.likelihood import Normalizer

# Spawned, not forked: threads of libraries in this process would leave locks that nobody opens.
_CONTEXT = multiprocessing.get_context("spawn")
_MOST_LOST = 3
"""Iterations in a row that may be lost."""
_ENDED = "ended"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NUMBERS = ("log_likelihood", "held_out_log_likelihood", "count", "held_out_count", "information")


class WorkersError(RuntimeError):
    """Workers end again and again, or fail."""


class _Shared(NamedTuple):
    """An array that processes share; `array` maps it."""

    memory: Any
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def empty(cls, dtype: str, *shape: int) -> _Shared:
        # Anonymous: nothing is left of it when the processes have ended, however they did.
        return cls(_CONTEXT.RawArray("b", max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)), dtype, shape)

    @classmethod
    def copy(cls, array: np.ndarray) -> _Shared:
        shared = cls.empty(array.dtype.str, *array.shape)
        shared.array[...] = array
        return shared

    @property
    def array(self) -> np.ndarray:
        count = int(np.prod(self.shape))
        return np.frombuffer(self.memory, self.dtype, count).reshape(self.shape)


@dataclass(frozen=True)
class _Sums:
    """A normalizer in shared memory."""

    numbers: _Shared
    """[3, num_patterns] float64."""
    best: _Shared
    """[num_patterns] int64."""

    @classmethod
    def empty(cls, num_patterns: int) -> _Sums:
        return cls(_Shared.empty("<f8", 3, num_patterns), _Shared.empty("<i8", num_patterns))

    def write(self, found: Normalizer) -> None:
        self.numbers.array[...] = found.maximum, found.annealed, found.plain
        self.best.array[...] = found.best

    def read(self) -> Normalizer:
        maximum, annealed, plain = self.numbers.array.copy()
        return Normalizer(maximum, annealed, plain, self.best.array.copy())


@dataclass(frozen=True)
class _Input:
    """What all workers read."""

    data: _Shared
    indices: _Shared
    indptr: _Shared
    num_pixels: int
    volume: _Shared
    fluence: _Shared
    sums: _Sums
    """Of all rotations."""


@dataclass(frozen=True)
class _Output:
    """What one worker writes."""

    sums: _Sums
    """Of its rotations."""
    volumes: _Shared
    """[side, side, side, 2] float64, numerator and denominator."""
    expected: _Shared
    numbers: _Shared


class Workers:
    """Processes that do the E-step; a context manager, whose `expect` is for `emc.reconstruct`."""

    def __init__(self, problem: Problem, num_workers: int, memory_bytes: int = 2**30, pattern_parts: int = 1):
        """Starts the processes.

        Args:
            problem: see `emc.make_problem`.
            num_workers: see `emc.make_mesh`.
            memory_bytes: of each, see `expectation.Shard`.
            pattern_parts: see `emc.make_mesh`.

        Raises:
            ValueError: see `emc.make_mesh`.
        """
        self._blocks = make_mesh(problem, num_workers, pattern_parts)
        counts, num_patterns, side = problem.counts, problem.num_patterns, problem.side
        self._input = _Input(
            data=_Shared.copy(counts.data),
            indices=_Shared.copy(counts.indices),
            indptr=_Shared.copy(counts.indptr),
            num_pixels=counts.shape[1],
            volume=_Shared.empty("<f8", side, side, side),
            fluence=_Shared.empty("<f8", num_patterns),
            sums=_Sums.empty(num_patterns),
        )
        self._outputs = [
            _Output(
                _Sums.empty(num_patterns),
                _Shared.empty("<f8", side, side, side, 2),
                _Shared.empty("<f8", num_patterns),
                _Shared.empty("<f8", len(_NUMBERS)),
            )
            for _ in range(num_workers)
        ]
        self._volumes = np.zeros((side, side, side, 2))
        self._problem = replace(problem, counts=sp.csr_matrix(counts.shape))  # which workers find in shared memory
        self._memory_bytes = memory_bytes
        self._processes: list[Any] = [None] * num_workers
        self._pipes: list[Any] = [None] * num_workers
        for place in range(num_workers):
            self._start(place)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_ids(self) -> list[int]:
        """Of the workers, by their rotations, and those of the next patterns after them."""
        return [process.pid for process in self._processes]

    def expect(self, volume: np.ndarray, fluence: np.ndarray, beta: float) -> tuple[Statistics, Normalizer]:
        """See `emc.Expect`; the next call overwrites the volumes of the statistics.

        Raises:
            WorkersError: a worker fails, or some end in several iterations in a row.
        """
        self._input.volume.array[...] = volume
        self._input.fluence.array[...] = fluence
        for _ in range(_MOST_LOST):
            lost = self._ask("score", beta)
            if not lost:
                parts = (output.sums.read() for output in self._outputs)
                sums = functools.reduce(lambda left, right: left.merge(right, beta), parts)
                self._input.sums.write(sums)
                lost = self._ask("accumulate", beta)
                if not lost:
                    return _add_up(self._outputs, self._volumes), sums
            for place in lost:
                self._end(place)
                self._start(place)
        raise WorkersError(
            f"workers must live through an iteration. Received: {_MOST_LOST} in a row in which one ended. "
            "Is there enough memory? Take fewer --workers."
        )

    def close(self) -> None:
        """Ends the processes."""
        for place in range(len(self._processes)):
            self._end(place)

    def _start(self, place: int) -> None:
        self._pipes[place], theirs = _CONTEXT.Pipe()
        arguments = (theirs, self._problem, self._blocks[place], self._memory_bytes, self._input, self._outputs[place])
        self._processes[place] = _CONTEXT.Process(target=_work, args=arguments, daemon=True)
        with _one_thread():
            self._processes[place].start()
        theirs.close()

    def _end(self, place: int) -> None:
        self._pipes[place].close()
        self._processes[place].kill()  # it holds nothing that would have to be put away
        self._processes[place].join()

    def _ask(self, what: str, beta: float) -> list[int]:
        """Lets all workers do something and waits for all; those that ended meanwhile.

        Raises:
            WorkersError: one could not do it.
        """
        replies: list[Any] = []
        for pipe in self._pipes:
            with contextlib.suppress(BrokenPipeError):  # one that has ended has nothing to say below either
                pipe.send((what, beta))
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            connection.wait([pipe, process.sentinel])
            try:
                replies.append(pipe.recv() if pipe.poll() else _ENDED)
            except (EOFError, ConnectionResetError):
                replies.append(_ENDED)
        failures = [reply for reply in replies if reply not in (None, _ENDED)]
        if failures:
            raise WorkersError(f"a worker failed: {failures[0]}")
        return [place for place, reply in enumerate(replies) if reply == _ENDED]


def _add_up(outputs: Sequence[_Output], volumes: np.ndarray) -> Statistics:
    """The statistics of all workers, whose volumes are added up in `volumes`."""
    first, *rest = (output.volumes.array for output in outputs)
    np.copyto(volumes, first)
    for other in rest:
        volumes += other
    numbers = np.sum([output.numbers.array for output in outputs], axis=0).tolist()
    expected = np.sum([output.expected.array for output in outputs], axis=0)
    return Statistics(volumes[..., 0], volumes[..., 1], expected, **dict(zip(_NUMBERS, numbers, strict=True)))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started meanwhile give their libraries one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(pipe, problem: Problem, block: tuple[range, range], memory_bytes: int, given: _Input, output: _Output):
    """The life of a worker: it ends when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
    arrays = (given.data.array, given.indices.array, given.indptr.array)
    counts = sp.csr_matrix(arrays, shape=(problem.num_patterns, given.num_pixels), copy=False)
    shard = Shard(replace(problem, counts=counts), *block, memory_bytes)
    while True:
        try:
            what, beta = pipe.recv()
        except EOFError:
            return
        try:
            if what == "score":
                output.sums.write(shard.score(given.volume.array, given.fluence.array, beta))
            else:
                # In place: memory that is new in each iteration costs as much as what is done with it.
                found = shard.accumulate(given.sums.read(), output.volumes.array)
                output.expected.array[...] = found.expected
                output.numbers.array[...] = [getattr(found, name) for name in _NUMBERS]
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")
        else:
            pipe.send(None)
