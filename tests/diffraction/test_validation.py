"""Measures of a reconstruction on volumes and orientations whose differences are known."""

import numpy as np
import pytest

from recsys_ssl.diffraction import emc, rotations, validation
from recsys_ssl.diffraction.rotations import HALF_TURNS, angles_degrees, multiply
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.slices import radii_of, shells_of

RADII = range(3, 10)
TURN = rotations.draw_rotations(1, np.random.default_rng(2))[0]


def test_correlations_are_those_of_the_voxels_of_each_shell(particle):
    rng = np.random.default_rng(0)
    other = particle.volume * rng.uniform(0.5, 1.5, particle.volume.shape)
    found = validation.shell_correlations(other, particle.volume, [2, 5])
    for value, radius in zip(found, [2, 5], strict=True):
        inside = shells_of(len(other)).reshape(other.shape) == radius
        assert value == pytest.approx(np.corrcoef(other[inside], particle.volume[inside])[0, 1])
    np.testing.assert_allclose(validation.shell_correlations(-3 * other + 1, other, RADII), -1.0)


def test_a_constant_shell_has_no_correlation(particle):
    flat = np.rint(radii_of(len(particle.volume)))
    assert np.isnan(validation.shell_correlations(flat, particle.volume, [4])).all()
    with pytest.raises(ValueError, match="volumes must be of one size"):
        validation.shell_correlations(flat[1:-1, 1:-1, 1:-1], particle.volume, [4])


def test_a_rotated_volume_is_aligned_with_the_one_before(particle):
    turned = validation.rotate(particle.volume, TURN)
    found = validation.align(turned, particle.volume, RADII)
    assert found.correlation > 0.97  # two interpolations
    assert angles_degrees(multiply(TURN, found.quaternion), HALF_TURNS[0]) < 1.0
    back = validation.rotate(turned, found.quaternion)
    assert validation.shell_correlations(back, particle.volume, RADII).min() > 0.95
    assert validation.shell_correlations(turned, particle.volume, RADII).mean() < 0.7


def test_spheres_of_a_rotated_volume_correlate_by_what_interpolation_leaves(particle):
    turned = validation.rotate(particle.volume, TURN)
    there = validation.sphere_correlations(turned, particle.volume, RADII, rotations.invert(TURN))
    assert there.min() > 0.95
    same = validation.sphere_correlations(3 * particle.volume + 1, particle.volume, RADII, HALF_TURNS[0])
    np.testing.assert_allclose(same, 1.0)
    flat = np.ones_like(turned)
    assert np.isnan(validation.sphere_correlations(flat, particle.volume, RADII, HALF_TURNS[0])).all()
    # The points of a sphere stand for the same area each: linear functions have mean 0, squares a third.
    points = validation.spread_points(2000)
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose((points**2).mean(axis=0), 1 / 3, atol=1e-3)


def test_a_turn_by_nothing_changes_nothing(particle):
    inside = radii_of(len(particle.volume)) < (len(particle.volume) - 1) / 2
    found = validation.rotate(particle.volume, HALF_TURNS[0])
    np.testing.assert_allclose(found[inside], particle.volume[inside], rtol=1e-12)
    assert (found[~inside] == 0).all()


def test_orientations_are_compared_in_one_frame_up_to_half_turns_in_the_plane():
    rng = np.random.default_rng(3)
    truth = rotations.draw_rotations(80, rng)
    small = np.radians(4.0) / 2
    axes = rng.standard_normal((80, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    noise = np.concatenate([np.full((80, 1), np.cos(small)), np.sin(small) * axes], axis=1)
    found = multiply(multiply(TURN, truth), noise)
    found[::3] = multiply(found[::3], HALF_TURNS[3])
    found[:8] = rotations.draw_rotations(8, rng)  # lost
    errors = validation.orientation_errors_degrees(found, truth)
    np.testing.assert_allclose(np.median(errors[8:]), 4.0, atol=0.5)
    assert errors[8:].max() < 7.0
    assert errors[:8].mean() > 30.0
    assert angles_degrees(validation.global_rotation(found, truth), TURN) < 1.5


def test_the_floor_of_a_grid_falls_with_its_divisions():
    floors = [validation.grid_floor_degrees(n, num_draws=400) for n in (1, 2, 4)]
    np.testing.assert_allclose(floors, [31.0, 31 / 2, 31 / 4], rtol=0.05)


def test_patterns_find_their_orientation_in_the_true_volume(particle):
    settings = EmcSettings(rotations=4)
    shards = emc.make_shards(emc.make_problem(particle.counts, particle.detector, settings))
    _, sums = emc.expect_on(shards, particle.volume, np.ones(300), 1.0)
    found = rotations.sample_rotations(4).quaternions[sums.best]
    median = np.median(validation.orientation_errors_degrees(found, particle.quaternions))
    assert median < 2 * validation.grid_floor_degrees(4)


def test_fluences_are_compared_at_the_same_mean():
    truth = np.array([0.5, 1.0, 1.5, 2.0])
    assert validation.fluence_error(7 * truth, truth) == (pytest.approx(1.0), pytest.approx(0.0))
    found = validation.fluence_error(np.array([0.6, 1.0, 1.5, 1.9]), truth)  # the same mean
    assert found.median_relative_error == pytest.approx((0.05 + 0.0) / 2)
    assert found.correlation == pytest.approx(np.corrcoef([0.6, 1.0, 1.5, 1.9], truth)[0, 1])
