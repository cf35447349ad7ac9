"""How much frozen vectors know of labels: a linear probe, nearest neighbours, and few labels, of any encoder.

A record may have several labels (a film has three genres), as in `cluster_scores`: it is right if the class that is
told is one of its own. A regression is then fitted to each pair of a record and one of its classes, a record's pairs
having a weight of 1 together; a neighbour votes for each of its classes.

References:
    Caron et al. 2021, arXiv:2104.14294, Section 4.1 (linear and k-NN); Atito et al. 2021, arXiv:2104.03602, Section 4.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, Union

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from recsys_ssl.evaluation.labels import Labels

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C of the L2 penalty that `linear` chooses among."""
NEIGHBOURS = 20
_VALIDATION_SHARE = 0.2
_CONFIDENCE = 0.95


class Labelled(NamedTuple):
    """Vectors and what they are vectors of."""

    vectors: np.ndarray
    """[num_records, dim] float, finite."""
    labels: Union[np.ndarray, Labels]
    """[num_records], one class each: whole numbers or texts. Or `Labels`, each record with one at least."""

    @property
    def num_records(self) -> int:
        return self.labels.num_rows if isinstance(self.labels, Labels) else len(self.labels)


class Accuracy(NamedTuple):
    """Share of the test records whose class is told right, 0 to 1, and how sure that is over seeds."""

    mean: float
    low: float
    """Of the 95% interval by Student's t; NaN of one seed, and so is `high`."""
    high: float
    of_seeds: list[float]


class _Records(NamedTuple):
    """Checked records."""

    vectors: np.ndarray
    labels: Labels

    def take(self, rows: np.ndarray) -> _Records:
        return _Records(self.vectors[rows], self.labels.take(rows))


def linear(
    train: Labelled,
    test: Labelled,
    seeds: Sequence[int] = (0, 1, 2),
    penalties: Sequence[float] = PENALTIES,
    choose_among: int = 10_000,
) -> Accuracy:
    """Accuracy of logistic regression on vectors that are standardised by the training records.

    A seed draws a fifth of the training records, stratified by class, on which C is chosen (the smallest of equals);
    the regression is then fitted to all. A class with a single record is not drawn.

    Args:
        train, test: of the same dim; `test` may have classes of `train` only.
        choose_among: of more than twice as many training records, C is chosen with so many, or two a class, which the
            seed draws too: it costs several fits.

    Raises:
        ValueError: there are no records, vectors are not finite or do not fit, or each class of `train` has one record.
    """
    return summarise(linear_hits(train, test, seeds, penalties, choose_among).mean(axis=1).tolist())


def linear_hits(
    train: Labelled,
    test: Labelled,
    seeds: Sequence[int] = (0, 1, 2),
    penalties: Sequence[float] = PENALTIES,
    choose_among: int = 10_000,
) -> np.ndarray:
    """[num_seeds, num_test] bool, which test records `linear` tells right."""
    of_train, of_test = _check(train, test)

    def judge(seed: int) -> np.ndarray:
        size = max(choose_among, 2 * len(of_train.labels.classes))
        few = _draw(of_train, seed, size) if len(of_train.vectors) > 2 * size else of_train
        fitted, held_out = _split(few, seed)
        found = {penalty: _regress(penalty, fitted, held_out).mean() for penalty in sorted(penalties)}
        return _regress(max(found, key=lambda penalty: found[penalty]), of_train, of_test)

    return _over(seeds, judge)


def nearest(train: Labelled, test: Labelled, k: int = NEIGHBOURS) -> float:
    """Share of test records whose class most of their k most alike training records have, by cosine.

    Votes count by their likeness, exp(cos / 0.07); nothing is drawn. O(num_test * num_train) time.

    Raises:
        ValueError: as `linear`; or k is larger than the number of training records.
    """
    return float(nearest_hits(train, test, k).mean())


