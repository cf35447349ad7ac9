"""Expand, maximise, compress: a 3-D intensity from patterns of unknown orientation.

Each iteration adds up the statistics of all shards (`expectation`), divides them, and imposes Friedel's symmetry:

    W(p) <- (numerator(p) + numerator(-p)) / (denominator(p) + denominator(-p))

A voxel that no pattern has seen stays as it was. With `fit_fluence`, phi_k <- sum_i K_ik / sum_j P_jk sum_i W_ij, then
to mean 1. A run is a function of patterns, detector and settings, up to rounding: it goes on from its checkpoint as if
it had never stopped, and shards change nothing.

References:
    Loh and Elser 2009, Phys. Rev. E 80, 026705.
    Ekeberg, Engblom and Liu 2015, arXiv:1409.4256.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import scipy.sparse as sp

from recsys_ssl.diffraction import annealing as rises
from recsys_ssl.diffraction import checkpoints
from recsys_ssl.diffraction.checkpoints import State, Winner
from recsys_ssl.diffraction.expectation import Problem, Shard, Statistics
from recsys_ssl.diffraction.geometry import Detector
from recsys_ssl.diffraction.likelihood import Normalizer
from recsys_ssl.diffraction.mirrors import make_layout
from recsys_ssl.diffraction.rotations import sample_rotations
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.slices import divide_symmetrised, radii_of, shell_means, symmetrise

Expect = Callable[[np.ndarray, np.ndarray, float], tuple[Statistics, Normalizer]]
"""The E-step on all shards: volume, fluence and beta -> statistics, and the sums of all rotations."""
Progress = Callable[[dict[str, Any]], None]
"""Called after each iteration with its row of the history."""

_LEAST_SEEN = 1e-9
"""Of the mean denominator: voxels below have seen nothing but rounding."""


class Reconstruction(NamedTuple):
    """What a run found."""

    volume: np.ndarray
    """[side, side, side] float64, photons a pixel at fluence 1."""
    quaternions: np.ndarray
    """[num_patterns, 4] float64, the most likely rotation of each pattern."""
    rotations: np.ndarray
    """[num_patterns] int64, the same as a row of the grid."""
    fluence: np.ndarray
    """[num_patterns] float64, mean 1."""
    held_out: np.ndarray
    """[num_patterns] bool, which were not merged."""
    log_likelihood: float
    """Of the volume, a merged pattern."""
    held_out_log_likelihood: float
    """A pattern held out; NaN without any."""
    history: list[dict[str, Any]]
    """A row an iteration of every start, with start, iteration, beta, log_likelihood, held_out_log_likelihood,
    rms_change and information, in nats a pattern."""
    start: int
    """The start that was kept."""


def make_problem(counts: sp.csr_matrix, detector: Detector, settings: EmcSettings) -> Problem:
    """What a reconstruction works on.

    Args:
        counts: [num_patterns, num_pixels], photons.

    Raises:
        ValueError: patterns are of another detector, or some have no photon on good pixels; too few patterns.
    """
    if counts.shape[1] != detector.num_pixels:
        raise ValueError(
            f"patterns must be of the detector's {detector.num_pixels:,} pixels. Received: {counts.shape[1]:,}. "
            "Give the detector that they were taken with."
        )
    blank = np.flatnonzero(photons_of(counts, detector) == 0)
    if len(blank):
        raise ValueError(
            f"each pattern must have photons on good pixels. Received: {len(blank):,} of {counts.shape[0]:,} without, "
            f"the first at row {blank[0]}. Leave these out, or mend the mask."
        )
    num_patterns = counts.shape[0]
    num_held_out = math.ceil(settings.held_out_share * num_patterns)
    if num_patterns - num_held_out < 2:
        raise ValueError(
            f"at least 2 patterns must be left to merge. Received: {num_patterns}, {num_held_out} of them held out."
        )
    merged = np.ones(num_patterns, bool)
    rng = np.random.default_rng([settings.seed, 0])
    merged[rng.choice(num_patterns, num_held_out, replace=False)] = False
    return Problem(
        layout=make_layout(detector, settings.folded),
        rotations=sample_rotations(settings.rotations),
        counts=sp.csr_matrix(counts),
        merged=merged,
        side=detector.side,
        model=settings.model,
        sigma=settings.sigma,
        dtype=settings.dtype,
        slice_weights=settings.slice_weights,
    )


def photons_of(counts: sp.csr_matrix, detector: Detector) -> np.ndarray:
    """[num_patterns] float64, photons of patterns on good pixels."""
    return np.asarray(counts @ (detector.mask == 0).astype(np.float64)).ravel()


def start_volume(problem: Problem, noise: float, seed: int, start: int) -> np.ndarray:
    """[side, side, side] float64: the radial average of the merged patterns, each voxel times 1 +- noise."""
    layout = problem.layout
    pixels, first = np.unique(layout.pixels, return_index=True)
    radii = np.linalg.norm(layout.q_voxels, axis=-1).ravel()[first]
    corrections = np.broadcast_to(layout.corrections, layout.pixels.shape).ravel()[first]
    seen = np.asarray(problem.counts[problem.merged].mean(axis=0)).ravel()[pixels]
    shells = np.rint(radii).astype(np.int64)
    weights = np.bincount(shells, corrections)
    known = np.flatnonzero(weights)
    means = np.bincount(shells, seen)[known] / weights[known]
    means = np.maximum(means, 1e-3 * means[means > 0].min())
    volume = np.interp(radii_of(problem.side), known, means)
    rng = np.random.default_rng([seed, 1, start])
    return symmetrise(volume * (1 + noise * rng.uniform(-1, 1, volume.shape)))


# --- One iteration ---------------------------------------------------------------------------------------


def split(num: int, num_parts: int) -> list[range]:
    """Ranges of about the same length."""
    bounds = [num * part // num_parts for part in range(num_parts + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(bounds)]


def make_shards(problem: Problem, num_rotation_parts: int = 1, num_pattern_parts: int = 1) -> list[Shard]:
    """Shards of this process: every part of the rotations with every part of the patterns."""
    blocks = make_mesh(problem, num_rotation_parts * num_pattern_parts, num_pattern_parts)
    return [Shard(problem, *block) for block in blocks]


def make_mesh(problem: Problem, num_workers: int, pattern_parts: int = 1) -> list[tuple[range, range]]:
    """Slices and patterns of each worker: blocks of rotations, and those of the next patterns after them.

    Args:
        num_workers: at most the slices of the problem times `pattern_parts`, and a multiple of it.
        pattern_parts: into how many the patterns are split; the rotations into num_workers / pattern_parts.

    Raises:
        ValueError: so many workers cannot share the problem.
    """
    if not 1 <= pattern_parts <= problem.num_patterns or num_workers % pattern_parts:
        raise ValueError(
            f"workers must be a multiple of the parts of the patterns, which are from 1 to {problem.num_patterns:,}. "
            f"Received: {num_workers} workers, {pattern_parts} parts."
        )
    most = problem.num_slices * pattern_parts
    if not 1 <= num_workers <= most:
        raise ValueError(f"workers must be from 1 to {most}, the slices of the grid. Received: {num_workers}.")
    if pattern_parts > 1 and problem.slice_weights == "equal":
        raise ValueError("slices of equal weight need all patterns in each worker. Received: parts. Take 1.")
    return [
        (slices, patterns)
        for patterns in split(problem.num_patterns, pattern_parts)
        for slices in split(problem.num_slices, num_workers // pattern_parts)
    ]


def expect_on(shards: Sequence[Shard], volume: np.ndarray, fluence: np.ndarray, beta: float) -> tuple:
    """The E-step on shards of this process, one after the other; see `Expect`."""
    parts = [shard.score(volume, fluence, beta) for shard in shards]
    normalizer = functools.reduce(lambda left, right: left.merge(right, beta), parts)
    statistics = functools.reduce(Statistics.__add__, (shard.accumulate(normalizer) for shard in shards))
    return statistics, normalizer


def maximise(statistics: Statistics, volume: np.ndarray) -> np.ndarray:
    """[side, side, side] float64, the next volume; see the module.

    Args:
        volume: what voxels keep that no pattern has seen.
    """
    least = _LEAST_SEEN * statistics.denominator.mean()
    return divide_symmetrised(statistics.numerator, statistics.denominator, volume, least)


def fit_fluence(statistics: Statistics, photons: np.ndarray, model: str, merged: np.ndarray) -> tuple:
    """[num_patterns] fluence with mean 1 over merged patterns, and what the volume has to be multiplied by.

    Args:
        photons: [num_patterns] float64, on good pixels.
    """
    fluence = photons / statistics.expected if model == "poisson" else statistics.expected
    mean = fluence[merged].mean()
    return fluence / mean, mean


def rms_change(before: np.ndarray, after: np.ndarray, denominator: np.ndarray) -> float:
    """Root of the mean square of how much voxels changed, relative to the mean of their shell.

    Voxels count by how much has been seen of them: those that few patterns reach never settle.

    Args:
        before, after: [side, side, side].
        denominator: [side, side, side], of the statistics.
    """
    means = shell_means(before, radii_of(len(before)))
    weights = np.where(means > 0, denominator, 0.0)
    changes = (after - before) / np.where(means > 0, means, 1.0)
    return float(np.sqrt((weights * changes**2).sum() / weights.sum()))


# --- A run -----------------------------------------------------------------------------------------------


def reconstruct(
    counts: sp.csr_matrix,
    detector: Detector,
    settings: EmcSettings,
    checkpoint: Optional[str | os.PathLike] = None,
    expect: Optional[Expect] = None,
    progress: Optional[Progress] = None,
) -> Reconstruction:
    """Reconstructs the intensity that patterns are slices of.

    Memory: that of its shards, see `expectation`, and about 100 side^3 bytes of volumes.

    Args:
        counts: [num_patterns, num_pixels], photons.
        checkpoint: a file that is written after each iteration, and gone on from if it is there; None writes none.
        expect: where the E-step is done, on the same problem; None: in this process, on one shard.
        progress: see `Progress`.

    Raises:
        ValueError: see `make_problem`; the checkpoint is of another problem; the volume is not finite.
        DamagedError: the checkpoint cannot be read.
    """
    problem = make_problem(counts, detector, settings)
    photons = photons_of(problem.counts, detector)
    key = checkpoints.key_of(problem, settings)
    if expect is None:
        expect = functools.partial(expect_on, make_shards(problem))
    state = checkpoints.load(checkpoint, key) if checkpoint is not None else None
    state = state or _begin(problem, settings, photons, settings.first_start, [], None)
    while True:
        while not state.is_done:
            _iterate(state, problem, settings, photons, expect)
            if checkpoint is not None:
                checkpoints.save(checkpoint, key, state)
            if progress is not None:
                progress(state.history[-1])
        winner = _better(state)
        if state.start + 1 == settings.first_start + settings.starts:
            break
        state = _begin(problem, settings, photons, state.start + 1, state.history, winner)

    statistics, normalizer = expect(winner.volume, winner.fluence, winner.beta)
    row = _row(statistics)
    return Reconstruction(
        volume=winner.volume,
        quaternions=problem.rotations.quaternions[normalizer.best],
        rotations=normalizer.best,
        fluence=winner.fluence,
        held_out=~problem.merged,
        log_likelihood=row["log_likelihood"],
        held_out_log_likelihood=row["held_out_log_likelihood"],
        history=state.history,
        start=winner.start,
    )


def _begin(problem, settings, photons: np.ndarray, start: int, history: list, winner: Optional[Winner]) -> State:
    """The state of a start before its first iteration."""
    volume = start_volume(problem, settings.noise, settings.seed, start)
    merged = problem.merged
    fluence = np.ones(problem.num_patterns)
    if settings.fit_fluence or settings.model != "poisson":
        fluence = photons / photons[merged].mean()
    beta = settings.beta if settings.beta is not None else _first_beta(settings, photons)
    rise = rises.Annealing(beta, is_rising=settings.beta_factor > 1)
    return State(start, 0, volume, fluence, rise, volume, fluence, history, winner)


def _first_beta(settings: EmcSettings, photons: np.ndarray) -> float:
    """The Gaussian models have their temperature in sigma."""
    return rises.first_beta(float(photons.mean())) if settings.model == "poisson" else 1.0


def _iterate(state: State, problem: Problem, settings: EmcSettings, photons, expect: Expect) -> None:
    """Takes a state one iteration on, in place."""
    beta = state.annealing.beta
    statistics, _ = expect(state.volume, state.fluence, beta)
    volume, fluence = maximise(statistics, state.volume), state.fluence
    if settings.fit_fluence or settings.model != "poisson":
        fluence, mean = fit_fluence(statistics, photons, settings.model, problem.merged)
        volume = volume * mean
    if not (np.isfinite(volume).all() and np.isfinite(fluence).all()):
        raise ValueError(
            f"the volume must be finite. Received: another at iteration {state.iteration + 1} of start {state.start}. "
            "Check the patterns and the mask, or take a larger reconstruct.sigma."
        )
    change = rms_change(state.volume, volume, statistics.denominator)
    row = {"start": state.start, "iteration": state.iteration + 1, "beta": beta, **_row(statistics)}
    row["rms_change"] = change
    held_out = row["held_out_log_likelihood"]

    state.annealing, is_best = rises.judge(state.annealing, held_out)
    if is_best:
        state.best_volume, state.best_fluence = state.volume, state.fluence
    state.volume, state.fluence = volume, fluence
    was_rising = state.annealing.is_rising
    if state.annealing.held >= settings.beta_every and change < settings.settled:
        state.annealing, goes_back = rises.rise(state.annealing, held_out, settings.beta_factor, settings.patience)
        if goes_back:
            state.volume, state.fluence = state.best_volume, state.best_fluence
    state.iteration += 1
    has_settled = change < settings.tolerance and (not was_rising or beta == 1)
    state.is_done = has_settled or state.iteration == settings.iterations
    state.history.append(row)


def _row(statistics: Statistics) -> dict[str, float]:
    held_out = statistics.held_out_count
    return {
        "log_likelihood": statistics.log_likelihood / statistics.count,
        "held_out_log_likelihood": statistics.held_out_log_likelihood / held_out if held_out else math.nan,
        "information": statistics.information / statistics.count,
    }


def _better(state: State) -> Winner:
    """Of a start that has ended and the best one before it.

    The last volume of a start is judged by its last row, which is of the volume before: by then they hardly differ.
    """
    row = state.history[-1]
    held_out = row["held_out_log_likelihood"]
    quality = row["log_likelihood"] if math.isnan(held_out) else held_out
    if state.winner is not None and state.winner.quality >= quality:
        return state.winner
    return Winner(state.start, quality, state.volume, state.fluence, state.annealing.beta)


def to_facts(settings: EmcSettings, found: Reconstruction) -> dict[str, Any]:
    """What a JSON file tells of a run."""
    return {
        "settings": dataclasses.asdict(settings),
        "log_likelihood": found.log_likelihood,
        "held_out_log_likelihood": found.held_out_log_likelihood,
        "num_patterns": len(found.fluence),
        "num_held_out": int(found.held_out.sum()),
        "start": found.start,
        "history": found.history,
    }
