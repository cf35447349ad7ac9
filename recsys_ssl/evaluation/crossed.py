"""Paired inference on metrics over queries and training seeds, which are crossed.

Every arm answers the same held-out pairs of the same queries, once per seed. A statistic is kept with its influence
values: what each seed and each query adds to it, to first order. Those of a difference or a ratio of two arms follow by
the chain rule, so that whatever the arms share (users, pairs, the draw of a seed) cancels.

The two sources of variance are added: Var = Var_queries + Var_seeds, where the queries' is of the influence averaged
over seeds, and the seeds' is that of the seeds' values. With x_sc = mean + a_s + b_c + e_sc the sum estimates
Var(a) / S + Var(b) / n + 2 Var(e) / (S n): the interaction e is counted twice, so the error is a little too large,
on average never too small. The data sets, their split and the settings are taken as given.

References:
    Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 386-411 (crossed random effects).
    Cochran 1964, "Approximate significance levels of the Behrens-Fisher test", Biometrics 20(1), 191-195.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit
from scipy.stats import t as student

from recsys_ssl.evaluation.statistics import count_effective, standard_error

_LEAST_LEVEL = 1e-300


@dataclass(frozen=True)
class Statistic:
    """A number with its influence values."""

    value: float
    seeds: np.ndarray
    """[num_seeds] float64 that sum to 0: the value of each seed less the mean; [0.0] for a deterministic arm."""
    queries: np.ndarray
    """[num_queries] float64 that sum to 0, averaged over seeds; 0 for a query that is not counted."""
    counted: np.ndarray
    """[num_queries] bool: the queries that have a pair."""
    effective: float
    """The queries of equal weight that would be as much, see `statistics.Support`."""


@dataclass(frozen=True)
class Inference:
    """Two-sided t-test against 0, and the interval of the same t. NaN where undefined."""

    value: float
    low: float
    high: float
    p_value: float
    query_error: float
    seed_error: float
    """0.0 when nothing depends on a seed."""


# --- Statistics over seeds and queries ----------------------------------------------------------------


def measure(numerators: np.ndarray, denominators: np.ndarray) -> Statistic | None:
    """Returns the mean over seeds of the ratio x_s = sum_c numerators_sc / sum_c denominators_sc.

    Queries' influence: mean_s (numerators_sc - x_s * denominators_sc) / sum_c denominators_sc.

    Args:
        numerators, denominators: [num_seeds, num_queries] float64; one row for a deterministic arm. Denominators may
            differ by seed (slices of items by the 10% that the seed drew).

    Returns:
        None where a seed has no pair: the ratio is undefined.
    """
    if numerators.shape != denominators.shape or numerators.ndim != 2 or not numerators.size:
        raise ValueError(
            "numerators and denominators must both be a non-empty [seeds, queries]. Received: "
            f"{numerators.shape} and {denominators.shape}. Stack the sums of one arm's seeds."
        )
    totals = denominators.sum(axis=1, keepdims=True)
    if not totals.all():
        return None
    ratios = numerators.sum(axis=1, keepdims=True) / totals
    value = float(ratios.mean())
    return Statistic(
        value=value,
        seeds=ratios[:, 0] - value,
        queries=((numerators - ratios * denominators) / totals).mean(axis=0),
        counted=denominators.any(axis=0),
        effective=float(count_effective(denominators.mean(axis=0)[:, None])[0]),
    )


def combine(value: float, *terms: tuple[float, Statistic]) -> Statistic:
    """Returns a statistic whose first-order change is sum_j weight_j * change_j, of terms on the same queries.

    A deterministic term (one seed) goes with any number of seeds.

    Raises:
        ValueError: terms have several, different numbers of seeds.
    """
    sizes = {len(term.seeds) for _, term in terms} - {1}
    if len(sizes) > 1:
        raise ValueError(f"terms must share their seeds. Received: {sorted(sizes)} seeds. Keep the common ones.")
    return Statistic(
        value=value,
        seeds=np.asarray(sum(weight * term.seeds for weight, term in terms)),
        queries=np.asarray(sum(weight * term.queries for weight, term in terms)),
        counted=np.any([term.counted for _, term in terms], axis=0),
        effective=min(term.effective for _, term in terms),
    )


def subtract(treatment: Statistic, control: Statistic) -> Statistic:
    """Returns treatment - control."""
    return combine(treatment.value - control.value, (1.0, treatment), (-1.0, control))


def relative_gain(treatment: Statistic, control: Statistic) -> Statistic | None:
    """Returns treatment / control - 1; None where the control is 0."""
    if control.value == 0.0:
        return None
    ratio = treatment.value / control.value
    return combine(ratio - 1.0, (1.0 / control.value, treatment), (-ratio / control.value, control))


# --- Inference --------------------------------------------------------------------------------------


def infer(value: float, *parts: Statistic, confidence: float = 0.95) -> Inference:
    """Tests `value` against 0 and gives its interval.

    SE^2 = sum over parts of (queries' SE^2 + seeds' SE^2), and the interval is value -+ t' SE with Cochran's critical
    value, the mean of Student's for each source weighted by its variance: t' = sum_j SE_j^2 t_{df_j} / SE^2, where df
    is effective queries - 1 or seeds - 1. Welch-Satterthwaite degrees of freedom would cover too little for two or
    three seeds, whose variance is often estimated near 0. A part with one seed has no seed variance: right for
    deterministic arms only, so the caller must see to it that other arms have two seeds or more.

    Args:
        parts: what `value` is a sum of, on independent sets of queries (data sets); one, for one data set.
    """
    if not parts:
        raise ValueError("infer must be given the statistic that value comes from. Received: none. Pass it.")
    errors = np.array([[_query_error(part), _seed_error(part)] for part in parts])
    freedom = np.array([[part.effective - 1.0, max(len(part.seeds) - 1, 1)] for part in parts])
    query_error, seed_error = np.sqrt(np.square(errors).sum(axis=0))
    error = np.hypot(query_error, seed_error)
    if not error > 0.0 or (freedom[errors > 0.0] <= 0.0).any():  # NaN, one query, or arms that agree everywhere
        same = error == 0.0 and value == 0.0
        low, high, p_value = (0.0, 0.0, 1.0) if same else (np.nan,) * 3
    else:
        weights = np.square(errors / error)
        reach = _critical_value(1.0 - confidence, weights, freedom) * error
        low, high = value - reach, value + reach
        p_value = _find_level(abs(value) / error, weights, freedom)
    return Inference(
        value=float(value),
        low=float(low),
        high=float(high),
        p_value=p_value,
        query_error=float(query_error),
        seed_error=float(seed_error),
    )


def infer_relative(treatment: Statistic, control: Statistic, confidence: float = 0.95) -> Inference | None:
    """Returns the inference on treatment / control - 1 by the delta method on the logarithm.

    The interval of log(treatment / control) is taken back by expm1, so that no bound is below -100%. Errors are
    those of the logarithm. None where either arm is 0.
    """
    if control.value <= 0.0 or treatment.value <= 0.0:
        return None
    value = np.log(treatment.value / control.value)
    log = combine(value, (1.0 / treatment.value, treatment), (-1.0 / control.value, control))
    found = infer(value, log, confidence=confidence)
    return Inference(
        value=float(np.expm1(found.value)),
        low=float(np.expm1(found.low)),
        high=float(np.expm1(found.high)),
        p_value=found.p_value,
        query_error=found.query_error,
        seed_error=found.seed_error,
    )


def interval_over_seeds(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the mean over seeds and half the width of its t-interval; NaN for the width of one seed.

    half = t_{(1 + confidence) / 2, S - 1} * SD / sqrt(S). It holds the variation of training, on these very queries.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float(values.mean()), np.nan
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(student.ppf(0.5 + confidence / 2.0, len(values) - 1) * error)


def _critical_value(level: float, weights: np.ndarray, freedom: np.ndarray) -> float:
    """Cochran's, two-sided: the mean of Student's critical values over sources of variance."""
    used = weights > 0.0
    return float((weights[used] * -stdtrit(freedom[used], level / 2.0)).sum())


def _find_level(statistic: float, weights: np.ndarray, freedom: np.ndarray) -> float:
    """The level whose critical value the statistic is; 1e-300 for what is beyond all of them."""

    def distance(log_level: float) -> float:
        return _critical_value(np.exp(log_level), weights, freedom) - statistic

    least = np.log(_LEAST_LEVEL)
    return _LEAST_LEVEL if distance(least) < 0.0 else float(np.exp(brentq(distance, least, 0.0, xtol=1e-9)))


def _query_error(part: Statistic) -> float:
    # The influence values sum to 0, so the linearised error of their sum over a denominator of 1 in all is theirs.
    n = np.count_nonzero(part.counted)
    return float(standard_error(part.queries[:, None], part.counted[:, None] / max(n, 1))[0])


def _seed_error(part: Statistic) -> float:
    if len(part.seeds) < 2:
        return 0.0
    return float(part.seeds.std(ddof=1) / np.sqrt(len(part.seeds)))
