"""Slices of half turns are one slice in a mirror, and sums over pixels are products in characters."""

import dataclasses

import numpy as np
import pytest

from recsys_ssl.diffraction import mirrors, rotations, slices
from recsys_ssl.diffraction.geometry import Mask, make_detector
from recsys_ssl.diffraction.mirrors import make_layout

RNG = np.random.default_rng(4)


def detector_of(num_pixels):
    return make_detector(60.0, 1000.0, 6.2, num_pixels, stop_radius_pixels=1.2)


@pytest.mark.parametrize("num_pixels", [8, 9], ids=["beam on an edge", "beam on a pixel"])
def test_orbits_hold_every_used_pixel_once(num_pixels):
    detector = detector_of(num_pixels)
    layout = make_layout(detector)
    assert layout.group_size == 4
    counted = np.zeros(detector.num_pixels)
    np.add.at(counted, layout.pixels, np.broadcast_to(layout.shares, layout.pixels.shape))
    np.testing.assert_allclose(counted, detector.mask != Mask.BAD)
    kinds = detector.mask[layout.pixels]
    assert (kinds[:, : layout.num_good] == Mask.GOOD).all()
    assert (kinds[:, layout.num_good :] == Mask.MERGE_ONLY).all()
    x, y, _ = np.moveaxis(layout.q_voxels, -1, 0)
    np.testing.assert_allclose(x, [x[0], -x[0], x[0], -x[0]], atol=1e-12)
    np.testing.assert_allclose(y, [y[0], y[0], -y[0], -y[0]], atol=1e-12)


def test_slices_of_half_turns_are_mirror_images():
    detector = detector_of(9)
    layout = make_layout(detector)
    volume = slices.symmetrise(RNG.random((detector.side,) * 3))
    orbits = rotations.sample_rotations(1).quaternions.reshape(-1, 4, 4)
    for turn in range(4):
        found = slices.expand(volume, rotations.to_matrices(orbits[:, turn]), layout.q_voxels[0])
        mirrored = slices.expand(volume, rotations.to_matrices(orbits[:, 0]), layout.q_voxels[turn])
        np.testing.assert_allclose(found, mirrored, rtol=1e-12)


@pytest.mark.parametrize("num_pixels", [8, 9])
def test_products_in_characters_are_sums_over_pixels(num_pixels):
    """sum_i K_i L(g i) for every mirror g, and sum_g P_g K(g i), which is what merging needs."""
    layout = make_layout(detector_of(num_pixels))
    pattern, slice_ = RNG.random((2, layout.pixels.max() + 1))
    pattern, slice_ = pattern[layout.pixels], slice_[layout.pixels]  # [4, num_orbits]
    order = np.arange(4)
    expected = [(layout.shares * pattern * slice_[order ^ g]).sum() for g in range(4)]
    in_characters = mirrors.transform(pattern.copy()) * mirrors.transform(slice_.copy()) * layout.shares
    np.testing.assert_allclose(mirrors.transform(in_characters.sum(axis=1)) / 4, expected)

    given = RNG.random(4)
    expected = [sum(given[g] * pattern[h ^ g] for g in range(4)) for h in range(4)]
    in_characters = mirrors.transform(given.copy())[:, None] * mirrors.transform(pattern.copy())
    np.testing.assert_allclose(mirrors.transform(in_characters) / 4, expected)


def test_without_the_symmetry_an_orbit_is_a_pixel():
    whole = detector_of(9)
    used = np.flatnonzero(whole.mask != Mask.BAD)
    moved = dataclasses.replace(whole, q_voxels=whole.q_voxels + [0.3, 0.0, 0.0])
    mask = whole.mask.copy()
    mask[used[0]] = Mask.BAD
    dead = dataclasses.replace(whole, mask=mask)
    tilted = dataclasses.replace(whole, correction=whole.correction * (1 + 0.01 * np.arange(whole.num_pixels)))
    for detector in (moved, dead, tilted):
        layout = make_layout(detector)
        assert layout.group_size == 1
        assert sorted(layout.pixels[0]) == np.flatnonzero(detector.mask != Mask.BAD).tolist()
        assert (layout.shares == 1).all()
    assert make_layout(whole, folded=False).group_size == 1


def test_a_character_of_one_pixel_is_itself():
    values = RNG.random((1, 3))
    np.testing.assert_array_equal(mirrors.transform(values.copy()), values)
