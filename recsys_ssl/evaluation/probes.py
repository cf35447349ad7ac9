"""How much frozen vectors know of labels: a linear probe, nearest neighbours, and few labels, of any encoder.

References:
    Caron et al. 2021, arXiv:2104.14294, Section 4.1 (linear and k-NN); Atito et al. 2021, arXiv:2104.03602, Section 4.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import numpy as np
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C of the L2 penalty that `linear` chooses among."""
_VALIDATION_SHARE = 0.2
_CONFIDENCE = 0.95


class Labelled(NamedTuple):
    """Vectors and what they are vectors of."""

    vectors: np.ndarray
    """[num_records, dim] float, finite."""
    labels: np.ndarray
    """[num_records], one class each: whole numbers or texts."""


class Accuracy(NamedTuple):
    """Share of the test records whose class is told right, 0 to 1, and how sure that is over seeds."""

    mean: float
    low: float
    """Of the 95% interval by Student's t; NaN of one seed, and so is `high`."""
    high: float
    of_seeds: list[float]


def linear(
    train: Labelled,
    test: Labelled,
    seeds: Sequence[int] = (0, 1, 2),
    penalties: Sequence[float] = PENALTIES,
    choose_among: int = 10_000,
) -> Accuracy:
    """Accuracy of logistic regression on vectors that are standardised by the training records.

    A seed draws a fifth of the training records, stratified by class, on which C is chosen (the smallest of equals);
    the regression is then fitted to all.

    Args:
        train, test: of the same dim; `test` may have classes of `train` only.
        choose_among: of more training records than these, C is chosen with so many, which the seed draws too: it
            costs several fits.

    Raises:
        ValueError: there are no records, vectors are not finite or do not fit, or a class of `train` has a single one.
    """
    _check(train, test)
    _, counts = np.unique(train.labels, return_counts=True)
    if counts.min() < 2:
        raise ValueError("each class must have two records or more to train on. Received: one. Use few_shot instead.")

    def judge(seed: int) -> float:
        few = _split(train, seed, choose_among)[1] if len(train.labels) > choose_among else train
        fitted, held_out = _split(few, seed)
        found = {penalty: _score(_regression(penalty), fitted, held_out) for penalty in sorted(penalties)}
        return _score(_regression(max(found, key=lambda penalty: found[penalty])), train, test)

    return _over(seeds, judge)


def nearest(train: Labelled, test: Labelled, k: int = 20) -> float:
    """Share of test records whose class most of their k most alike training records have, by cosine.

    Votes count by their likeness, exp(cos / 0.07); nothing is drawn. O(num_test * num_train) time.

    Raises:
        ValueError: as `linear`; or k is larger than the number of training records.
    """
    _check(train, test)
    if not 1 <= k <= len(train.labels):
        raise ValueError(f"k must be in 1-{len(train.labels)}, the training records. Received: k={k}. Lower it.")
    voters = KNeighborsClassifier(k, metric="cosine", weights=lambda distances: np.exp((1.0 - distances) / 0.07))
    return _score(voters, train, test)


def few_shot(
    train: Labelled, test: Labelled, shots: int, seeds: Sequence[int] = tuple(range(10)), penalty: float = 1.0
) -> Accuracy:
    """Accuracy of logistic regression that sees `shots` records of each class, which the seed draws.

    Vectors are standardised by all training records, whose labels are not looked at.

    Args:
        shots: a class with fewer records gives all of them.
        penalty: C, not chosen: there is nothing to choose on.

    Raises:
        ValueError: as `linear`; or shots is not positive.
    """
    _check(train, test)
    if shots < 1:
        raise ValueError(f"shots must be 1 or more. Received: shots={shots}. Use 1, 5 or 10.")
    scaler = StandardScaler().fit(train.vectors)
    scaled = [Labelled(scaler.transform(part.vectors), part.labels) for part in (train, test)]

    def judge(seed: int) -> float:
        rng = np.random.default_rng(seed)
        rows = [rng.permutation(np.flatnonzero(train.labels == label))[:shots] for label in np.unique(train.labels)]
        chosen = np.concatenate(rows)
        few = Labelled(scaled[0].vectors[chosen], scaled[0].labels[chosen])
        return _score(LogisticRegression(C=penalty, max_iter=1000), few, scaled[1])

    return _over(seeds, judge)


def summarise(of_seeds: Sequence[float]) -> Accuracy:
    """Mean over seeds and its 95% interval, cut off at 0 and 1."""
    mean, num = float(np.mean(of_seeds)), len(of_seeds)
    if num < 2:
        return Accuracy(mean, float("nan"), float("nan"), list(of_seeds))
    half = student.ppf(0.5 + _CONFIDENCE / 2, num - 1) * float(np.std(of_seeds, ddof=1)) / num**0.5
    return Accuracy(mean, max(0.0, mean - half), min(1.0, mean + half), list(of_seeds))


def _over(seeds: Sequence[int], judge: Callable[[int], float]) -> Accuracy:
    if not seeds:
        raise ValueError("there must be a seed. Received: none. Use three or more for an interval.")
    return summarise([judge(seed) for seed in seeds])


def _regression(penalty: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))


def _score(model, train: Labelled, test: Labelled) -> float:
    with warnings.catch_warnings():
        # A regression that has not quite converged after 1000 steps is judged as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train.vectors, train.labels)
    return float(accuracy_score(test.labels, model.predict(test.vectors)))


def _split(records: Labelled, seed: int, size: int = 0) -> tuple[Labelled, Labelled]:
    """The others, and `size` records or a fifth; a class with few has at least one among these where that can be."""
    num_classes = len(np.unique(records.labels))
    size = size or max(num_classes, round(_VALIDATION_SHARE * len(records.labels)))
    rows = np.arange(len(records.labels))
    parts = train_test_split(rows, test_size=size, random_state=seed, stratify=records.labels)
    first, second = (Labelled(records.vectors[part], records.labels[part]) for part in parts)
    return first, second


def _check(train: Labelled, test: Labelled) -> None:
    for name, part in (("train", train), ("test", test)):
        if part.vectors.ndim != 2 or len(part.vectors) != len(part.labels) or not len(part.labels):
            raise ValueError(
                f"{name} must have records: vectors [num_records, dim] and as many labels. "
                f"Received: {part.vectors.shape} and {len(part.labels)} labels. Leave out records without a label."
            )
        if not np.isfinite(part.vectors).all():
            raise ValueError(f"vectors must be finite. Received: others in {name}. Leave those records out.")
    if train.vectors.shape[1] != test.vectors.shape[1]:
        raise ValueError(
            "train and test must have vectors of one encoder. "
            f"Received: dims {train.vectors.shape[1]} and {test.vectors.shape[1]}. Embed both with the same."
        )
    unknown = _first_unknown(train, test)
    if unknown is not None:
        raise ValueError(f"test must have classes of train only. Received: {unknown!r}. Leave it out of both.")
    if len(np.unique(train.labels)) < 2:
        raise ValueError("there must be two classes or more. Received: one. Use other labels.")


def _first_unknown(train: Labelled, test: Labelled) -> Optional[object]:
    unknown = np.setdiff1d(test.labels, train.labels)
    return unknown[0].item() if len(unknown) else None
