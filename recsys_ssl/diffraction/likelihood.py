"""How well slices explain patterns, and the responsibilities that follow.

W_ij is what pixel i is expected to count at rotation j and fluence 1, K_ik what it counted in pattern k, phi the
fluence of a pattern, P the number of good pixels; sums are over good pixels.

    poisson    R_jk = sum K ln(phi_k W) - phi_k W - ln K!
    absolute   R_jk = -sum (W - K / phi)^2 / (2 sigma^2 P),        phi_jk = sum K^2 / sum K W
    scaled     R_jk = -sum (W - K / phi)^2 / W / (2 sigma^2 P),    phi_jk = (sum K^2 / W) / sum K
    relative   R_jk = -sum (1 - K / (phi W))^2 / (2 sigma^2 P),    phi_jk = sum (K / W)^2 / sum K / W

The last three are Gaussian, with the fluence that is best for each rotation and pattern put in: then they need one or
two products of patterns and slices, as the first does. The responsibility of rotation j for pattern k is proportional
to w_j exp(beta R_jk), where w_j is the rotation's share of all orientations.

References:
    Loh and Elser 2009, Phys. Rev. E 80, 026705.
    Ekeberg, Engblom and Liu 2015, arXiv:1409.4256.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numba
import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln

from recsys_ssl.diffraction.mirrors import Layout
from recsys_ssl.diffraction.photons import Block, make_block
from recsys_ssl.diffraction.slices import shell_means

MODELS = ("poisson", "absolute", "scaled", "relative")
_SQUARED = ("absolute", "scaled", "relative")
_LEAST_SHARE = 1e-3
"""Of the mean of a shell: no slice is darker, so that no photon is impossible."""
_TINY = 1e-30
_TILE = 64
_LEAST_EXPONENT = -60.0


class Photons(NamedTuple):
    """A block of patterns, prepared."""

    counts: Block
    squares: Optional[Block]
    """Of counts; None for the Poisson model."""
    sums: np.ndarray
    """[num_patterns] float64, photons on good pixels."""
    square_sums: np.ndarray
    """[num_patterns] float64, their squares."""
    log_factorials: np.ndarray
    """[num_patterns] float64, sums of ln K!."""

    @property
    def bytes(self) -> int:
        return self.counts.bytes + (self.squares.bytes if self.squares else 0)


def prepare(counts: sp.csr_matrix, layout: Layout, model: str, dtype: np.dtype) -> Photons:
    """Patterns of [num_patterns, num_pixels] photons for the E-step."""
    counts = sp.csr_matrix(counts, dtype=np.float64)
    good = counts[:, np.unique(layout.pixels[:, : layout.num_good])]
    squares, factorials = counts.multiply(counts).tocsr(), good.copy()
    factorials.data = gammaln(good.data + 1)
    return Photons(
        counts=make_block(counts, layout, dtype),
        squares=make_block(squares, layout, dtype) if model in _SQUARED else None,
        sums=np.asarray(good.sum(axis=1)).ravel(),
        square_sums=np.asarray(good.multiply(good).sum(axis=1)).ravel(),
        log_factorials=np.asarray(factorials.sum(axis=1)).ravel(),
    )


class Background(NamedTuple):
    """The shell means of a volume at the good pixels: the same for every rotation and mirror image.

    Scores are taken relative to it. They are small then, and float32 is enough; one constant for all mirror images
    keeps them comparable.
    """

    intensities: np.ndarray
    """[num_good] float64, at one pixel of each orbit, times its correction."""
    total: float
    """Sum over good pixels."""


def background_of(volume: np.ndarray, layout: Layout) -> Background:
    """See `Background`.

    Raises:
        ValueError: the volume is 0 or not finite on a shell.
    """
    radii = np.linalg.norm(layout.q_voxels[0, : layout.num_good], axis=-1)
    means = shell_means(volume, radii)
    if not (np.isfinite(means).all() and (means > 0).all()):
        raise ValueError(
            "a volume must be finite, and positive on average, wherever pixels are. Received: another. "
            "Start at `emc.start_volume`."
        )
    intensities = means * layout.corrections[: layout.num_good]
    return Background(intensities, float(layout.group_size * (intensities * layout.shares[: layout.num_good]).sum()))


def clamp(tomograms: np.ndarray, background: Background) -> np.ndarray:
    """Lifts slices to a thousandth of the background, in place; [group_size, num_slices, num_good]."""
    return np.maximum(tomograms, (_LEAST_SHARE * background.intensities).astype(tomograms.dtype), out=tomograms)


class Scores(NamedTuple):
    """Of a block of patterns at some rotations."""

    values: np.ndarray
    """[group_size, num_slices, num_patterns], R less a constant of each pattern."""
    fluence: Optional[np.ndarray]
    """[group_size, num_slices, num_patterns] of the Gaussian models; None: that of each pattern, which is given."""

    @property
    def bytes(self) -> int:
        return self.values.nbytes + (self.fluence.nbytes if self.fluence is not None else 0)


class Slices(NamedTuple):
    """Some rotations' slices as a model multiplies patterns with them."""

    totals: np.ndarray
    """[num_slices] float64, sums over good pixels of W, of W**2 in the absolute model."""
    values: np.ndarray
    """[group_size, num_slices, num_good], ln W less the background's, or W, or 1 / W."""


