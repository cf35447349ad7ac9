"""The E-step on a shard, some rotations and some patterns, as statistics that add up over shards.

    numerator   = sum over rotations, patterns and pixels of f P_jk K_ik
    denominator = the same of f P_jk phi_k c_i

where P_jk are the responsibilities, f the trilinear weights of the voxels around pixel i at rotation j, and c_i what
the pixel counts of an intensity of 1. Each slice is weighted by its responsibilities, so the sums are linear in
patterns and in rotations. The Gaussian models add K / phi_jk in place of K, and P alone in place of P phi.

Two passes over chunks of rotations: `Shard.score` finds what the responsibilities of each pattern sum up to, which
shards of other rotations have to tell each other, and `Shard.accumulate` adds up. Scores are kept between the
two where they fit, else they are computed again.

Memory of a shard, in bytes: 4 group_size * num_orbits a pattern in dense blocks where these fit in half of
`memory_bytes`; scores of at most the other half; 16 side^3 of statistics and 20 side^3 of other volumes; and a chunk of
rotations, at most `CHUNK` slices of 4 * group_size * (num_orbits + `BLOCK`), the former in an eighth of the memory, a
few times. None grows with rotations times patterns.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Optional

import numpy as np
import scipy.sparse as sp

from recsys_ssl.diffraction.likelihood import (
    Normalizer,
    Photons,
    Scores,
    Slices,
    background_of,
    clamp,
    constants,
    powers,
    prepare,
    prepare_slices,
    score,
    tiles,
)
from recsys_ssl.diffraction.mirrors import Layout, transform
from recsys_ssl.diffraction.rotations import Rotations, to_matrices
from recsys_ssl.diffraction.slices import add_slices, expand

CHUNK = 512
"""Slices at a time, at most; the chunks of a shard are alike."""
BLOCK = 2048
"""Patterns at a time, the same."""
_CHUNK_SHARE = 8
"""Of the memory, one over what the slices of a chunk may take."""
_LEAST_RESPONSIBILITY = 1e-6
"""Of all patterns for a slice: below, it has none."""


@dataclass(frozen=True)
class Problem:
    """What stays the same from one iteration to the next.

    Attributes:
        layout: the detector's pixels.
        rotations: all of them, in orbits of `layout.group_size` or of multiples of it.
        counts: [num_patterns, num_pixels] photons.
        merged: [num_patterns] bool, False for those that are only scored, to judge the volume by.
        side: voxels along an edge of the volume.
        model: see `likelihood`.
        sigma: of a Gaussian model.
        dtype: of scores and slices, float32 or float64; statistics are float64.
        slice_weights: "responsibility" or "equal", see the module.
    """

    layout: Layout
    rotations: Rotations
    counts: sp.csr_matrix
    merged: np.ndarray
    side: int
    model: str = "poisson"
    sigma: float = 0.2
    dtype: str = "float32"
    slice_weights: str = "responsibility"

    @property
    def num_slices(self) -> int:
        return len(self.rotations.weights) // self.layout.group_size

    @property
    def num_patterns(self) -> int:
        return self.counts.shape[0]


@dataclass
class Statistics:
    """What shards find, added up over all of them.

    Attributes:
        numerator, denominator: [side, side, side] float64.
        expected: [num_patterns] float64, sums over rotations of P times what the slice expects at fluence 1 (poisson),
            or of P times the best fluence (others).
        log_likelihood: sum over merged patterns of ln sum_j w_j exp(R_jk).
        held_out_log_likelihood: of the others.
        count, held_out_count: of patterns; a shard of some rotations counts the share that it is responsible for.
        information: sum over merged patterns of sum_j P_jk ln(P_jk / w_j), 0 where orientations are unknown.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    expected: np.ndarray
    log_likelihood: float = 0.0
    held_out_log_likelihood: float = 0.0
    count: float = 0.0
    held_out_count: float = 0.0
    information: float = 0.0

    @classmethod
    def in_sums(cls, sums: np.ndarray, num_patterns: int) -> Statistics:
        """With numerator and denominator in one array, [side, side, side, 2] float64, as `slices.add_slices` has it."""
        return cls(sums[..., 0], sums[..., 1], np.zeros(num_patterns))

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


