"""Paired inference for ratio metrics: bootstrap intervals, randomisation tests, corrections, power.

Both arms answer the same queries, so the query is the unit: all of its rankings are resampled together, with the
same weight in both arms. A metric is a ratio sum_c a_c / sum_c d_c of per-cluster sums; the denominators d_c do not
depend on the arm. Arrays are [num_clusters, num_columns], one column per metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control, norm

_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PairedResult:
    """Per column; NaN where undefined (no denominator, or a relative lift over a control of 0)."""

    control: np.ndarray
    treatment: np.ndarray
    difference: np.ndarray
    interval: np.ndarray
    """[2, num_columns] bounds of the difference."""
    relative: np.ndarray
    """treatment / control - 1."""
    relative_interval: np.ndarray
    """[2, num_columns]."""
    p_value: np.ndarray
    standard_error: np.ndarray
    """Of the difference, by linearisation."""


def compare_paired(
    control: np.ndarray,
    treatment: np.ndarray,
    denominators: np.ndarray,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedResult:
    """Compares the ratios of two arms on the same clusters.

    Interval: percentiles of `samples` Poisson bootstrap draws (each cluster weighs Poisson(1), independently, the
    same in both arms and all columns). p: two-sided randomisation test in which each cluster swaps its arms with
    probability 1/2, (1 + #{|D*| >= |D|}) / (1 + samples); it is exact when the arms are exchangeable and its
    least value is 1 / (1 + samples). Rare disagreement of interval and p at the border is expected.

    Memory: the inputs and a block of weights of at most 64 MiB (but at least one draw of 8 * num_clusters bytes).

    Args:
        control: [num_clusters, num_columns] float64 numerators.
        treatment: [num_clusters, num_columns] float64 numerators.
        denominators: [num_clusters, num_columns] float64 >= 0, shared by both arms.
        samples: bootstrap draws, and draws of the randomisation test.
        confidence: coverage of the intervals.
        seed: the same seed gives the same intervals and p-values.

    References:
        Efron & Tibshirani 1993, chapters 13 and 15; Chamandy et al. 2012 for Poisson weights.
    """
    if not control.shape == treatment.shape == denominators.shape or not len(control):
        raise ValueError(
            "both arms need the same non-empty [clusters, columns]. Received: "
            f"{control.shape}, {treatment.shape} and {denominators.shape}. Evaluate the same task with both arms."
        )
    rng = np.random.default_rng(seed)
    num_columns = control.shape[1]
    gain = treatment - control
    stacked = np.concatenate([control, treatment, denominators], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums_c, sums_t, sums_d = stacked.sum(axis=0).reshape(3, num_columns)
        ratio_c, ratio_t, difference = sums_c / sums_d, sums_t / sums_d, gain.sum(axis=0) / sums_d
        swapped = np.concatenate([signs @ gain for signs in _draws(_signs, rng, samples, len(gain))]) / sums_d
        drawn = np.concatenate([weights @ stacked for weights in _draws(_poisson, rng, samples, len(gain))])
        drawn_c, drawn_t, drawn_d = np.split(drawn, 3, axis=1)
        relative = _finite(ratio_t / ratio_c - 1.0)
        interval = _percentiles((drawn_t - drawn_c) / drawn_d, confidence)
        relative_interval = np.where(np.isnan(relative), np.nan, _percentiles(drawn_t / drawn_c - 1.0, confidence))
    # Swaps that only differ by rounding count as ties: 1e-12 of the largest possible |D*|.
    tolerance = 1e-12 * np.abs(gain).sum(axis=0) / np.where(sums_d > 0, sums_d, 1.0)
    extreme = np.count_nonzero(np.abs(swapped) >= np.abs(difference) - tolerance, axis=0)
    p_value = np.where(np.isnan(difference), np.nan, (1 + extreme) / (1 + samples))
    return PairedResult(
        control=ratio_c,
        treatment=ratio_t,
        difference=difference,
        interval=interval,
        relative=relative,
        relative_interval=relative_interval,
        p_value=p_value,
        standard_error=standard_error(gain, denominators),
    )


def standard_error(gain: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Standard error of D = sum_c gain_c / sum_c d_c by linearisation: [num_columns]; NaN for one cluster.

    SE = sqrt(n / (n - 1) * sum_c (gain_c - D * d_c)^2) / sum_c d_c, over the n clusters with d_c > 0.
    """
    total, n = denominators.sum(axis=0), np.count_nonzero(denominators, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = gain - gain.sum(axis=0) / total * denominators
        return np.sqrt(n / (n - 1) * np.square(residual).sum(axis=0)) / total


def minimum_detectable_effect(error: np.ndarray, confidence: float = 0.95, power: float = 0.8) -> np.ndarray:
    """The least true difference that a two-sided test at this size finds with probability `power`.

    MDE = (z_{1 - (1 - confidence) / 2} + z_power) * SE; in the unit of the metric.
    """
    return (norm.ppf(0.5 + confidence / 2.0) + norm.ppf(power)) * error


def adjust_holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down p-values: they bound the chance of any false finding in the family. NaN stays NaN.

    Of m p-values in ascending order, the i-th is max_{j <= i} min(1, (m - j + 1) * p_j).
    """
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # NaN is sorted last
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(order), 0, -1) * p_values[order]))
    return adjusted


def adjust_benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg p-values: they bound the share of false findings. NaN stays NaN.

    Of m p-values in ascending order, the i-th is min_{j >= i} min(1, m / j * p_j).
    """
    known = ~np.isnan(p_values)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[known] = false_discovery_control(p_values[known])
    return adjusted


def _draws(draw, rng: np.random.Generator, samples: int, num_clusters: int):
    """Yields [<= samples, num_clusters] float64 weights in blocks of bounded size."""
    block = max(1, _BLOCK_BYTES // (8 * num_clusters))
    for start in range(0, samples, block):
        yield draw(rng, (min(block, samples - start), num_clusters)).astype(np.float64)


def _signs(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    # Unlike random integers, which are buffered, doubles give the same signs whatever the size of a block.
    return 2 * (rng.random(shape) < 0.5) - 1


def _poisson(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.poisson(1.0, shape)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _percentiles(drawn: np.ndarray, confidence: float) -> np.ndarray:
    """[2, num_columns] equal-tailed percentiles of the finite draws; NaN for a column without any."""
    tails = [50.0 * (1.0 - confidence), 50.0 * (1.0 + confidence)]
    finite = _finite(drawn)
    bounds = np.full((2, drawn.shape[1]), np.nan)
    known = ~np.isnan(finite).all(axis=0)
    if known.any():
        bounds[:, known] = np.nanpercentile(finite[:, known], tails, axis=0)
    return bounds
