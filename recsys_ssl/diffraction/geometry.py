"""Where the pixels of a detector lie in reciprocal space, what they see of it, and which of them count.

A pixel at (x, y) on a flat detector at distance D scatters by theta = atan(hypot(x, y) / D). With elastic scattering it
lies on the Ewald sphere, of radius 1 / wavelength, through the origin:

    q = radius * (sin(theta) cos(phi), sin(theta) sin(phi), cos(theta) - 1)

Everything here is in voxels: the sphere's radius is D / pixel size, so that near the beam a pixel is a voxel, times
`voxels_per_pixel`.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Literal, Optional

import numpy as np

Polarisation = Literal["x", "y", "none"]


class Mask(enum.IntEnum):
    """What a pixel is used for."""

    GOOD = 0
    """Orientation and merging."""
    MERGE_ONLY = 1
    """Merging: e.g. corners, which only some orientations reach."""
    BAD = 2
    """Nothing: a dead pixel, or one behind the beam stop."""


@dataclass(frozen=True)
class Detector:
    """The pixels of a detector, in the order of the patterns.

    Attributes:
        q_voxels: [num_pixels, 3] float64, on the Ewald sphere; the beam is along z.
        correction: [num_pixels] float64, solid angle times polarisation, relative to a pixel on the axis: what it
            counts of an intensity of 1.
        mask: [num_pixels] uint8, see `Mask`.
        ewald_radius_voxels: radius of the sphere.
        wavelength_angstrom: None where a file does not tell; only atoms in Angstrom need it.

    Raises:
        ValueError: an array has another length or type of values, or no pixel is good.
    """

    q_voxels: np.ndarray
    correction: np.ndarray
    mask: np.ndarray
    ewald_radius_voxels: float
    wavelength_angstrom: Optional[float] = None

    def __post_init__(self):
        num_pixels = len(self.mask)
        if self.q_voxels.shape != (num_pixels, 3) or self.correction.shape != (num_pixels,):
            raise ValueError(
                f"q_voxels must be [{num_pixels}, 3] and correction [{num_pixels}], as the mask. "
                f"Received: {list(self.q_voxels.shape)}, {list(self.correction.shape)}."
            )
        if not np.isin(self.mask, list(Mask)).all():
            raise ValueError(
                f"mask must hold 0 (good), 1 (merge only) or 2 (bad). Received: {sorted(set(self.mask.tolist()))[:9]}."
            )
        used = self.mask != Mask.BAD
        if not (np.isfinite(self.q_voxels[used]).all() and np.isfinite(self.correction[used]).all()):
            raise ValueError("pixels must have finite positions and corrections. Received: others. Mask them as 2.")
        if (self.correction[used] <= 0).any():
            raise ValueError("pixels must have positive corrections. Received: others. Mask them as 2.")
        if not (self.mask == Mask.GOOD).any():
            raise ValueError("a detector must have good pixels. Received: every pixel is masked. Check the mask.")

    @property
    def num_pixels(self) -> int:
        return len(self.mask)

    @property
    def side(self) -> int:
        """Voxels along an edge of the smallest volume that holds all used pixels at any rotation; odd."""
        return 2 * math.ceil(self.max_radius_voxels) + 3

    @property
    def max_radius_voxels(self) -> float:
        """Of the used pixels."""
        return float(np.linalg.norm(self.q_voxels[self.mask != Mask.BAD], axis=1).max())


def make_detector(
    distance_mm: float,
    pixel_size_um: float,
    wavelength_angstrom: float,
    num_pixels: int,
    stop_radius_pixels: float = 0.0,
    polarisation: Polarisation = "x",
    voxels_per_pixel: float = 1.0,
) -> Detector:
    """A flat square detector with the beam at its centre.

    Pixels within `stop_radius_pixels` of the beam are bad, those farther from it than the middle of an edge are for
    merging only.

    Args:
        num_pixels: along an edge.
        polarisation: of the beam: along x, y, or none.
        voxels_per_pixel: near the beam; less than 1 makes a smaller volume.

    Raises:
        ValueError: a length is not positive, or no pixel is left.
    """
    lengths = {
        "distance_mm": distance_mm,
        "pixel_size_um": pixel_size_um,
        "wavelength_angstrom": wavelength_angstrom,
        "num_pixels": num_pixels,
        "voxels_per_pixel": voxels_per_pixel,
    }
    for name, value in lengths.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive. Received: {name}={value}.")
    if polarisation not in ("x", "y", "none"):
        raise ValueError(f"polarisation must be x, y or none. Received: {polarisation!r}.")
    distance_pixels = distance_mm * 1000.0 / pixel_size_um
    line = np.arange(num_pixels) - (num_pixels - 1) / 2
    x, y = (axis.ravel() for axis in np.meshgrid(line, line, indexing="ij"))
    radius = distance_pixels * voxels_per_pixel
    mask = np.full(num_pixels**2, Mask.GOOD, np.uint8)
    from_beam = np.hypot(x, y)
    mask[from_beam > line[-1]] = Mask.MERGE_ONLY
    mask[from_beam < stop_radius_pixels] = Mask.BAD
    return Detector(
        q_voxels=_on_sphere(x, y, distance_pixels, radius),
        correction=solid_angle(x, y, distance_pixels) * polarisation_factor(x, y, distance_pixels, polarisation),
        mask=mask,
        ewald_radius_voxels=radius,
        wavelength_angstrom=wavelength_angstrom,
    )


def _on_sphere(x: np.ndarray, y: np.ndarray, distance: float, radius: float) -> np.ndarray:
    length = np.sqrt(x**2 + y**2 + distance**2)
    # cos(theta) - 1 without the difference of two near numbers.
    z = -(x**2 + y**2) / (length * (length + distance))
    return radius * np.stack([x / length, y / length, z], axis=1)


def solid_angle(x: np.ndarray, y: np.ndarray, distance: float) -> np.ndarray:
    """[num_pixels], what a pixel covers relative to one on the axis: cos(theta)^3.

    Args:
        x, y: [num_pixels], distances from the beam in the unit of `distance`.
    """
    return (1.0 + (x**2 + y**2) / distance**2) ** -1.5


def polarisation_factor(x: np.ndarray, y: np.ndarray, distance: float, polarisation: Polarisation) -> np.ndarray:
    """[num_pixels], 1 minus the squared cosine between the scattered beam and the polarisation; arguments as above.

    Without polarisation it is the mean of both directions, (1 + cos(theta)^2) / 2.
    """
    square = x**2 + y**2 + distance**2
    along = {"x": x**2, "y": y**2, "none": (x**2 + y**2) / 2}[polarisation]
    return 1.0 - along / square
