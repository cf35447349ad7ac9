"""Raw frames of a detector to photons: calibration, binning, and which frames have seen a particle.

    photons = floor((signal - pedestal) / adu_per_photon + 1 - threshold), at least 0

so that a pixel needs `threshold` of a photon's signal for its first one. Pixels that are bad count nothing; bins are
bad where a pixel of theirs is.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import NamedTuple, Optional

import h5py
import numpy as np
import scipy.sparse as sp

from recsys_ssl import artifacts
from recsys_ssl.diffraction.geometry import Detector, Mask

_MOST_PHOTONS = 2**31 - 1
"""Of a pixel: patterns are 32-bit numbers."""
NOT_FINITE, TOO_FEW, TOO_MANY = "not_finite", "too_few_photons", "too_many_photons"


@dataclass(frozen=True)
class FrameSettings:
    """How frames become patterns, `frames.*`.

    Attributes:
        dataset: of the HDF5 files, [num_frames, height, width]; the default is that of CXI.
        pedestal_adu: signal of a pixel without a photon.
        adu_per_photon: what a photon adds.
        threshold: of a photon's signal, from which on a pixel has one.
        bin: so many pixels along each edge become one.
        min_photons: on good pixels; frames with fewer have seen no particle.
        max_photons: frames with more are left out; None: none are.
    """

    dataset: str = "entry_1/data_1/data"
    pedestal_adu: float = 0.0
    adu_per_photon: float = 1.0
    threshold: float = 0.7
    bin: int = 1
    min_photons: int = 100
    max_photons: Optional[int] = None

    def __post_init__(self):
        if not 0 < self.adu_per_photon < math.inf:
            raise ValueError(f"frames.adu_per_photon must be positive. Received: {self.adu_per_photon}.")
        if not math.isfinite(self.pedestal_adu):
            raise ValueError(f"frames.pedestal_adu must be finite. Received: {self.pedestal_adu}.")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"frames.threshold must be in (0, 1]. Received: {self.threshold}. Use 0.5-0.9.")
        if self.bin < 1 or self.min_photons < 1:
            raise ValueError(
                f"frames.bin and frames.min_photons must be at least 1. Received: {self.bin}, {self.min_photons}."
            )
        if self.max_photons is not None and self.max_photons < self.min_photons:
            raise ValueError(
                f"frames.max_photons must not be below frames.min_photons. Received: {self.max_photons} and "
                f"{self.min_photons}."
            )


class Hits(NamedTuple):
    """What some frames hold."""

    counts: sp.csr_matrix
    """[num_hits, num_pixels] int32, photons of the frames that have seen a particle."""
    rows: np.ndarray
    """[num_hits] int64, which frames these are."""
    rejected: list[tuple[int, str, int]]
    """Of each other frame its row, why, and its photons on good pixels, 0 where they are not known."""


def count_frames(path: str | os.PathLike, dataset: str, num_pixels: int) -> tuple[int, tuple[int, int]]:
    """How many frames a file has, and their height and width.

    Args:
        num_pixels: of the detector.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is no HDF5, or lacks the dataset.
        ValueError: frames are of another detector.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no {os.fspath(path)}. Check the path.")
    with artifacts.reading(path, f"Give HDF5 with {dataset}, or name it by frames.dataset."), h5py.File(path) as file:
        if dataset not in file:
            raise ValueError(f"no {dataset} in it")
        shape = file[dataset].shape
        if len(shape) != 3:
            raise ValueError(f"{dataset} of {list(shape)}, in place of [num_frames, height, width]")
    if shape[1] * shape[2] != num_pixels:
        raise ValueError(
            f"{os.fspath(path)} must have frames of the detector's {num_pixels:,} pixels. "
            f"Received: {shape[1]} x {shape[2]}. Give the detector that they were taken with."
        )
    return shape[0], (shape[1], shape[2])


def read_frames(path: str | os.PathLike, dataset: str, rows: range) -> np.ndarray:
    """[num_rows, height, width] float64, some frames of a file, see `count_frames`."""
    with artifacts.reading(path), h5py.File(path) as file:
        return np.asarray(file[dataset][rows.start : rows.stop], np.float64)


def find_hits(frames: np.ndarray, mask: np.ndarray, settings: FrameSettings) -> Hits:
    """Photons of the frames that have seen a particle, and why the others are none.

    Args:
        frames: [num_frames, height, width], signal.
        mask: [height * width] uint8, of `geometry.Mask`, before binning.
    """
    used = (mask != Mask.BAD).reshape(frames.shape[1:])
    is_finite = np.isfinite(frames[:, used]).all(axis=1)
    signal = np.where(used & is_finite[:, None, None], frames, settings.pedestal_adu)
    photons = np.floor((signal - settings.pedestal_adu) / settings.adu_per_photon + 1 - settings.threshold)
    photons = bin_sums(np.maximum(photons, 0.0) * used, settings.bin).reshape(len(frames), -1)
    binned = bin_mask(mask, frames.shape[1:], settings.bin)
    photons[:, binned == Mask.BAD] = 0.0
    photons = np.minimum(photons, _MOST_PHOTONS + 1.0)
    on_good = photons[:, binned == Mask.GOOD].sum(axis=1)
    is_too_bright = photons.max(axis=1) > _MOST_PHOTONS
    if settings.max_photons is not None:
        is_too_bright |= on_good > settings.max_photons
    reasons = np.select(
        [~is_finite, is_too_bright, on_good < settings.min_photons], [NOT_FINITE, TOO_MANY, TOO_FEW], default=""
    )
    rows = np.flatnonzero(reasons == "")
    rejected = [(int(row), str(reasons[row]), int(on_good[row])) for row in np.flatnonzero(reasons != "")]
    return Hits(sp.csr_matrix(photons[rows].astype(np.int32)), rows, rejected)


# --- Binning ---------------------------------------------------------------------------------------------


def bin_sums(frames: np.ndarray, size: int) -> np.ndarray:
    """[..., height / size, width / size], sums over squares of pixels.

    Raises:
        ValueError: squares do not fill the frame.
    """
    height, width = frames.shape[-2:]
    if height % size or width % size:
        raise ValueError(f"frames.bin must divide {height} and {width}, the frame. Received: {size}.")
    return frames.reshape(*frames.shape[:-2], height // size, size, width // size, size).sum(axis=(-3, -1))


def bin_mask(mask: np.ndarray, shape: tuple[int, ...], size: int) -> np.ndarray:
    """[num_bins] uint8: bad where a pixel is, else merged only where one is."""
    parts = mask.reshape(shape[0] // size, size, shape[1] // size, size)
    return parts.max(axis=(1, 3)).ravel()


def bin_detector(detector: Detector, shape: tuple[int, int], size: int) -> Detector:
    """A detector of bins: their middle, what their pixels count, in voxels of a bin.

    Args:
        shape: height and width in pixels.

    Raises:
        ValueError: see `bin_sums`; or no bin is good.
    """
    columns = np.moveaxis(detector.q_voxels.reshape(*shape, 3), -1, 0)
    middles = bin_sums(columns, size).reshape(3, -1).T / size**2
    correction = bin_sums(detector.correction.reshape(shape), size).ravel() / size**2
    # A bin is as wide as `size` pixels, and stays one voxel.
    radius = detector.ewald_radius_voxels / size
    return Detector(
        middles / size, correction, bin_mask(detector.mask, shape, size), radius, detector.wavelength_angstrom
    )
