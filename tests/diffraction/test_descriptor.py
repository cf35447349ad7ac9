"""The power spectrum against known harmonics, and that it does not change when a volume is rotated."""

import numpy as np
import pytest
from scipy.special import eval_legendre

from recsys_ssl.diffraction import rotations, simulate
from recsys_ssl.diffraction.descriptor import describe, power_spectrum

SIDE = 33
AXES = np.stack(np.meshgrid(*[np.arange(SIDE) - 16.0] * 3, indexing="ij"), axis=-1)
RADII = [5, 9, 13]


def blobs(seed, turn=None):
    """An intensity, of the object turned by a rotation: exactly, not by interpolation."""
    made = simulate.draw_blobs(15, seed)
    if turn is not None:
        made = made._replace(positions=made.positions @ rotations.to_matrices(turn).T)
    return simulate.intensity(made, SIDE, per_voxel=0.15)


@pytest.mark.parametrize("order", [0, 2, 4])
def test_a_harmonic_has_the_power_of_its_order(order):
    """P_l(cos angle) about any axis: c_l0 is the square root of 4 pi / (2 l + 1), the other orders are 0."""
    axis = np.array([0.48, -0.6, 0.64])
    lengths = np.linalg.norm(AXES, axis=-1)
    volume = 3.0 * eval_legendre(order, AXES @ axis / np.maximum(lengths, 1e-9))
    found = power_spectrum(volume, RADII, 6)
    expected = np.zeros((3, 4))
    expected[:, order // 2] = 3.0 * np.sqrt(4 * np.pi / (2 * order + 1))
    np.testing.assert_allclose(found, expected, atol=0.03)  # between voxels by splines
    np.testing.assert_allclose(found[2], expected[2], atol=0.005)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rotation_changes_nothing(seed):
    turn = rotations.draw_rotations(1, np.random.default_rng(seed))[0]
    before, after = power_spectrum(blobs(seed), RADII), power_spectrum(blobs(seed, turn), RADII)
    assert before.shape == (3, 9)
    # By splines between voxels: 0.5% of a shell's mean.
    np.testing.assert_allclose(after, before, atol=5e-3 * before[:, :1].min())
    assert np.abs(power_spectrum(blobs(seed + 2), RADII) / before - 1).mean() > 0.2


def test_features_are_free_of_scale_and_tell_particles_apart():
    turns = rotations.draw_rotations(3, np.random.default_rng(5))
    catalogue = np.array([describe(blobs(seed), RADII) for seed in range(3)])
    assert catalogue.shape == (3, 3 * 8)
    assert catalogue.dtype == np.float32
    np.testing.assert_allclose(describe(1e6 * blobs(0), RADII), catalogue[0], rtol=1e-4)
    for seed, turn in enumerate(turns):
        distances = np.linalg.norm(catalogue - describe(blobs(seed, turn), RADII), axis=1)
        assert distances.argmin() == seed
        assert 10 * distances[seed] < np.delete(distances, seed).min()


@pytest.mark.parametrize(
    ("radii", "max_order", "message"),
    [([17], 4, "radii must lie in"), ([0], 4, "radii must lie in"), ([5], 3, "max_order must be even")],
)
def test_shells_and_orders_must_exist(radii, max_order, message):
    with pytest.raises(ValueError, match=message):
        power_spectrum(np.ones((SIDE,) * 3), radii, max_order)


def test_a_dark_shell_is_an_error():
    with pytest.raises(ValueError, match="shells must not be 0 on average"):
        describe(np.zeros((SIDE,) * 3), [5])
