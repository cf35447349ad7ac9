"""The 600-cell and its divisions, and quaternions as rotations."""

import numpy as np
import pytest

from recsys_ssl.diffraction import rotations
from recsys_ssl.diffraction.rotations import HALF_TURNS, sample_rotations


def key(quaternions):
    """Rotations as a set: the matrix is the same for a quaternion and its negative."""
    matrices = rotations.to_matrices(quaternions).reshape(-1, 9)
    return {tuple(row) for row in np.rint(matrices * 1e6).astype(int).tolist()}


@pytest.mark.parametrize(("n", "expected"), [(1, 60), (2, 420), (3, 1380), (4, 3240)])
def test_the_grid_has_so_many_distinct_rotations(n, expected):
    grid = sample_rotations(n)
    assert grid.quaternions.shape == (expected, 4)
    assert len(key(grid.quaternions)) == expected == rotations.num_rotations(n)
    np.testing.assert_allclose(np.linalg.norm(grid.quaternions, axis=1), 1.0, atol=1e-14)
    assert grid.weights.shape == (expected,)
    assert grid.weights.min() > 0
    assert grid.weights.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_neighbours_are_72_over_n_degrees_apart(n):
    quaternions = sample_rotations(n).quaternions
    cosines = np.abs(quaternions[:200] @ quaternions.T)
    cosines[np.arange(min(200, len(cosines))), np.arange(min(200, len(cosines)))] = 0.0
    nearest = 2 * np.degrees(np.arccos(cosines.max(axis=1)))
    # Points inside an edge are moved out to the sphere, which widens the middle.
    assert np.median(nearest) == pytest.approx(72 / n, rel=0.04)


def test_weights_are_those_of_the_flat_cells():
    assert sample_rotations(1).weights == pytest.approx(1 / 60)  # all vertices are alike
    # n = 2: vertices, at 1, and middles of edges of 36 degrees, at cos(18); q.c is the same within a cell.
    weights = np.sort(sample_rotations(2).weights)
    vertex, middle = 5 / 6, 35 / 36 / np.cos(np.radians(18)) ** 4
    total = 60 * vertex + 360 * middle
    np.testing.assert_allclose(weights, [*[vertex / total] * 60, *[middle / total] * 360])
    weights = sample_rotations(4).weights * rotations.num_rotations(4)
    assert 0.67 < weights.min() < weights.max() < 1.10


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_grid_is_closed_under_inverses_and_half_turns(n):
    quaternions = sample_rotations(n).quaternions
    assert key(rotations.invert(quaternions)) == key(quaternions)
    for turn in HALF_TURNS:
        assert key(rotations.multiply(quaternions, turn)) == key(quaternions)


def test_rotations_lie_in_fours_of_half_turns():
    quaternions = sample_rotations(2).quaternions.reshape(-1, 4, 4)
    for place, turn in enumerate(HALF_TURNS):
        turned = rotations.multiply(quaternions[:, 0], turn)
        assert rotations.angles_degrees(turned, quaternions[:, place]).max() < 1e-6


def test_the_grid_weighs_all_orientations_alike():
    """The mean of R v over all rotations is 0, and of (R v)_x^2 a third."""
    grid = sample_rotations(3)
    turned = rotations.to_matrices(grid.quaternions) @ np.array([0.6, 0.0, 0.8])
    np.testing.assert_allclose(grid.weights @ turned, 0.0, atol=1e-12)
    np.testing.assert_allclose(grid.weights @ turned**2, 1 / 3, atol=1e-12)


def test_matrices_follow_the_products_of_quaternions():
    rng = np.random.default_rng(0)
    left, right = rotations.draw_rotations(2 * 7, rng).reshape(2, 7, 4)
    product = rotations.to_matrices(rotations.multiply(left, right))
    np.testing.assert_allclose(product, rotations.to_matrices(left) @ rotations.to_matrices(right), atol=1e-14)
    back = rotations.to_matrices(rotations.invert(left))
    np.testing.assert_allclose(back, np.swapaxes(rotations.to_matrices(left), -1, -2), atol=1e-14)
    # A quarter turn about z takes x to y.
    quarter = rotations.to_matrices(np.array([0.5**0.5, 0, 0, 0.5**0.5]))
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-15)


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 30.0, 179.0, 180.0])
def test_an_angle_is_that_of_the_turn_between(degrees):
    half = np.radians(degrees / 2)
    turn = np.array([np.cos(half), 0.0, np.sin(half), 0.0])
    start = rotations.draw_rotations(1, np.random.default_rng(1))[0]
    assert rotations.angles_degrees(start, rotations.multiply(start, turn)) == pytest.approx(degrees, abs=1e-9)
    assert rotations.angles_degrees(start, -start) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_a_grid_must_be_divided_by_a_whole_number(n):
    with pytest.raises(ValueError, match="rotations must be a whole number of at least 1. Received: "):
        sample_rotations(n)
