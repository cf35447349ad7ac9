"""A volume as numbers that do not change when it is rotated: what an item tower can take for a particle.

On a shell of radius r the volume is a function on the sphere, a sum over c_lm(r) Y_lm. A rotation mixes the m of each l
only, so

    p_l(r) = sqrt(sum_m |c_lm(r)|^2)

stays. Odd l vanish with Friedel's symmetry. What it does not tell: mirror images, and shells turned against each other.
Generic particles look much alike to it; standardise the features over a catalogue before comparing them by angle.

References:
    Kazhdan, Funkhouser and Rusinkiewicz 2003, "Rotation invariant spherical harmonic representation of 3D shape
    descriptors".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.special import gammaln, lpmv


def power_spectrum(volume: np.ndarray, radii: Sequence[float], max_order: int = 16) -> np.ndarray:
    """[num_radii, max_order / 2 + 1] float64, p_l(r) for l = 0, 2, ..., max_order.

    The sphere is sampled at Gauss-Legendre latitudes times even longitudes, twice as finely as the orders ask for,
    between voxels by cubic splines.

    Args:
        volume: [side, side, side].
        radii: of shells, in voxels.
        max_order: even.

    Raises:
        ValueError: a shell is not inside the volume, or max_order is odd or negative.
    """
    side = len(volume)
    if max_order < 0 or max_order % 2:
        raise ValueError(f"max_order must be even and not negative. Received: {max_order}. Use 16.")
    if not all(0 < radius <= (side - 1) / 2 for radius in radii):
        raise ValueError(
            f"radii must lie in (0, {(side - 1) / 2}], half of the volume. Received: {min(radii)} to {max(radii)}."
        )
    heights, weights = np.polynomial.legendre.leggauss(2 * max_order + 2)
    longitudes = np.arange(4 * max_order + 4) * (2 * np.pi / (4 * max_order + 4))
    across = np.sqrt(1 - heights**2)[:, None]
    x, y = across * np.cos(longitudes), across * np.sin(longitudes)
    directions = np.stack([x, y, np.broadcast_to(heights[:, None], x.shape)])
    places = np.multiply.outer(np.asarray(radii, np.float64), directions) + (side - 1) / 2
    values = map_coordinates(np.asarray(volume, np.float64), places.transpose(1, 0, 2, 3), order=3, mode="nearest")
    # [num_radii, num_heights, m], integrals over longitude.
    by_m = np.fft.rfft(values, axis=-1)[..., : max_order + 1] * longitudes[1]
    spectrum = []
    for order in range(0, max_order + 1, 2):
        power = np.zeros(len(values))
        for m in range(order + 1):
            coefficients = by_m[..., m] @ (weights * _legendre(order, m, heights))
            power += (1 if m == 0 else 2) * np.abs(coefficients) ** 2
        spectrum.append(np.sqrt(power))
    return np.stack(spectrum, axis=1)


def _legendre(order: int, m: int, heights: np.ndarray) -> np.ndarray:
    """The part of Y_lm that depends on cos(latitude), normalised."""
    scale = np.log((2 * order + 1) / (4 * np.pi)) + gammaln(order - m + 1) - gammaln(order + m + 1)
    return np.exp(scale / 2) * lpmv(m, order, heights)


def describe(volume: np.ndarray, radii: Sequence[float], max_order: int = 16) -> np.ndarray:
    """[num_radii * max_order / 2] float32: ln(1 + p_l(r) / p_0(r)) for l = 2, 4, ...; free of scale and fall-off.

    Raises:
        ValueError: see `power_spectrum`; or a shell is 0.
    """
    spectrum = power_spectrum(volume, radii, max_order)
    if not (spectrum[:, 0] > 0).all():
        raise ValueError("shells must not be 0 on average. Received: one that is. Leave it out of radii.")
    return np.log1p(spectrum[:, 1:] / spectrum[:, :1]).ravel().astype(np.float32)