def prepare_slices(model: str, tomograms: np.ndarray, background: Background, layout: Layout) -> Slices:
    """For `score`; tomograms are [group_size, num_slices, num_good], W, positive, and are overwritten."""
    dtype, shares = tomograms.dtype, layout.shares[: layout.num_good]
    seen = tomograms**2 if model == "absolute" else tomograms
    totals = (seen.sum(axis=0, dtype=np.float64) * shares).sum(axis=-1)
    if model == "poisson":
        values = np.log(tomograms, out=tomograms)
        values -= np.log(background.intensities).astype(dtype)
        return Slices(totals, values)
    return Slices(totals, tomograms if model == "absolute" else 1 / tomograms)


def score(
    model: str,
    slices: Slices,
    photons: Photons,
    fluence: np.ndarray,
    background: Background,
    layout: Layout,
    sigma: float,
) -> Scores:
    """R of every pattern at every rotation.

    Args:
        slices: as `prepare_slices` makes them.
        fluence: [num_patterns] float64, of the Poisson model.
        sigma: of the Gaussian models.
    """
    dtype = slices.values.dtype
    if model == "poisson":
        values = photons.counts.products(slices.values)
        values -= ((slices.totals - background.total)[:, None] * fluence).astype(dtype)
        return Scores(values, None)
    num_pixels = layout.group_size * layout.shares[: layout.num_good].sum()
    scale = -1 / (2 * sigma**2 * num_pixels)
    totals = slices.totals[:, None]
    if model == "absolute":
        products = photons.counts.products(slices.values)
        misfit = totals - products**2 / photons.square_sums
        return Scores((scale * misfit).astype(dtype), _ratio(photons.square_sums, products, dtype))
    if photons.squares is None:
        raise ValueError(f"the model {model} needs squared counts. Received: none. Prepare patterns for it.")
    if model == "scaled":
        products = photons.squares.products(slices.values)
        misfit = totals - photons.sums**2 / np.maximum(products, _TINY)
        return Scores((scale * misfit).astype(dtype), _ratio(products, photons.sums, dtype))
    products = photons.counts.products(slices.values)
    squares = photons.squares.products(np.square(slices.values))
    misfit = num_pixels - products**2 / np.maximum(squares, _TINY)
    return Scores((scale * misfit).astype(dtype), _ratio(squares, products, dtype))