def nearest_hits(train: Labelled, test: Labelled, k: int = NEIGHBOURS) -> np.ndarray:
    """[1, num_test] bool, which test records `nearest` tells right."""
    of_train, of_test = _check(train, test)
    labels, num_train = of_train.labels, len(of_train.vectors)
    if not 1 <= k <= num_train:
        raise ValueError(f"k must be in 1-{num_train}, the training records. Received: k={k}. Lower it.")
    distances, rows = NearestNeighbors(n_neighbors=k, metric="cosine").fit(of_train.vectors).kneighbors(of_test.vectors)
    offsets = np.arange(0, rows.size + 1, k)
    likeness = csr_matrix((np.exp((1.0 - distances) / 0.07).ravel(), rows.ravel(), offsets), (len(rows), num_train))
    ones = np.ones(len(labels.codes))
    votes = likeness @ csr_matrix((ones, labels.codes, labels.offsets), (num_train, len(labels.classes)))
    return _is_right(np.asarray(votes.argmax(axis=1)).ravel(), of_test.labels)[None]


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
    return summarise(few_shot_hits(train, test, shots, seeds, penalty).mean(axis=1).tolist())


def few_shot_hits(
    train: Labelled, test: Labelled, shots: int, seeds: Sequence[int] = tuple(range(10)), penalty: float = 1.0
) -> np.ndarray:
    """[num_seeds, num_test] bool, which test records `few_shot` tells right."""
    of_train, of_test = _check(train, test)
    if shots < 1:
        raise ValueError(f"shots must be 1 or more. Received: shots={shots}. Use 1, 5 or 10.")
    scaler = StandardScaler().fit(of_train.vectors)
    scaled, test_scaled = (_Records(scaler.transform(part.vectors), part.labels) for part in (of_train, of_test))
    labels = of_train.labels
    row_of = np.repeat(np.arange(labels.num_rows), labels.counts)
    members = [row_of[labels.codes == code] for code in np.unique(labels.codes)]

    def judge(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        # A record that two classes draw is seen once, with all of its classes.
        rows = dict.fromkeys(np.concatenate([rng.permutation(own)[:shots] for own in members]).tolist())
        return _fit(penalty, scaled.take(np.array(list(rows))), test_scaled)

    return _over(seeds, judge)


def summarise(of_seeds: Sequence[float]) -> Accuracy:
    """Mean over seeds and its 95% interval, cut off at 0 and 1."""
    mean, num = float(np.mean(of_seeds)), len(of_seeds)
    if num < 2:
        return Accuracy(mean, float("nan"), float("nan"), list(of_seeds))
    half = student.ppf(0.5 + _CONFIDENCE / 2, num - 1) * float(np.std(of_seeds, ddof=1)) / num**0.5
    return Accuracy(mean, max(0.0, mean - half), min(1.0, mean + half), list(of_seeds))


def _over(seeds: Sequence[int], judge: Callable[[int], np.ndarray]) -> np.ndarray:
    if not seeds:
        raise ValueError("there must be a seed. Received: none. Use three or more for an interval.")
    return np.stack([judge(seed) for seed in seeds])


def _regress(penalty: float, train: _Records, test: _Records) -> np.ndarray:
    """`_fit` on vectors that are standardised by `train`."""
    scaler = StandardScaler().fit(train.vectors)
    train, test = (_Records(scaler.transform(part.vectors), part.labels) for part in (train, test))
    return _fit(penalty, train, test)


def _fit(penalty: float, train: _Records, test: _Records) -> np.ndarray:
    """[num_test] bool, which records a logistic regression tells right."""
    counts = train.labels.counts
    pairs = np.repeat(np.arange(len(counts)), counts)
    vectors = train.vectors if (counts == 1).all() else train.vectors[pairs]
    with warnings.catch_warnings():
        # A regression that has not quite converged after 1000 steps is judged as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=penalty, max_iter=1000)
        model.fit(vectors, train.labels.codes, sample_weight=1.0 / counts[pairs])
    return _is_right(model.predict(test.vectors), test.labels)


def _is_right(told: np.ndarray, labels: Labels) -> np.ndarray:
    """[num_rows] bool, whether the code told of a row is one of its own."""
    own = labels.codes == np.repeat(told, labels.counts)
    return np.logical_or.reduceat(own, labels.offsets[:-1])


def _draw(records: _Records, seed: int, size: int) -> _Records:
    """About `size` records, stratified as in `_split`, and one of each class that the draw lacks."""
    labels = records.labels
    _, drawn = _split_rows(labels, seed, size)
    lacking = np.setdiff1d(labels.codes, labels.take(drawn).codes)
    wanted = np.isin(labels.codes, lacking)
    row_of = np.repeat(np.arange(labels.num_rows), labels.counts)[wanted]
    _, first = np.unique(labels.codes[wanted], return_index=True)
    return records.take(np.union1d(drawn, row_of[first]))


def _split(records: _Records, seed: int) -> tuple[_Records, _Records]:
    """Records to fit, and a fifth to choose by; see `_split_rows`."""
    fitted, held_out = _split_rows(records.labels, seed)
    return records.take(fitted), records.take(held_out)


def _split_rows(labels: Labels, seed: int, size: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The other rows, and `size` of them or a fifth, stratified by the rarest class of each.

    A class with few records has at least one among these where that is possible; one with a single record has none.
    """
    num_classes = len(labels.classes)
    frequency = np.bincount(labels.codes, minlength=num_classes)
    of_row = np.minimum.reduceat(frequency[labels.codes] * num_classes + labels.codes, labels.offsets[:-1])
    stratum = of_row % num_classes
    sizes = np.bincount(stratum, minlength=num_classes)
    is_drawn = sizes[stratum] > 1
    if not is_drawn.any():
        raise ValueError("a class must have two records or more to train on. Received: one of each. Use few_shot.")
    rows, strata = np.flatnonzero(is_drawn), stratum[is_drawn]
    size = max(len(np.unique(strata)), size or round(_VALIDATION_SHARE * len(rows)))
    fitted, held_out = train_test_split(rows, test_size=size, random_state=seed, stratify=strata)
    return np.concatenate([fitted, np.flatnonzero(~is_drawn)]), held_out


def _check(train: Labelled, test: Labelled) -> tuple[_Records, _Records]:
    for name, part in (("train", train), ("test", test)):
        if part.vectors.ndim != 2 or len(part.vectors) != part.num_records or not part.num_records:
            raise ValueError(
                f"{name} must have records: vectors [num_records, dim] and as many labels. "
                f"Received: {part.vectors.shape} and {part.num_records} labels. Leave out records without a label."
            )
        if not np.isfinite(part.vectors).all():
            raise ValueError(f"vectors must be finite. Received: others in {name}. Leave those records out.")
    if train.vectors.shape[1] != test.vectors.shape[1]:
        raise ValueError(
            "train and test must have vectors of one encoder. "
            f"Received: dims {train.vectors.shape[1]} and {test.vectors.shape[1]}. Embed both with the same."
        )
    labels = _encode(train.labels, test.labels)
    for name, own in zip(("train", "test"), labels):
        if not own.counts.all():
            raise ValueError(f"each record must have a label. Received: one without in {name}. Leave it out.")
    unknown = np.setdiff1d(labels[1].codes, labels[0].codes)
    if len(unknown):
        name = labels[0].classes[unknown[0]]
        raise ValueError(f"test must have classes of train only. Received: {name!r}. Leave it out of both.")
    if len(np.unique(labels[0].codes)) < 2:
        raise ValueError("there must be two classes or more. Received: one. Use other labels.")
    return _Records(train.vectors, labels[0]), _Records(test.vectors, labels[1])


def _encode(train: Union[np.ndarray, Labels], test: Union[np.ndarray, Labels]) -> tuple[Labels, Labels]:
    """Both as codes of the same classes."""
    if isinstance(train, Labels) and isinstance(test, Labels):
        if train.classes != test.classes:
            raise ValueError("train and test must have labels of the same classes. Take both of one `Labels`.")
        return train, test
    if isinstance(train, Labels) or isinstance(test, Labels):
        raise TypeError("train and test must both have `Labels`, or both an array. Received: one of each.")
    classes, codes = np.unique(np.concatenate([train, test]), return_inverse=True)
    names = tuple(str(name) for name in classes)
    first, second = (
        Labels(part.astype(np.int32), np.arange(len(part) + 1), names) for part in np.split(codes, [len(train)])
    )
    return first, second
