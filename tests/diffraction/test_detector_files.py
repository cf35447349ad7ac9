"""Detectors in HDF5 and as text, and files that are none."""

import h5py
import numpy as np
import pytest

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.diffraction.detector_files import read_detector, write_detector
from recsys_ssl.diffraction.geometry import make_detector

DETECTOR = make_detector(100.0, 1000.0, 6.2, 5, stop_radius_pixels=1.2)


def write_text(path, header, rows=None, scale=1.0):
    columns = [*DETECTOR.q_voxels.T, scale * DETECTOR.correction, DETECTOR.mask]
    rows = np.stack(columns, axis=1) if rows is None else rows
    lines = [" ".join(f"{value:.12e}" for value in row[:4]) + f" {int(row[4])}" for row in rows]
    path.write_text("\n".join([header, *lines]) + "\n")


def check(found):
    np.testing.assert_allclose(found.q_voxels, DETECTOR.q_voxels, atol=1e-10)
    used = DETECTOR.mask != 2
    largest = DETECTOR.correction[used].max()
    np.testing.assert_allclose(found.correction[used], DETECTOR.correction[used] / largest)
    np.testing.assert_array_equal(found.mask, DETECTOR.mask)
    assert found.ewald_radius_voxels == pytest.approx(100.0)


def test_what_is_written_is_read(tmp_path):
    write_detector(tmp_path / "d.h5", DETECTOR)
    found = read_detector(tmp_path / "d.h5")
    check(found)
    assert found.wavelength_angstrom == 6.2
    assert [path.name for path in tmp_path.iterdir()] == ["d.h5"]


@pytest.mark.parametrize("header", ["25", "25 100.0 100.0", "# 25 100.0 100.0"])
@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_text_is_read(header, scale, tmp_path):
    """Without the sphere's radius it follows from the pixels; corrections are relative."""
    write_text(tmp_path / "d.dat", header, scale=scale)
    check(read_detector(tmp_path / "d.dat"))


@pytest.mark.parametrize(
    ("header", "keep", "message"),
    [
        ("25", 24, "24 lines of 5 numbers, in place of 25 of 5"),
        ("1 2", 25, "a first line of 2 numbers"),
        ("x", 25, "could not convert"),
    ],
)
def test_text_of_something_else_is_an_error(header, keep, message, tmp_path):
    write_text(tmp_path / "d.dat", header)
    lines = (tmp_path / "d.dat").read_text().splitlines()
    (tmp_path / "d.dat").write_text("\n".join(lines[: keep + 1]))
    with pytest.raises(DamagedError, match=f"d.dat is damaged, or not whole. Received: .*{message}"):
        read_detector(tmp_path / "d.dat")


def test_hdf5_of_something_else_is_an_error(tmp_path):
    write_detector(tmp_path / "d.h5", DETECTOR)
    with h5py.File(tmp_path / "d.h5", "a") as file:
        del file["corr"]
    with pytest.raises(DamagedError, match="no corr in it"):
        read_detector(tmp_path / "d.h5")
    write_detector(tmp_path / "d.h5", DETECTOR)
    content = (tmp_path / "d.h5").read_bytes()
    (tmp_path / "d.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedError, match="d.h5 is damaged, or not whole"):
        read_detector(tmp_path / "d.h5")


def test_a_detector_that_cannot_be_used_is_an_error_with_its_file(tmp_path):
    write_detector(tmp_path / "d.h5", DETECTOR)
    with h5py.File(tmp_path / "d.h5", "a") as file:
        file["mask"][...] = 2
    with pytest.raises(ValueError, match="d.h5: a detector must have good pixels. Received: every pixel is masked"):
        read_detector(tmp_path / "d.h5")