def _ratio(upper: np.ndarray, lower: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (upper / np.maximum(lower, _TINY)).astype(dtype)


def constants(model: str, photons: Photons, fluence: np.ndarray, background: Background) -> np.ndarray:
    """[num_patterns] float64, what `score` leaves out of R."""
    if model != "poisson":
        return np.zeros(len(photons.sums))
    of_background = photons.counts.weighted_sums(np.log(background.intensities))
    return of_background + photons.sums * np.log(fluence) - fluence * background.total - photons.log_factorials


# --- Responsibilities ------------------------------------------------------------------------------------


@dataclass
class Normalizer:
    """Sums over rotations of w exp(beta R) for each pattern, streamed: any part of the rotations at a time.

    R is less the largest so far, so that nothing overflows; parts of different workers are added by `merge`.

    Attributes:
        maximum: [num_patterns] float64, the largest score so far.
        annealed: [num_patterns] float64, sums of w exp(beta (R - maximum)).
        plain: [num_patterns] float64, the same for beta = 1: the likelihood.
        best: [num_patterns] int64, the rotation of the largest score.
    """

    maximum: np.ndarray
    annealed: np.ndarray
    plain: np.ndarray
    best: np.ndarray

    @classmethod
    def empty(cls, num_patterns: int) -> Normalizer:
        """Of no rotation."""
        annealed, plain = np.zeros((2, num_patterns))
        return cls(np.full(num_patterns, -np.inf), annealed, plain, np.full(num_patterns, -1, np.int64))

    def add(self, patterns: slice, values: np.ndarray, weights: np.ndarray, beta: float, first: int) -> None:
        """Adds rotations.

        Args:
            patterns: which.
            values: [group_size, num_slices, num_patterns of the slice], as `score` gives them.
            weights: [group_size, num_slices] float64, w.
            first: number of the first rotation; those of an orbit follow each other.
        """
        size, num_slices, num_patterns = values.shape
        flat, shares = values.reshape(-1, num_patterns), weights.ravel().astype(values.dtype)
        top, places = np.empty(num_patterns, values.dtype), np.empty(num_patterns, np.int64)
        _find_highest(flat, top, places)
        before = self.maximum[patterns]
        maximum = np.maximum(before, top)
        plain, annealed = np.zeros((2, num_patterns))
        for rows in tiles(len(flat)):
            below = flat[rows] - maximum.astype(flat.dtype)
            plain += shares[rows] @ powers(below)
            if beta != 1:
                below *= below.dtype.type(beta)
                annealed += shares[rows] @ powers(below)
        annealed = plain if beta == 1 else annealed
        self.annealed[patterns] = self.annealed[patterns] * np.exp(beta * (before - maximum)) + annealed
        self.plain[patterns] = self.plain[patterns] * np.exp(before - maximum) + plain
        better = top > before
        found = first + places % num_slices * size + places // num_slices
        self.best[patterns] = np.where(better, found, self.best[patterns])
        self.maximum[patterns] = maximum

    def merge(self, other: Normalizer, beta: float) -> Normalizer:
        """Of the rotations of both, which have none in common."""
        maximum = np.maximum(self.maximum, other.maximum)
        known = np.isfinite(maximum)
        # Of patterns that neither has seen the difference would be NaN.
        left = np.where(known, self.maximum, 0.0) - np.where(known, maximum, 0.0)
        right = np.where(known, other.maximum, 0.0) - np.where(known, maximum, 0.0)
        return Normalizer(
            maximum,
            self.annealed * np.exp(beta * left) + other.annealed * np.exp(beta * right),
            self.plain * np.exp(left) + other.plain * np.exp(right),
            np.where(self.maximum >= other.maximum, self.best, other.best),
        )

    def log_likelihoods(self) -> np.ndarray:
        """[num_patterns] float64, ln sum_j w_j exp(R_jk), less the constant of each pattern; -inf of those not seen."""
        with np.errstate(divide="ignore"):
            return self.maximum + np.log(self.plain)


def powers(exponents: np.ndarray) -> np.ndarray:
    """Their exponentials, at least e^-60: what float32 cannot hold in full costs ten times the time."""
    found = np.maximum(exponents, exponents.dtype.type(_LEAST_EXPONENT))
    return np.exp(found, out=found)


def tiles(num_rows: int) -> Iterator[slice]:
    """A few rows at a time: what is touched one by one, and not multiplied, stays in the cache."""
    return (slice(first, first + _TILE) for first in range(0, num_rows, _TILE))


@numba.njit(cache=True, nogil=True)
def _find_highest(rows, highest, places):
    """Of each column the highest number and the first row that has it; the last two are written."""
    highest[:] = -np.inf
    places[:] = -1
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            if rows[i, k] > highest[k]:
                highest[k], places[k] = rows[i, k], i
