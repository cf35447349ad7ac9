"""Frames to photons by hand arithmetic; binning of frames and detector; what is no hit says why."""

import h5py
import numpy as np
import pytest

from recsys_ssl.diffraction import frames
from recsys_ssl.diffraction.frames import FrameSettings, find_hits
from recsys_ssl.diffraction.geometry import Detector, Mask, make_detector

GOOD, MERGE, BAD = (int(value) for value in (Mask.GOOD, Mask.MERGE_ONLY, Mask.BAD))


def test_signal_becomes_photons_above_the_threshold():
    """Pedestal 10, 20 a photon, threshold 0.7: 0.69 is none, 0.7 is one, 1.69 is one, 1.7 two."""
    signal = 10 + 20 * np.array([[[0.69, 0.71, 1.69, 1.71], [-3.0, 5.0, 1e9, 0.0]]])
    mask = np.array([GOOD] * 6 + [BAD, MERGE], np.uint8)
    settings = FrameSettings(pedestal_adu=10.0, adu_per_photon=20.0, min_photons=1)
    hits = find_hits(signal, mask, settings)
    assert hits.counts.toarray().tolist() == [[0, 1, 1, 2, 0, 5, 0, 0]]


def test_frames_that_are_no_hits_say_why():
    signal = np.zeros((5, 2, 2))
    signal[0, 0, 0] = 4.0  # too few
    signal[1, 0, :] = 5.0
    signal[2] = 100.0  # too many
    signal[3, 0, 1] = np.nan
    signal[4, 1, 1] = np.nan  # on a bad pixel, which does not count
    signal[4, 0, 0] = 12.0
    mask = np.array([GOOD, GOOD, MERGE, BAD], np.uint8)
    hits = find_hits(signal, mask, FrameSettings(min_photons=10, max_photons=50))
    assert hits.rows.tolist() == [1, 4]
    assert hits.counts.toarray().tolist() == [[5, 5, 0, 0], [12, 0, 0, 0]]
    assert hits.rejected == [(0, "too_few_photons", 4), (2, "too_many_photons", 200), (3, "not_finite", 0)]
    saturated = find_hits(np.full((1, 2, 2), 1e30), mask, FrameSettings())
    assert [reason for _, reason, _ in saturated.rejected] == ["too_many_photons"]


def test_bins_add_up_pixels_and_are_bad_where_one_is():
    signal = np.arange(16.0).reshape(1, 4, 4)
    assert frames.bin_sums(signal, 2).tolist() == [[[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 50]]]
    mask = np.full(16, GOOD, np.uint8)
    mask[[3, 8]] = BAD, MERGE
    assert frames.bin_mask(mask, (4, 4), 2).tolist() == [GOOD, BAD, MERGE, GOOD]
    hits = find_hits(signal, mask, FrameSettings(bin=2, min_photons=1))
    assert hits.counts.toarray().tolist() == [[10, 0, 42, 50]]
    with pytest.raises(ValueError, match="frames.bin must divide 4 and 4, the frame. Received: 3"):
        frames.bin_sums(signal, 3)


def test_a_binned_detector_is_that_of_pixels_of_the_size_of_bins():
    fine, coarse = make_detector(100.0, 500.0, 6.2, 16), make_detector(100.0, 1000.0, 6.2, 8)
    found = frames.bin_detector(fine, (16, 16), 2)
    np.testing.assert_allclose(found.q_voxels, coarse.q_voxels, atol=2e-3)
    np.testing.assert_allclose(found.correction, coarse.correction, rtol=1e-4)
    assert found.ewald_radius_voxels == pytest.approx(coarse.ewald_radius_voxels)
    assert isinstance(found, Detector)


def test_files_of_frames_are_looked_at_before_they_are_read(tmp_path):
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(24.0).reshape(4, 2, 3)
    assert frames.count_frames(path, "data", 6) == (4, (2, 3))
    np.testing.assert_array_equal(frames.read_frames(path, "data", range(1, 3)), np.arange(6.0, 18.0).reshape(2, 2, 3))
    with pytest.raises(ValueError, match="frames of the detector's 9 pixels. Received: 2 x 3"):
        frames.count_frames(path, "data", 9)
    with pytest.raises(FileNotFoundError, match="Check the path"):
        frames.count_frames(tmp_path / "none.h5", "data", 6)
    with pytest.raises(Exception, match="no entry_1/data_1/data in it"):
        frames.count_frames(path, "entry_1/data_1/data", 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adu_per_photon": 0.0}, "frames.adu_per_photon must be positive"),
        ({"threshold": 1.2}, "frames.threshold must be in"),
        ({"bin": 0}, "frames.bin and frames.min_photons must be at least 1"),
        ({"max_photons": 5}, "frames.max_photons must not be below frames.min_photons"),
        ({"pedestal_adu": float("nan")}, "frames.pedestal_adu must be finite"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FrameSettings(**changes)
