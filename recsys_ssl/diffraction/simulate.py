"""Patterns whose truth is known: scatterers, their intensity, and Poisson counts at drawn rotations.

Scatterers are Gaussian blobs of electrons, made up or the atoms of a PDB file:

    F(q) = sum_b a_b exp(-2 pi^2 s_b^2 q^2) exp(-2 pi i q.r_b),    W(q) = |F(q)|^2

Both factors are products over x, y and z, so on a grid of voxels F is a matrix product.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, Optional

import numpy as np
import scipy.sparse as sp

from recsys_ssl.diffraction.geometry import Detector, Mask
from recsys_ssl.diffraction.rotations import draw_rotations, to_matrices
from recsys_ssl.diffraction.slices import expand, symmetrise

_CHUNK = 256
_ATOM_WIDTH_ANGSTROM = 0.4
_ELECTRONS = {
    "H": 1,
    "C": 6,
    "N": 7,
    "O": 8,
    "F": 9,
    "NA": 11,
    "MG": 12,
    "P": 15,
    "S": 16,
    "CL": 17,
    "K": 19,
    "CA": 20,
    "MN": 25,
    "FE": 26,
    "CO": 27,
    "NI": 28,
    "CU": 29,
    "ZN": 30,
    "SE": 34,
    "BR": 35,
    "I": 53,
    "AU": 79,
}


class Scatterers(NamedTuple):
    """What scatters, in some unit of length."""

    positions: np.ndarray
    """[num_scatterers, 3] float64."""
    widths: np.ndarray
    """[num_scatterers] float64, standard deviations of the blobs."""
    electrons: np.ndarray
    """[num_scatterers] float64."""


class Simulated(NamedTuple):
    """Patterns and their truth."""

    counts: sp.csr_matrix
    """[num_patterns, num_pixels] int32, photons."""
    quaternions: np.ndarray
    """[num_patterns, 4] float64."""
    fluence: np.ndarray
    """[num_patterns] float64, mean 1."""
    volume: np.ndarray
    """[side, side, side] float64, the intensity in photons a pixel at fluence 1."""


def draw_blobs(num_blobs: int, seed: int, diameter: float = 1.0) -> Scatterers:
    """Blobs within a sphere, without any symmetry: each has a place, a width and a weight of its own."""
    rng = np.random.default_rng([seed, 0])
    directions = rng.standard_normal((num_blobs, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    positions = directions * (rng.random((num_blobs, 1)) ** (1 / 3) * diameter / 2)
    widths = rng.uniform(0.03, 0.08, num_blobs) * diameter
    return Scatterers(positions, widths, rng.uniform(0.3, 1.7, num_blobs))


def read_pdb(text: str) -> Scatterers:
    """The atoms of a PDB file's text, in Angstrom, about their centre: of its first model, by their occupancy.

    Raises:
        ValueError: there are none, or an element is unknown.
    """
    lines = itertools.takewhile(lambda line: not line.startswith("ENDMDL"), text.splitlines())
    rows = [line for line in lines if line.startswith(("ATOM  ", "HETATM"))]
    if not rows:
        raise ValueError("a PDB file must have ATOM or HETATM records. Received: none. Check the file.")
    elements = [(line[76:78].strip() or line[12:14].strip(" 0123456789")).upper() for line in rows]
    unknown = sorted(set(elements) - set(_ELECTRONS))
    if unknown:
        raise ValueError(f"elements must be among {', '.join(_ELECTRONS)}. Received: {', '.join(unknown)}.")
    try:
        positions = np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in rows])
        occupancy = np.array([float(line[54:60].strip() or 1.0) for line in rows])
    except ValueError:
        raise ValueError(
            "atoms must have coordinates in columns 31-54, occupancies in 55-60. Received: others. Check the file."
        ) from None
    electrons = occupancy * [_ELECTRONS[element] for element in elements]
    centre = np.average(positions, axis=0, weights=electrons)
    return Scatterers(positions - centre, np.full(len(rows), _ATOM_WIDTH_ANGSTROM), electrons)


def intensity(scatterers: Scatterers, side: int, per_voxel: float) -> np.ndarray:
    """[side, side, side] float64, |F|^2 at voxels, origin in the middle.

    Args:
        per_voxel: q of one voxel, in one over the scatterers' unit of length. One over an object's diameter is one
            speckle; a quarter of it samples speckles well.
    """
    line = (np.arange(side) - (side - 1) / 2) * per_voxel
    amplitudes = np.zeros((side * side, side), np.complex128)
    for first in range(0, len(scatterers.electrons), _CHUNK):
        positions, widths, electrons = (part[first : first + _CHUNK] for part in scatterers)
        # [3, num_blobs, side], the factors along x, y and z.
        factors = np.exp(-2 * (np.pi * widths[:, None] * line) ** 2 - 2j * np.pi * positions.T[:, :, None] * line)
        planes = (factors[0] * electrons[:, None])[:, :, None] * factors[1][:, None, :]
        amplitudes += planes.reshape(-1, side * side).T @ factors[2]
    return symmetrise(np.abs(amplitudes.reshape(side, side, side)) ** 2)


def voxel_per_angstrom(detector: Detector) -> float:
    """q of one voxel in 1 / Angstrom.

    Raises:
        ValueError: the wavelength is not known.
    """
    if detector.wavelength_angstrom is None:
        raise ValueError("the wavelength must be known. Received: none. Make the detector by `make_detector`.")
    return 1 / (detector.wavelength_angstrom * detector.ewald_radius_voxels)


def draw_patterns(
    volume: np.ndarray,
    detector: Detector,
    num_patterns: int,
    mean_photons: float,
    seed: int,
    fluence_shape: Optional[float] = None,
) -> Simulated:
    """Poisson counts of an intensity at rotations drawn evenly.

    Args:
        volume: [side, side, side], in any unit; it is scaled to the wanted number of photons.
        mean_photons: photons of a pattern on pixels that are not bad, on average.
        fluence_shape: of a gamma distribution with mean 1, e.g. 2; None: every pattern has fluence 1.

    Returns:
        Patterns, their truth, and the scaled volume.

    Raises:
        ValueError: num_patterns or mean_photons is not positive, or the volume does not hold the detector.
    """
    if num_patterns < 1 or not mean_photons > 0:
        raise ValueError(
            f"num_patterns and mean_photons must be positive. Received: {num_patterns} and {mean_photons}."
        )
    rng = np.random.default_rng([seed, 1])
    quaternions = draw_rotations(num_patterns, rng)
    fluence = np.ones(num_patterns)
    if fluence_shape is not None:
        fluence = rng.gamma(fluence_shape, 1 / fluence_shape, num_patterns)
        fluence /= fluence.mean()
    used = np.flatnonzero(detector.mask != Mask.BAD)
    volume = np.asarray(volume, np.float64)
    chunks = [slice(i, i + _CHUNK) for i in range(0, num_patterns, _CHUNK)]

    def slices_of(chunk: slice) -> np.ndarray:
        seen = expand(volume, to_matrices(quaternions[chunk]), detector.q_voxels[used])
        return seen * detector.correction[used] * fluence[chunk, None]

    scale = mean_photons * num_patterns / sum(slices_of(chunk).sum() for chunk in chunks)
    found = []
    for chunk in chunks:
        counts = np.zeros((len(quaternions[chunk]), detector.num_pixels), np.int32)
        counts[:, used] = rng.poisson(scale * slices_of(chunk))
        found.append(sp.csr_matrix(counts))
    return Simulated(sp.vstack(found, format="csr"), quaternions, fluence, volume * scale)
