"""The E-step over MPI: every rank runs the same reconstruction on its own block of rotations and patterns.

As in the paper, a rank tells the others the largest score of its rotations for each pattern, what the responsibilities
add up to, and its two volumes; each by one all-reduce. Every rank has the patterns and the volume, and finds the same
next one, so that the reconstruction itself needs no word of it:

    from mpi4py import MPI
    problem = emc.make_problem(counts, detector, settings)
    found = emc.reconstruct(counts, detector, settings, expect=MpiWorkers(problem, MPI.COMM_WORLD).expect)

run by `mpirun -n 100 python script.py`. Give a checkpoint to rank 0 only where all begin without one. A rank that ends
ends the run, as MPI has it. mpi4py is not among this package's requirements: it comes with the cluster's MPI.

References:
    Ekeberg, Engblom and Liu 2015, arXiv:1409.4256: rotations in blocks, patterns and model on every rank.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from recsys_ssl.diffraction.emc import make_mesh
from recsys_ssl.diffraction.expectation import Problem, Shard, Statistics
from recsys_ssl.diffraction.likelihood import Normalizer

_NONE = np.iinfo(np.int64).max
_ARRAYS = ("numerator", "denominator", "expected")
_NUMBERS = tuple(field.name for field in fields(Statistics) if field.name not in _ARRAYS)


class MpiWorkers:
    """This rank's part in the E-step; `expect` is for `emc.reconstruct`, which every rank calls alike."""

    def __init__(self, problem: Problem, comm: Any, memory_bytes: int = 2**30, pattern_parts: int = 1):
        """Prepares the patterns of this rank.

        Args:
            problem: see `emc.make_problem`.
            comm: a communicator of mpi4py; its ranks are the workers.
            memory_bytes: of each, see `expectation.Shard`.
            pattern_parts: see `emc.make_mesh`.

        Raises:
            ValueError: see `emc.make_mesh`.
        """
        self._comm = comm
        slices, patterns = make_mesh(problem, comm.Get_size(), pattern_parts)[comm.Get_rank()]
        self._shard = Shard(problem, slices, patterns, memory_bytes)

    def expect(self, volume: np.ndarray, fluence: np.ndarray, beta: float) -> tuple[Statistics, Normalizer]:
        """See `emc.Expect`."""
        from mpi4py import MPI

        own = self._shard.score(volume, fluence, beta)
        maximum = self._reduce(own.maximum, MPI.MAX)
        # Of patterns of other ranks there is no score; the difference would be minus infinity, and its power 0.
        below = own.maximum - maximum
        annealed, plain = self._reduce(
            np.stack([own.annealed * np.exp(beta * below), own.plain * np.exp(below)]), MPI.SUM
        )
        # Of two rotations that are as good, the first, as one process has it.
        best = self._reduce(np.where(own.maximum == maximum, own.best, _NONE), MPI.MIN)
        normalizer = Normalizer(maximum, annealed, plain, best)
        found = self._shard.accumulate(normalizer)
        numbers = self._reduce(np.array([getattr(found, name) for name in _NUMBERS]), MPI.SUM)
        numerator, denominator, expected = (self._reduce(getattr(found, name), MPI.SUM) for name in _ARRAYS)
        named = dict(zip(_NUMBERS, numbers.tolist(), strict=True))
        return Statistics(numerator, denominator, expected, **named), normalizer

    def _reduce(self, values: np.ndarray, operation: Any) -> np.ndarray:
        """What an operation makes of the arrays of all ranks."""
        values = np.ascontiguousarray(values)
        found = np.empty_like(values)
        self._comm.Allreduce(values, found, op=operation)
        return found
