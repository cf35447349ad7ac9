"""The E-step as a Beam job gives what one shard in memory gives, whatever the number of blocks."""

from dataclasses import fields

import numpy as np
import pytest

from pipelines.stages.diffraction import BeamWorkers
from recsys_ssl.diffraction import emc, simulate
from recsys_ssl.diffraction.geometry import make_detector
from recsys_ssl.diffraction.settings import EmcSettings

SETTINGS = EmcSettings(rotations=1, iterations=3, beta=0.1, beta_factor=1.0, fit_fluence=True)


@pytest.fixture(scope="module")
def made():
    """60 patterns, fluences differ, on a detector for the 60 rotations of n = 1."""
    detector = make_detector(30.0, 1000.0, 6.2, 9, stop_radius_pixels=1.2)
    volume = simulate.intensity(simulate.draw_blobs(5, seed=1), detector.side, per_voxel=0.25)
    return simulate.draw_patterns(volume, detector, 60, 300, seed=1, fluence_shape=4.0), detector


@pytest.fixture(scope="module")
def problem(made):
    patterns, detector = made
    return emc.make_problem(patterns.counts, detector, SETTINGS)


@pytest.mark.parametrize("num_blocks", [1, 2, 4])
def test_blocks_of_patterns_give_the_volume_of_one_shard(num_blocks, made, problem, tmp_path):
    patterns, detector = made
    expected = emc.reconstruct(patterns.counts, detector, SETTINGS)
    directory = tmp_path / "job"
    with BeamWorkers(problem, str(directory), num_blocks) as job:
        found = emc.reconstruct(patterns.counts, detector, SETTINGS, expect=job.expect)
        assert len(list(directory.glob("patterns-*.npz"))) == num_blocks
    assert np.abs(found.volume - expected.volume).max() < 1e-6 * expected.volume.max()
    np.testing.assert_allclose(found.fluence, expected.fluence, rtol=1e-5)
    np.testing.assert_array_equal(found.rotations, expected.rotations)
    assert not directory.exists()


def test_statistics_of_a_job_are_those_of_memory(problem, tmp_path):
    volume, fluence = emc.start_volume(problem, 0.1, 0, 0), np.linspace(0.5, 1.5, 60)
    whole, of_whole = emc.expect_on(emc.make_shards(problem), volume, fluence, 0.2)
    with BeamWorkers(problem, str(tmp_path / "job"), 3) as job:
        found, normalizer = job.expect(volume, fluence, 0.2)
    for field in fields(whole):
        np.testing.assert_allclose(getattr(found, field.name), getattr(whole, field.name), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(normalizer.best, of_whole.best)


def test_blocks_that_cannot_be_are_refused(problem, made, tmp_path):
    with pytest.raises(ValueError, match="parts of the patterns must be from 1 to 60. Received: 61"):
        BeamWorkers(problem, str(tmp_path), 61)
    equal = emc.make_problem(made[0].counts, made[1], EmcSettings(rotations=1, slice_weights="equal"))
    with pytest.raises(ValueError, match="slices of equal weight need all patterns at once"):
        BeamWorkers(equal, str(tmp_path), 2)
