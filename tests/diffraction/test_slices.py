"""Expand against a plain loop, compress as its adjoint, Friedel's symmetry."""

import itertools

import numpy as np
import pytest

from recsys_ssl.diffraction import rotations, slices
from recsys_ssl.diffraction.geometry import make_detector

SIDE = 15
DETECTOR = make_detector(60.0, 1000.0, 6.2, 9)
RNG = np.random.default_rng(3)
MATRICES = rotations.to_matrices(rotations.draw_rotations(6, RNG))


def interpolate(volume, point):
    """The sum over the eight voxels around a point, one by one."""
    base = np.floor(point).astype(int)
    total = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        voxel = base + corner
        total += np.prod(1 - np.abs(point - voxel)) * volume[tuple(voxel)]
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_slice_is_the_volume_at_rotated_pixels(dtype):
    volume = RNG.random((SIDE, SIDE, SIDE)).astype(dtype)
    found = slices.expand(volume, MATRICES, DETECTOR.q_voxels)
    assert found.dtype == dtype
    expected = [[interpolate(volume, matrix @ q + (SIDE - 1) / 2) for q in DETECTOR.q_voxels] for matrix in MATRICES]
    np.testing.assert_allclose(found, expected, atol=1e-6 if dtype == np.float32 else 1e-12)


def test_compress_is_the_adjoint_of_expand():
    volume = RNG.standard_normal((SIDE, SIDE, SIDE))
    values = RNG.standard_normal((len(MATRICES), DETECTOR.num_pixels))
    left = (slices.expand(volume, MATRICES, DETECTOR.q_voxels) * values).sum()
    right = (volume * slices.compress(values, MATRICES, DETECTOR.q_voxels, SIDE)).sum()
    assert left == pytest.approx(right, rel=1e-10)


def test_slices_and_their_weights_are_added():
    values = RNG.random((len(MATRICES), DETECTOR.num_pixels))
    weights, shares = RNG.random(len(MATRICES)), RNG.random(DETECTOR.num_pixels)
    sums = np.ones((SIDE, SIDE, SIDE, 2))
    slices.add_slices(values, weights, shares, DETECTOR.correction, MATRICES, DETECTOR.q_voxels, sums)
    expected = 1 + slices.compress(values * shares, MATRICES, DETECTOR.q_voxels, SIDE)
    np.testing.assert_allclose(sums[..., 0], expected, rtol=1e-12)
    of_weights = weights[:, None] * shares * DETECTOR.correction
    expected = 1 + slices.compress(of_weights, MATRICES, DETECTOR.q_voxels, SIDE)
    np.testing.assert_allclose(sums[..., 1], expected, rtol=1e-12)


def test_sums_of_opposite_points_are_divided_where_enough_was_seen():
    numerator, denominator, before = RNG.random((3, SIDE, SIDE, SIDE))
    denominator[0] = denominator[-1] = 0.0
    seen = slices.symmetrise(denominator)
    expected = np.where(seen > 0.3, slices.symmetrise(numerator) / np.maximum(seen, 0.3), before)
    np.testing.assert_allclose(slices.divide_symmetrised(numerator, denominator, before, 0.3), expected, rtol=1e-12)
    np.testing.assert_array_equal(expected[0], before[0])
    assert (expected != before).any()


def test_a_constant_volume_has_constant_slices():
    found = slices.expand(np.full((SIDE, SIDE, SIDE), 2.5), MATRICES, DETECTOR.q_voxels)
    np.testing.assert_allclose(found, 2.5, rtol=1e-14)


def test_a_symmetric_volume_is_the_same_at_opposite_points():
    volume = slices.symmetrise(RNG.random((SIDE, SIDE, SIDE)))
    np.testing.assert_array_equal(volume, volume[::-1, ::-1, ::-1])
    found = slices.expand(volume, MATRICES, DETECTOR.q_voxels)
    np.testing.assert_allclose(found, slices.expand(volume, MATRICES, -DETECTOR.q_voxels), rtol=1e-12)
    np.testing.assert_array_equal(slices.symmetrise(volume), volume)


def test_means_over_shells():
    radii = slices.radii_of(5)
    assert radii[2, 2, 2] == 0
    assert radii[0, 2, 4] == pytest.approx(8**0.5)
    volume = np.where(np.rint(radii) == 1, 3.0, np.rint(radii))
    np.testing.assert_allclose(slices.shell_means(volume, np.array([0.0, 0.5, 1.0, 1.5])), [0.0, 1.5, 3.0, 2.5])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 4, 4), "cube with an odd side"),
        ((15, 15, 13), "cube with an odd side"),
        ((11, 11, 11), "Received: one 5.6 voxels from the origin, side 11. Take a side of 15."),
    ],
)
def test_a_volume_that_does_not_hold_the_pixels_is_an_error(shape, message):
    with pytest.raises(ValueError, match=message):
        slices.expand(np.zeros(shape), MATRICES, DETECTOR.q_voxels)
