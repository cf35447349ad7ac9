"""Files of detectors: Dragonfly's HDF5 (`qx`, `qy`, `qz`, `corr`, `mask`, `detd`, `ewald_rad`) and its text, `.dat`.

Text: the number of pixels, and where they are given the distance in pixels and the radius of the Ewald sphere in
voxels; then a line a pixel with qx, qy, qz, correction and mask. Corrections are scaled to at most 1.
"""

from __future__ import annotations

import os

import h5py
import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.diffraction.geometry import Detector, Mask

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NAMES = ("qx", "qy", "qz", "corr", "mask")


def read_detector(path: str | os.PathLike) -> Detector:
    """Reads a detector; what the file is, its content tells.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is truncated, or no detector.
        ValueError: see `geometry.Detector`.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        is_hdf5 = file.read(8) == _HDF5_MAGIC
    with artifacts.reading(path, "Give a detector: HDF5 with qx, qy, qz, corr and mask, or Dragonfly's .dat."):
        columns, radius, wavelength = _read_hdf5(path) if is_hdf5 else _read_text(path)
    q_voxels, mask = np.stack(columns[:3], axis=1).astype(np.float64), columns[4].astype(np.int64)
    correction = columns[3].astype(np.float64)
    used = mask != Mask.BAD
    if used.any():
        correction = correction / np.max(correction[used])
    if radius is None:
        radius = _sphere_radius(q_voxels[used])
    try:
        return Detector(q_voxels, correction, mask.astype(np.uint8), radius, wavelength)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_detector(path: str | os.PathLike, detector: Detector) -> None:
    """Writes HDF5, whole or not at all."""
    columns = [*detector.q_voxels.T, detector.correction, detector.mask]
    with artifacts.whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        for name, values in zip(_NAMES, columns, strict=True):
            file[name] = values
        file["ewald_rad"] = detector.ewald_radius_voxels
        file["detd"] = detector.ewald_radius_voxels
        if detector.wavelength_angstrom is not None:
            file["wavelength_angstrom"] = detector.wavelength_angstrom


def _read_hdf5(path: str) -> tuple[list[np.ndarray], float | None, float | None]:
    with h5py.File(path) as file:
        missing = [name for name in _NAMES if name not in file]
        if missing:
            raise ValueError(f"no {', '.join(missing)} in it")
        columns = [np.ravel(file[name][()]) for name in _NAMES]
        numbers = [float(file[name][()]) if name in file else None for name in ("ewald_rad", "wavelength_angstrom")]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("columns of different lengths")
    return columns, numbers[0], numbers[1]


def _read_text(path: str) -> tuple[list[np.ndarray], float | None, None]:
    with open(path, encoding="utf-8") as file:
        header = [float(word) for word in file.readline().replace("#", " ").split()]
        if len(header) not in (1, 3):
            raise ValueError(f"a first line of {len(header)} numbers, in place of 1 or 3")
        rows = np.loadtxt(file, ndmin=2)
    if rows.shape != (int(header[0]), 5):
        raise ValueError(f"{rows.shape[0]:,} lines of {rows.shape[1]} numbers, in place of {int(header[0]):,} of 5")
    return list(rows.T), (header[2] if len(header) == 3 else None), None


def _sphere_radius(q_voxels: np.ndarray) -> float:
    """Of the Ewald sphere through the origin that pixels lie on: |q|^2 = -2 radius q_z."""
    depths = -2 * q_voxels[:, 2]
    return float((q_voxels**2).sum(axis=1) @ depths / max(depths @ depths, 1e-30))
