"""The axis of a particle that looks the same about one, and how far it is tilted, on turns that are known."""

import numpy as np
import pytest

from recsys_ssl.diffraction import axes, simulate
from recsys_ssl.diffraction.rotations import HALF_TURNS, draw_rotations, multiply, to_matrices

AXIS = np.array([2.0, -1.0, 3.0]) / 14**0.5


def about_axis(angles):
    return np.concatenate([np.cos(angles / 2)[:, None], np.sin(angles / 2)[:, None] * AXIS], axis=1)


def test_the_axis_of_a_ring_of_five_blobs_is_found():
    first = np.cross(AXIS, [1.0, 0.0, 0.0])
    places = to_matrices(about_axis(2 * np.pi / 5 * np.arange(5))) @ (0.4 * first / np.linalg.norm(first))
    ring = simulate.Scatterers(places, np.full(5, 0.08), np.ones(5))
    volume = simulate.intensity(ring, 31, per_voxel=0.25)
    found = axes.find_axis(volume, range(3, 13), fold=5)
    assert abs(found @ AXIS) > np.cos(np.radians(0.5))


def test_tilts_are_those_of_the_axis_whatever_the_turn_about_it():
    rng = np.random.default_rng(5)
    truth, frame = draw_rotations(40, rng), draw_rotations(1, rng)[0]
    small = np.radians(3.0)
    across = np.cross(AXIS, [0.0, 0.0, 1.0])
    tilt = np.concatenate([[np.cos(small / 2)], np.sin(small / 2) * across / np.linalg.norm(across)])
    # Turned about the axis by anything, in the plane of the pattern by half a turn, and in every tenth one tilted too.
    turned = multiply(truth.copy(), HALF_TURNS[3])
    turned[::10] = multiply(tilt, turned[::10])
    found = multiply(frame, multiply(about_axis(rng.uniform(0, 2 * np.pi, 40)), turned))
    start = to_matrices(frame) @ (AXIS + [0.05, 0.0, 0.0])
    tilts = axes.axis_tilts_degrees(found, truth, AXIS, start)
    assert tilts[::10] == pytest.approx(3.0, abs=1e-4)
    assert np.delete(tilts, slice(None, None, 10)) == pytest.approx(0.0, abs=1e-4)
