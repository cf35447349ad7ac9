"""Paired inference for ratio metrics: bootstrap intervals with their p-values, corrections, power.

Both arms answer the same queries, so the query is the unit: all of its rankings are resampled together, with the
same weight in both arms. A metric is a ratio sum_c a_c / sum_c d_c of per-cluster sums; the denominators d_c do not
depend on the arm. Arrays are [num_clusters, num_columns], one column per metric.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control, norm
from scipy.stats import t as student

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
    """Two-sided; below 1 - confidence where the interval of the difference leaves out 0, but for ties."""
    standard_error: np.ndarray
    """Of the difference, by linearisation."""


@dataclass(frozen=True)
class Support:
    """What a comparison rests on, each [num_columns] float64; 0 where there is nothing."""

    effective: np.ndarray
    """`count_effective` of the denominators: the number of clusters if all weigh the same."""
    largest_share: np.ndarray
    """max_c d_c / sum_c d_c."""
    differing: np.ndarray
    """`count_effective` of the gains: the clusters that the arms answer differently, if all by as much."""


def measure_support(gain: np.ndarray, denominators: np.ndarray) -> Support:
    """Returns how many clusters carry a difference; arguments as in `compare_paired`, gain = treatment - control."""
    return Support(
        effective=count_effective(denominators),
        largest_share=_divide(denominators.max(axis=0, initial=0.0), denominators.sum(axis=0)),
        differing=count_effective(gain),
    )


def count_effective(weights: np.ndarray) -> np.ndarray:
    """(sum_c |w_c|)^2 / sum_c w_c^2 of [num_clusters, num_columns] weights: [num_columns], 0 where all weigh nothing.

    The number of clusters of equal weight that would be as much (Kish 1965, Survey Sampling, section 11.7).
    """
    return _divide(np.square(np.abs(weights).sum(axis=0)), np.square(weights).sum(axis=0))


def compare_paired(
    control: np.ndarray,
    treatment: np.ndarray,
    denominators: np.ndarray,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedResult:
    """Compares the ratios of two arms on the same clusters.

    Interval: expanded percentiles of `samples` Poisson bootstrap draws (each cluster weighs Poisson(1), independently,
    the same in both arms and all columns). Plain percentiles are those of a normal distribution with a variance that
    is too small by (m - 1) / m; expanded ones stand where Student's do: at Phi(-sqrt(m / (m - 1)) * t) for
    t = t_{(1 + confidence) / 2, m - 1}, m = min(effective, differing) of `Support`. p: the least 1 - confidence whose
    interval leaves out 0, with the share of draws beyond 0 taken as (count + 1/2) / (1 + samples), so that its least
    value is about 1 / (1 + samples). Interval and p are undefined for m <= 1.

    How often the intervals cover and the p-values err: `python -m benchmarks.coverage`.

    Memory: the inputs and a block of weights of at most 64 MiB (but at least one draw of 8 * num_clusters bytes).

    Args:
        control: [num_clusters, num_columns] float64 numerators.
        treatment: [num_clusters, num_columns] float64 numerators.
        denominators: [num_clusters, num_columns] float64 >= 0, shared by both arms.
        samples: bootstrap draws.
        confidence: coverage of the intervals.
        seed: the same seed gives the same intervals and p-values.

    References:
        Hesterberg 2015, The American Statistician 69(4), 371-386, section 4.3 (expanded percentiles); Chamandy et al.
        2012 for Poisson weights.
    """
    if not control.shape == treatment.shape == denominators.shape or not len(control):
        raise ValueError(
            "both arms need the same non-empty [clusters, columns]. Received: "
            f"{control.shape}, {treatment.shape} and {denominators.shape}. Evaluate the same task with both arms."
        )
    rng = np.random.default_rng(seed)
    num_columns = control.shape[1]
    gain = treatment - control
    support = measure_support(gain, denominators)
    effective = np.minimum(support.effective, support.differing)
    stacked = np.concatenate([control, treatment, denominators], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums_c, sums_t, sums_d = stacked.sum(axis=0).reshape(3, num_columns)
        ratio_c, ratio_t, difference = sums_c / sums_d, sums_t / sums_d, gain.sum(axis=0) / sums_d
        drawn = np.concatenate([weights @ stacked for weights in _draw_poisson(rng, samples, len(gain))])
        drawn_c, drawn_t, drawn_d = np.split(drawn, 3, axis=1)
        drawn_difference, drawn_relative = (drawn_t - drawn_c) / drawn_d, drawn_t / drawn_c - 1.0
        relative = _finite(ratio_t / ratio_c - 1.0)
    tail = _expanded_tail(effective, confidence)
    # Draws that differ from 0 only by rounding count as ties: 1e-12 of the largest possible |D*|.
    tolerance = 1e-12 * _divide(np.abs(gain).sum(axis=0), sums_d)
    return PairedResult(
        control=ratio_c,
        treatment=ratio_t,
        difference=difference,
        interval=_percentiles(drawn_difference, tail),
        relative=relative,
        relative_interval=np.where(np.isnan(relative), np.nan, _percentiles(drawn_relative, tail)),
        p_value=_p_values(drawn_difference, tolerance, effective),
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


def _divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    return np.divide(numerators, denominators, out=np.zeros_like(numerators), where=denominators > 0)


def _draw_poisson(rng: np.random.Generator, samples: int, num_clusters: int) -> Iterator[np.ndarray]:
    """Yields [<= samples, num_clusters] float64 weights in blocks of bounded size."""
    block = max(1, _BLOCK_BYTES // (8 * num_clusters))
    for start in range(0, samples, block):
        yield rng.poisson(1.0, (min(block, samples - start), num_clusters)).astype(np.float64)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _expanded_tail(effective: np.ndarray, confidence: float) -> np.ndarray:
    """[num_columns] the share of draws below an expanded interval, and above it; NaN for a column without one."""
    m = np.where(effective > 1.0, effective, np.nan)
    return norm.cdf(-np.sqrt(m / (m - 1.0)) * student.ppf(0.5 + confidence / 2.0, m - 1.0))


def _percentiles(drawn: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """[2, num_columns] percentiles `tail` and 1 - `tail` of the finite draws; NaN for a column without any."""
    ordered = np.sort(_finite(drawn), axis=0)  # NaN comes last
    last = np.count_nonzero(~np.isnan(ordered), axis=0) - 1
    columns = np.arange(drawn.shape[1])
    bounds = []
    for share in (tail, 1.0 - tail):
        at = np.where(last >= 0, share * last, np.nan)
        below = np.floor(np.nan_to_num(at)).astype(np.int64)
        low, high = ordered[below, columns], ordered[np.minimum(below + 1, np.maximum(last, 0)), columns]
        bounds.append(low + (at - below) * (high - low))
    return np.stack(bounds)


def _p_values(drawn: np.ndarray, tolerance: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """[num_columns] two-sided, from the smaller share of finite draws on one side of 0; ties are on both sides."""
    known = np.isfinite(drawn)
    beyond = np.minimum(
        np.count_nonzero(known & (drawn <= tolerance), axis=0), np.count_nonzero(known & (drawn >= -tolerance), axis=0)
    )
    distance = -norm.ppf((beyond + 0.5) / (np.count_nonzero(known, axis=0) + 1.0))
    m = np.where((effective > 1.0) & known.any(axis=0), effective, np.nan)
    return np.minimum(1.0, 2.0 * student.sf(distance * np.sqrt((m - 1.0) / m), m - 1.0))
