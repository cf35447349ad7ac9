"""Films that nobody has rated yet, ranked for each user by what is known of them: folds over films, and AUC.

Users are described by factors of the ratings of the other films, and a ridge regression tells a film's factors from its
vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

NUM_FOLDS = 5
NUM_FACTORS = 24
PENALTIES = tuple(float(penalty) for penalty in np.logspace(2, 5, 7))
"""Of the ridge regression on standardised vectors; validation chooses."""
SCALES = (0.0, 0.1, 0.2, 0.4)
"""Of the second of two blocks of a vector, once both are standardised; validation chooses, and 0 leaves it out."""


class Outcome(NamedTuple):
    """AUC of each fold, and what validation chose there."""

    validation: list[float]
    test: list[float]
    penalties: list[float]
    scales: list[float]


class Fold(NamedTuple):
    """A fold: users as factors of the ratings of some films, which others are ranked by."""

    fitted: np.ndarray
    """[num_fitted] rows of the films that are fitted to."""
    held_out: np.ndarray
    """[num_held_out] rows of the films that are ranked."""
    users: np.ndarray
    """[num_users, NUM_FACTORS] float64."""
    factors: np.ndarray
    """[num_fitted, NUM_FACTORS] float64."""
    chosen: np.ndarray
    """[num_users, num_held_out] bool, who has rated what."""


def make_folds(ratings: np.ndarray, seed: int) -> list[tuple[Fold, Fold]]:
    """Of each fold how it is validated and how it is tested.

    The films are dealt to NUM_FOLDS groups. Each is the test once; validation then ranks the next group, fitted to the
    other three, and the test is fitted to all four.

    Args:
        ratings: [num_users, num_films] bool, who has rated what.
        seed: deals the films.
    """
    groups = np.random.default_rng(seed).permutation(ratings.shape[1]) % NUM_FOLDS
    found = []
    for test in range(NUM_FOLDS):
        validation = (test + 1) % NUM_FOLDS
        inner = _make_fold(ratings, ~np.isin(groups, (test, validation)), groups == validation)
        found.append((inner, _make_fold(ratings, groups != test, groups == test)))
    return found


def _make_fold(ratings: np.ndarray, fitted: np.ndarray, held_out: np.ndarray) -> Fold:
    """By the singular value decomposition of the ratings U S V': users U S, films V."""
    known = ratings[:, fitted].astype(np.float64)
    squares, users = np.linalg.eigh(known @ known.T)
    largest = np.sqrt(np.maximum(squares[-NUM_FACTORS:], 1e-12))
    users = users[:, -NUM_FACTORS:]
    factors = (known.T @ users) / largest
    return Fold(np.flatnonzero(fitted), np.flatnonzero(held_out), users * largest, factors, ratings[:, held_out])


def judge(vectors: np.ndarray, folds: Sequence[tuple[Fold, Fold]], second: np.ndarray | None = None) -> Outcome:
    """Mean AUC over users of the test of each fold, with the penalty that its validation chose.

    Args:
        vectors: [num_films, dim] float, finite.
        folds: see `make_folds`.
        second: [num_films, second_dim], a further block of the vectors, which SCALES shrinks as its validation chose.
    """
    found = Outcome([], [], [], [])
    for inner, outer in folds:
        tried = {
            (scale, penalty): score
            for scale in (SCALES if second is not None else (0.0,))
            for penalty, score in zip(PENALTIES, _score(vectors, second, scale, inner, PENALTIES))
        }
        scale, penalty = max(tried, key=lambda setting: tried[setting])
        found.validation.append(tried[scale, penalty])
        found.test.append(_score(vectors, second, scale, outer, [penalty])[0])
        found.penalties.append(penalty)
        found.scales.append(scale)
    return found


def _score(
    vectors: np.ndarray, second: np.ndarray | None, scale: float, fold: Fold, penalties: Sequence[float]
) -> list[float]:
    """Mean AUC with each penalty."""
    blocks = [_standardise(vectors, fold)]
    if second is not None and scale:
        blocks.append(scale * _standardise(second, fold))
    joined = np.concatenate(blocks, axis=1)
    known, asked = joined[fold.fitted], joined[fold.held_out]
    squares, axes = np.linalg.eigh(known.T @ known)
    right = axes.T @ (known.T @ (fold.factors - fold.factors.mean(axis=0)))
    turned = asked @ axes
    scores = []
    for penalty in penalties:
        told = turned @ (right / (np.maximum(squares, 0.0) + penalty)[:, np.newaxis])
        scores.append(float(user_auc(fold.users @ told.T, fold.chosen).mean()))
    return scores


def _standardise(vectors: np.ndarray, fold: Fold) -> np.ndarray:
    """By mean and deviation of the films that are fitted to; a dimension that never differs becomes 0."""
    known = vectors[fold.fitted].astype(np.float64)
    deviation = known.std(axis=0)
    return np.divide(vectors - known.mean(axis=0), deviation, out=np.zeros(vectors.shape), where=deviation > 1e-9)


def user_auc(scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Of each user the probability that a film they chose is ranked above one they did not; of equals a half.

    Args:
        scores: [num_users, num_films].
        chosen: [num_users, num_films] bool.

    Returns:
        [num_judged], of the users who chose some of the films, but not all; 0.5 by chance.
    """
    num_chosen = chosen.sum(axis=1)
    num_others = chosen.shape[1] - num_chosen
    judged = (num_chosen > 0) & (num_others > 0)
    above = (rankdata(scores, axis=1) * chosen).sum(axis=1) - num_chosen * (num_chosen + 1) / 2
    return above[judged] / (num_chosen * num_others)[judged]
