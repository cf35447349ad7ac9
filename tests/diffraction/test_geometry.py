"""Pixels on the Ewald sphere, their corrections and masks."""

import math

import numpy as np
import pytest

from recsys_ssl.diffraction.geometry import Detector, Mask, make_detector

SMALL = {"distance_mm": 100.0, "pixel_size_um": 1000.0, "wavelength_angstrom": 6.2, "num_pixels": 5}


def test_pixels_lie_on_the_ewald_sphere():
    detector = make_detector(**SMALL)
    centre = np.array([0.0, 0.0, -detector.ewald_radius_voxels])
    assert detector.ewald_radius_voxels == 100.0 * 1000.0 / 1000.0
    lengths = np.linalg.norm(detector.q_voxels - centre, axis=1)
    np.testing.assert_allclose(lengths, detector.ewald_radius_voxels, rtol=1e-14)
    # The pixel at (-2, 1): theta = atan(sqrt(5) / 100).
    theta, phi = math.atan(math.sqrt(5) / 100), math.atan2(1, -2)
    expected = [math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta) - 1]
    np.testing.assert_allclose(detector.q_voxels[3], 100 * np.array(expected), rtol=1e-9)
    # |q| is 2 sin(theta / 2) / wavelength.
    assert np.linalg.norm(detector.q_voxels[3]) == pytest.approx(100 * 2 * math.sin(theta / 2))


def test_voxels_per_pixel_scale_the_sphere():
    one, half = make_detector(**SMALL), make_detector(**SMALL, voxels_per_pixel=0.5)
    np.testing.assert_allclose(half.q_voxels, 0.5 * one.q_voxels)
    np.testing.assert_allclose(half.correction, one.correction)
    assert half.side == 2 * math.ceil(0.5 * one.max_radius_voxels) + 3


@pytest.mark.parametrize(
    ("polarisation", "factor"),
    [("x", 1 - 4 / 10005), ("y", 1 - 1 / 10005), ("none", 1 - 2.5 / 10005)],
)
def test_a_pixel_counts_by_its_solid_angle_and_polarisation(polarisation, factor):
    detector = make_detector(**SMALL, polarisation=polarisation)
    # At (-2, 1), 100 pixels from the particle: the area seen is cos(theta), the distance cos(theta)^-1.
    assert detector.correction[3] == pytest.approx((100 / math.sqrt(10005)) ** 3 * factor)
    assert detector.correction[12] == 1.0


def test_masks_are_the_stop_and_the_corners():
    mask = make_detector(**SMALL, stop_radius_pixels=1.2).mask.reshape(5, 5)
    expected = [
        [1, 1, 0, 1, 1],
        [1, 0, 2, 0, 1],
        [0, 2, 2, 2, 0],
        [1, 0, 2, 0, 1],
        [1, 1, 0, 1, 1],
    ]
    assert mask.tolist() == expected


def test_the_side_holds_every_used_pixel():
    detector = make_detector(**SMALL)
    radius = np.linalg.norm(detector.q_voxels, axis=1).max()
    assert detector.max_radius_voxels == radius
    assert detector.side == 2 * math.ceil(radius) + 3
    only_middle = Detector(detector.q_voxels, detector.correction, np.where(np.arange(25) == 12, 0, 2), 100.0)
    assert only_middle.side == 3


@pytest.mark.parametrize("name", [*SMALL, "voxels_per_pixel"])
def test_lengths_must_be_positive(name):
    for value in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"{name} must be positive. Received: {name}="):
            make_detector(**(SMALL | {name: value}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.full(25, Mask.BAD)}, "every pixel is masked"),
        ({"mask": np.full(25, Mask.MERGE_ONLY)}, "every pixel is masked"),
        ({"mask": np.full(25, 3)}, r"mask must hold 0 \(good\), 1 \(merge only\) or 2 \(bad\). Received: \[3\]"),
        ({"mask": np.zeros(24)}, r"q_voxels must be \[24, 3\]"),
        ({"correction": np.full(25, np.nan)}, "finite positions and corrections"),
        ({"correction": np.zeros(25)}, "positive corrections"),
    ],
    ids=["all bad", "none good", "other kind", "other size", "nan", "zero"],
)
def test_a_detector_that_cannot_be_used_is_an_error(change, message):
    whole = make_detector(**SMALL)
    parts = {"q_voxels": whole.q_voxels, "correction": whole.correction, "mask": whole.mask} | change
    with pytest.raises(ValueError, match=message):
        Detector(**parts, ewald_radius_voxels=100.0)


def test_bad_pixels_may_hold_anything():
    whole = make_detector(**SMALL, stop_radius_pixels=1)
    correction = np.where(whole.mask == Mask.BAD, np.nan, whole.correction)
    assert Detector(whole.q_voxels, correction, whole.mask, 100.0).side == whole.side
