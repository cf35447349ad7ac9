"""Ranks find what one process finds; here they are threads, and all-reduce adds up when all have come."""

import functools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from recsys_ssl.diffraction import emc
from recsys_ssl.diffraction.mpi import MpiWorkers
from recsys_ssl.diffraction.settings import EmcSettings

SETTINGS = EmcSettings(rotations=1, iterations=3, beta=0.1, beta_factor=1.0, fit_fluence=True)


class Communicator:
    """As much of mpi4py's as is used, for threads."""

    def __init__(self, size):
        self._size, self._barrier, self._given = size, threading.Barrier(size), [None] * size
        self._rank = threading.local()

    def as_rank(self, rank, work):
        self._rank.value = rank
        return work(self)

    def Get_size(self):  # noqa: N802 (as mpi4py has it)
        return self._size

    def Get_rank(self):  # noqa: N802 (as mpi4py has it)
        return self._rank.value

    def Allreduce(self, given, found, op):  # noqa: N802 (as mpi4py has it)
        assert given.flags.c_contiguous
        assert given.dtype == found.dtype
        self._given[self.Get_rank()] = given
        self._barrier.wait()
        found[...] = functools.reduce(op, self._given)
        self._barrier.wait()


@pytest.fixture
def mpi4py(monkeypatch):
    module = ModuleType("mpi4py")
    module.MPI = SimpleNamespace(MAX=np.maximum, MIN=np.minimum, SUM=np.add)
    monkeypatch.setitem(sys.modules, "mpi4py", module)


@pytest.mark.parametrize(("size", "pattern_parts"), [(1, 1), (2, 1), (4, 2)], ids=["one", "rotations", "mesh"])
def test_every_rank_finds_the_volume_of_one_process(size, pattern_parts, particle, mpi4py):
    expected = emc.reconstruct(particle.counts, particle.detector, SETTINGS)
    problem = emc.make_problem(particle.counts, particle.detector, SETTINGS)

    def run(comm):
        expect = MpiWorkers(problem, comm, pattern_parts=pattern_parts).expect
        return emc.reconstruct(particle.counts, particle.detector, SETTINGS, expect=expect)

    comm = Communicator(size)
    with ThreadPoolExecutor(size) as pool:
        ranks = list(pool.map(lambda rank: comm.as_rank(rank, run), range(size)))
    for found in ranks:
        assert np.abs(found.volume - expected.volume).max() < 1e-6 * expected.volume.max()
        np.testing.assert_array_equal(found.volume, ranks[0].volume)
        np.testing.assert_array_equal(found.rotations, expected.rotations)
        np.testing.assert_allclose(found.fluence, expected.fluence, rtol=1e-5)
        assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-6)


def test_ranks_make_a_mesh(particle):
    problem = emc.make_problem(particle.counts, particle.detector, SETTINGS)
    comm = Communicator(3)
    with pytest.raises(ValueError, match="workers must be a multiple of the parts of the patterns"):
        comm.as_rank(0, lambda of_rank: MpiWorkers(problem, of_rank, pattern_parts=2))
