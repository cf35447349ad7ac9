"""Processes that share the rotations give what one does, also when one of them is killed."""

import os
import signal

import numpy as np
import pytest

from recsys_ssl.diffraction import emc, workers
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.workers import Workers, WorkersError

SETTINGS = EmcSettings(rotations=1, iterations=5, fit_fluence=True, dtype="float64", beta_every=1)


def alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_worker_costs_an_iteration_and_changes_nothing(particle):
    expected = emc.reconstruct(particle.counts, particle.detector, SETTINGS)
    seen = []
    with Workers(emc.make_problem(particle.counts, particle.detector, SETTINGS), 2) as pool:

        def kill(row):
            seen.append(pool.process_ids)
            if row["iteration"] == 2:
                os.kill(pool.process_ids[1], signal.SIGKILL)

        found = emc.reconstruct(particle.counts, particle.detector, SETTINGS, expect=pool.expect, progress=kill)
    np.testing.assert_allclose(found.volume, expected.volume, rtol=1e-9)
    np.testing.assert_allclose(found.fluence, expected.fluence, rtol=1e-9)
    np.testing.assert_array_equal(found.rotations, expected.rotations)
    for name in ("log_likelihood", "held_out_log_likelihood", "information"):
        of_rows = [[row[name] for row in run.history] for run in (found, expected)]
        np.testing.assert_allclose(of_rows[0], of_rows[1], rtol=1e-9)
    # The other worker went on; nobody is left at the end.
    assert {ids[0] for ids in seen} == {seen[0][0]}
    assert [ids[1] == seen[0][1] for ids in seen] == [True, True, False, False, False]
    assert not any(alive(process_id) for ids in seen for process_id in ids)


@pytest.mark.parametrize(("num", "pattern_parts"), [(2, 2), (4, 2)], ids=["patterns", "mesh"])
def test_workers_that_share_patterns_find_the_same_volume(num, pattern_parts, particle):
    """In float32, as they come: to 1e-6, also after some iterations."""
    settings = EmcSettings(rotations=1, iterations=4, beta=0.1, beta_factor=1.0)
    expected = emc.reconstruct(particle.counts, particle.detector, settings)
    problem = emc.make_problem(particle.counts, particle.detector, settings)
    with Workers(problem, num, pattern_parts=pattern_parts) as pool:
        found = emc.reconstruct(particle.counts, particle.detector, settings, expect=pool.expect)
    assert np.abs(found.volume - expected.volume).max() < 1e-6 * expected.volume.max()
    np.testing.assert_array_equal(found.rotations, expected.rotations)


@pytest.mark.parametrize(("num", "pattern_parts"), [(3, 2), (2, 0), (301, 301)])
def test_workers_make_a_mesh(num, pattern_parts, particle):
    problem = emc.make_problem(particle.counts, particle.detector, SETTINGS)
    with pytest.raises(ValueError, match="workers must be a multiple of the parts of the patterns"):
        Workers(problem, num, pattern_parts=pattern_parts)


def test_a_failure_within_a_worker_is_told(particle):
    problem = emc.make_problem(particle.counts, particle.detector, SETTINGS)
    with Workers(problem, 1) as pool:
        with pytest.raises(WorkersError, match="a worker failed: ValueError: a volume must be finite"):
            pool.expect(np.zeros((problem.side,) * 3), np.ones(300), 1.0)
        statistics, _ = pool.expect(particle.volume, np.ones(300), 1.0)  # it lives on
        assert statistics.count == pytest.approx(270)


def test_workers_that_end_again_and_again_are_an_error(particle, monkeypatch):
    problem = emc.make_problem(particle.counts, particle.detector, SETTINGS)
    monkeypatch.setattr(workers, "_work", _end)
    monkeypatch.setattr(workers, "_MOST_LOST", 1)
    with (
        Workers(problem, 1) as pool,
        pytest.raises(WorkersError, match="workers must live through an iteration. Received: 1 in a row"),
    ):
        pool.expect(particle.volume, np.ones(300), 1.0)


def _end(*_):
    """The life of a worker that has none."""
    os._exit(9)


@pytest.mark.parametrize("num", [0, 16])
def test_each_worker_needs_a_slice(num, particle):
    problem = emc.make_problem(particle.counts, particle.detector, SETTINGS)
    with pytest.raises(ValueError, match=f"workers must be from 1 to 15, the slices of the grid. Received: {num}"):
        Workers(problem, num)