class Shard:
    """Some rotations and some patterns of a problem; it keeps what its two passes share."""

    def __init__(self, problem: Problem, slices: range, patterns: range, memory_bytes: int = 2**30):
        """Prepares the patterns.

        Args:
            slices: which of `problem.num_slices`.
            patterns: which.
            memory_bytes: for what is kept, see the module.

        Raises:
            ValueError: slices count alike, and some patterns are missing.
        """
        if problem.slice_weights == "equal" and patterns != range(problem.num_patterns):
            raise ValueError(
                "slices of equal weight are sums over all patterns. Received: a shard of some. "
                "Share the rotations only, or take reconstruct.slice_weights=responsibility."
            )
        self._problem, self._memory = problem, memory_bytes
        size = problem.layout.group_size
        self._matrices = to_matrices(problem.rotations.quaternions[::size])
        self._weights = np.ascontiguousarray(problem.rotations.weights.reshape(-1, size).T)
        slice_bytes = size * problem.layout.num_orbits * np.dtype(problem.dtype).itemsize
        self._chunks = _cut(slices, min(CHUNK, max(1, memory_bytes // _CHUNK_SHARE // slice_bytes)))
        self._blocks = [slice(block.start, block.stop) for block in _cut(patterns, BLOCK)]
        self._prepared: dict[int, Photons] = {}
        self._prepared_bytes = 0
        self._kept: dict[tuple[int, int], Scores] = {}
        self._kept_bytes = 0
        self._sums: Optional[np.ndarray] = None

    def score(self, volume: np.ndarray, fluence: np.ndarray, beta: float) -> Normalizer:
        """The sums that make responsibilities of scores, over this shard's rotations and for its patterns.

        Args:
            volume: [side, side, side] float64, with Friedel's symmetry where the layout is folded.
            fluence: [num_patterns of the problem] float64, of the Poisson model.
            beta: see `likelihood`.
        """
        problem = self._problem
        self._volume = volume.astype(problem.dtype)
        self._fluence, self._beta = fluence, beta
        self._background = background_of(volume, problem.layout)
        self._kept.clear()
        self._kept_bytes = 0
        self._totals: dict[int, np.ndarray] = {}
        normalizer = Normalizer.empty(problem.num_patterns)
        for chunk in self._chunks:
            seen = self._expand(chunk)
            self._totals[chunk.start] = seen.totals
            for place, patterns in enumerate(self._blocks):
                found = self._score(seen, place)
                first = chunk.start * problem.layout.group_size
                normalizer.add(patterns, found.values, self._weights[:, chunk.start : chunk.stop], beta, first)
                if self._kept_bytes + found.bytes <= self._memory // 2:
                    self._kept[chunk.start, place] = found
                    self._kept_bytes += found.bytes
        return normalizer

    def accumulate(self, normalizer: Normalizer, sums: Optional[np.ndarray] = None) -> Statistics:
        """The statistics of this shard, after `score` of the same volume.

        Args:
            normalizer: of all rotations.
            sums: [side, side, side, 2] float64, which become numerator and denominator; None: the shard's own, which
                its next call overwrites.
        """
        problem, layout = self._problem, self._problem.layout
        if sums is None:
            if self._sums is None:
                self._sums = np.empty((problem.side, problem.side, problem.side, 2))
            sums = self._sums
        sums[...] = 0.0
        statistics = Statistics.in_sums(sums, problem.num_patterns)
        log_likelihoods = normalizer.log_likelihoods()
        for place, patterns in enumerate(self._blocks):
            log_likelihoods[patterns] += constants(
                problem.model, self._photons(place), self._fluence[patterns], self._background
            )
        for chunk in self._chunks:
            values = np.zeros((layout.group_size, len(chunk), layout.num_orbits), problem.dtype)
            weights = np.zeros(len(chunk))
            slices = None
            for place in range(len(self._blocks)):
                found = self._kept.pop((chunk.start, place), None)
                if found is None:
                    slices = self._expand(chunk) if slices is None else slices
                    found = self._score(slices, place)
                self._add(statistics, values, weights, chunk, place, found, normalizer, log_likelihoods)
            transform(values)
            if problem.slice_weights == "equal":
                has_any = weights > _LEAST_RESPONSIBILITY
                values *= (has_any / np.where(has_any, weights, 1.0)).astype(values.dtype)[:, None]
                weights = has_any.astype(np.float64)
            for image in range(layout.group_size):
                add_slices(
                    values[image],
                    weights,
                    layout.shares,
                    layout.corrections,
                    self._matrices[chunk.start : chunk.stop],
                    layout.q_voxels[image],
                    sums,
                )
        return statistics

    def _add(
        self,
        statistics: Statistics,
        values: np.ndarray,
        slice_weights: np.ndarray,
        chunk: range,
        place: int,
        found: Scores,
        normalizer: Normalizer,
        log_likelihoods: np.ndarray,
    ) -> None:
        """Adds a block of patterns at a chunk of rotations to the slices, and to all statistics but the volumes."""
        patterns, merged = self._blocks[place], self._problem.merged[self._blocks[place]]
        size, num_slices, num_patterns = found.values.shape
        dtype = found.values.dtype
        maximum = normalizer.maximum[patterns].astype(dtype)
        log_annealed = np.log(normalizer.annealed[patterns]).astype(dtype)
        shares = self._weights[:, chunk.start : chunk.stop].reshape(-1, 1).astype(dtype)
        totals = np.tile(self._totals[chunk.start], size).astype(dtype)
        counted = (merged if found.fluence is not None else self._fluence[patterns] * merged).astype(dtype)
        flat = found.values.reshape(-1, num_patterns)  # scores that become responsibilities
        by_pattern, expected, information = np.zeros((3, num_patterns))
        by_rotation = np.empty(len(flat), dtype)
        # Sums are products of a matrix and a vector: these are the fastest.
        for rows in tiles(len(flat)):
            exponents = flat[rows]
            exponents -= maximum
            exponents *= dtype.type(self._beta)
            exponents -= log_annealed
            part = powers(exponents)
            part *= shares[rows]
            ones = np.ones(len(part), dtype)
            by_pattern += ones @ part
            exponents *= part
            information += ones @ exponents
            by_rotation[rows] = part @ counted
            if found.fluence is None:
                expected += totals[rows] @ part
            else:
                best = found.fluence.reshape(flat.shape)[rows]
                expected += ones @ (part * best)
                part /= best
            np.multiply(part, merged, out=exponents)
        log_likelihoods = by_pattern * log_likelihoods[patterns]
        statistics.expected[patterns] += expected
        statistics.count += by_pattern[merged].sum()
        statistics.held_out_count += by_pattern[~merged].sum()
        statistics.log_likelihood += log_likelihoods[merged].sum()
        statistics.held_out_log_likelihood += log_likelihoods[~merged].sum()
        statistics.information += information[merged].sum()
        slice_weights += by_rotation.reshape(size, num_slices).sum(axis=0, dtype=np.float64)
        self._photons(place).counts.merge(found.values, values)

    def _expand(self, chunk: range) -> Slices:
        """The slices of some rotations."""
        layout = self._problem.layout
        tomograms = np.empty((layout.group_size, len(chunk), layout.num_good), self._problem.dtype)
        for image in range(layout.group_size):
            pixels = layout.q_voxels[image, : layout.num_good]
            expand(self._volume, self._matrices[chunk.start : chunk.stop], pixels, tomograms[image])
        tomograms *= layout.corrections[: layout.num_good].astype(tomograms.dtype)
        clamp(tomograms, self._background)
        return prepare_slices(self._problem.model, tomograms, self._background, layout)

    def _score(self, slices: Slices, place: int) -> Scores:
        problem = self._problem
        return score(
            problem.model,
            slices,
            self._photons(place),
            self._fluence[self._blocks[place]],
            self._background,
            problem.layout,
            problem.sigma,
        )

    def _photons(self, place: int) -> Photons:
        """A block of patterns, kept where it fits."""
        if place in self._prepared:
            return self._prepared[place]
        problem = self._problem
        photons = prepare(problem.counts[self._blocks[place]], problem.layout, problem.model, np.dtype(problem.dtype))
        if self._prepared_bytes + photons.bytes <= self._memory // 2:
            self._prepared[place] = photons
            self._prepared_bytes += photons.bytes
        return photons


def _cut(whole: range, most: int) -> list[range]:
    """Parts of at most `most`, whose lengths differ by one at most."""
    bounds = np.linspace(0, len(whole), -(-len(whole) // most) + 1).astype(int)
    return [whole[first:last] for first, last in pairwise(bounds)]
