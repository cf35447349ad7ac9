"""Unsupervised classification: k-means on vectors, clusters to classes by the labels of train, scored on test.

vectors -> (L2 norm) -> PCA, without whitening -> k-means -> a class for each cluster -> scores

Components, centroids and classes are fitted on train, the first two without labels. What the same gives of lesser
vectors, and of none, is in `cluster_floors`.

References:
    Zheltonozhskii et al. 2020, arXiv:2008.10312.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus
from sklearn.decomposition import PCA, IncrementalPCA

from recsys_ssl.evaluation.cluster_scores import Counts, count, score
from recsys_ssl.evaluation.kmeans import Projection, add_up, find_nearest
from recsys_ssl.evaluation.labels import TEST, TRAIN, Labels, check_classes, check_split
from recsys_ssl.evaluation.vectors import BATCH_ROWS, VectorTable

Progress = Callable[[str], None]
_SAMPLE_ROWS = 10_000
"""That k-means++ draws the first centroids from, where the rows are not in memory."""


@dataclass(frozen=True)
class ClusterConfig:
    """How vectors are clustered; by default as the paper does, with a cluster per class."""

    overcluster: float = 1.0
    """Clusters per class, 1 to 5. Accuracy grows with it for free; ARI and AMI do not."""
    seeds: int = 5
    """Runs of k-means, with `seed` and those after it."""
    seed: int = 0
    l2: bool = False
    """Whether vectors are brought to length 1 first."""
    components: Optional[int] = None
    """Principal components that are kept; None: all. Fewer than half of them cost accuracy (paper, fig. 4)."""
    batch_rows: int = BATCH_ROWS
    """Rows that are read at a time, and a mini-batch of `fit_in_batches`."""
    epochs: int = 10
    """Of `fit_in_batches`; the paper has 60."""

    def __post_init__(self):
        if not 1.0 <= self.overcluster <= 5.0:
            raise ValueError(f"overcluster must lie in [1, 5]. Received: {self.overcluster}. Use 1 or 1.5.")
        for name in ("seeds", "batch_rows", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive. Received: {getattr(self, name)}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative. Received: {self.seed}.")
        if self.components is not None and self.components < 1:
            raise ValueError(f"components must be positive. Received: {self.components}. Leave it out for all.")

    @property
    def all_seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    def count_clusters(self, num_classes: int) -> int:
        return round(self.overcluster * num_classes)


class Model(NamedTuple):
    """What is fitted without labels."""

    l2: bool
    projection: Projection
    centroids: tuple[np.ndarray, ...]
    """[k, num_components] of each seed."""

    def prepare(self, vectors: np.ndarray) -> np.ndarray:
        """[num_rows, dim] -> [num_rows, num_components], where the centroids are."""
        return self.projection.apply(scale(vectors, self.l2))


class Run(NamedTuple):
    """One run of k-means."""

    scores: dict[str, float]
    """Of test, see `cluster_scores.SCORES`."""
    inertia: float
    """Sum of squared distances of the train rows to their centroids."""
    train: Counts
    test: Counts


Fit = Callable[[VectorTable, np.ndarray, int, ClusterConfig, Optional[Progress]], Model]


def run_clustering(
    table: VectorTable,
    labels: Labels,
    part: np.ndarray,
    config: ClusterConfig,
    fit: Optional[Fit] = None,
    progress: Optional[Progress] = None,
) -> tuple[Model, list[Run]]:
    """Fits on train and scores on test, once for each seed.

    Memory besides that of the fit: `config.batch_rows` rows, and 17 bytes a row + 4 a label.

    Args:
        table: [num_rows, dim]; rows of train that are all the same are an error.
        labels: of the rows.
        part: [num_rows] TRAIN, TEST or LEFT_OUT, see `labels`.
        fit: `fit_in_memory` when None, `fit_in_batches`, or what does the same by other means.
        progress: called with sentences.

    Raises:
        ValueError: there is nothing to tell apart, see `labels.check_classes` and `check_split`; more clusters than
            rows of train; vectors that are not finite, or all the same.
    """
    check_classes(labels)
    check_split(labels, part)
    if table.num_rows != labels.num_rows:
        raise ValueError(
            f"each row must have its labels. Received: {table.num_rows:,} rows of {table.name} and labels of "
            f"{labels.num_rows:,}. Give both in the same order, or ids to match them by."
        )
    num_clusters, num_train = config.count_clusters(len(labels.classes)), int((part == TRAIN).sum())
    if num_clusters > num_train:
        raise ValueError(
            f"train must have as many rows as there are clusters, or more. Received: {num_train:,} rows and "
            f"{num_clusters:,} clusters, {config.overcluster:g} of each of {len(labels.classes):,} classes. Lower "
            "overcluster, or merge classes."
        )
    model = (fit or fit_in_memory)(table, part == TRAIN, num_clusters, config, progress)
    return model, _score_runs(table, labels, part, model, num_clusters, config, progress)


def _score_runs(
    table: VectorTable,
    labels: Labels,
    part: np.ndarray,
    model: Model,
    num_clusters: int,
    config: ClusterConfig,
    progress: Optional[Progress],
) -> list[Run]:
    counted: list[list[Counts]] = [[] for _ in model.centroids]
    inertia = np.zeros(len(model.centroids))
    done, wanted = 0, (part == TRAIN) | (part == TEST)
    for rows, vectors in table.iterate(config.batch_rows, keep=wanted):
        prepared, is_train = model.prepare(vectors), part[rows] == TRAIN
        of_train, of_test = labels.take(rows[is_train]), labels.take(rows[~is_train])
        for i, centroids in enumerate(model.centroids):
            nearest, distances = find_nearest(centroids, prepared)
            inertia[i] += distances[is_train].sum()
            sides = (nearest[is_train], of_train), (nearest[~is_train], of_test)
            found = [count(clusters, own, num_clusters) for clusters, own in sides]
            counted[i] = [add_up(both) for both in zip(counted[i], found)] if counted[i] else found
        done += len(rows)
        _tell(progress, f"scored {done:,}/{int(wanted.sum()):,} rows")
    return [Run(score(*sides), of_seed, *sides) for sides, of_seed in zip(counted, inertia.tolist())]


# --- Fits --------------------------------------------------------------------------------------------


def fit_in_memory(
    table: VectorTable, train: np.ndarray, num_clusters: int, config: ClusterConfig, progress: Optional[Progress] = None
) -> Model:
    """scikit-learn's PCA and KMeans (k-means++, one start a seed). About 16 dim bytes a row of train.

    Args:
        train: [num_rows] bool.
    """
    vectors = scale(table.gather(train), config.l2)
    check_differ(vectors, table.name)
    check_components(config, min(vectors.shape), table.name)
    pca = PCA(config.components, random_state=config.seed)
    prepared = pca.fit_transform(vectors)
    centroids = []
    for seed in config.all_seeds:
        _tell(progress, f"k-means with {num_clusters:,} clusters on {len(vectors):,} rows, seed {seed}")
        centroids.append(KMeans(num_clusters, n_init=1, random_state=seed).fit(prepared).cluster_centers_)
    return Model(config.l2, Projection(pca.mean_, pca.components_), tuple(centroids))


def fit_in_batches(
    table: VectorTable, train: np.ndarray, num_clusters: int, config: ClusterConfig, progress: Optional[Progress] = None
) -> Model:
    """IncrementalPCA and MiniBatchKMeans by `partial_fit`, as the paper does; 1 + `config.epochs` passes.

    k-means++ starts from rows drawn from all of train, and each epoch has an order of its own of the row groups, drawn
    from the seed; the same seed and file give the same model. So rows may be sorted in the file, if a batch is of
    several row groups. Holds max(batch_rows, 2 dim) rows and a sample of 10,000 (or 3 a cluster), 12 dim bytes a row of
    these, and 1 byte a row of the table.

    Args:
        train: [num_rows] bool.

    Raises:
        ValueError: a batch has fewer rows than there are clusters.
    """
    if config.batch_rows < num_clusters:
        raise ValueError(
            f"a batch must have as many rows as there are clusters, or more. Received: {config.batch_rows:,} rows and "
            f"{num_clusters:,} clusters. Raise batch_rows (--batch-rows)."
        )
    in_sample = draw_sample(train, num_clusters, config)
    pca, sample = IncrementalPCA(), []
    # The first batch says how many components there are: it needs more rows than columns.
    for rows, vectors in table.iterate(max(config.batch_rows, 2 * table.dim), keep=train):
        scaled = scale(vectors, config.l2)
        sample.append(scaled[in_sample[rows]])
        with np.errstate(invalid="ignore"):  # shares of no variance; `check_differ` tells of them
            pca.partial_fit(scaled)
    check_components(config, len(pca.components_), table.name)
    projection = Projection(pca.mean_.astype(np.float32), pca.components_[: config.components].astype(np.float32))
    first = np.concatenate(sample)
    check_differ(first, table.name)
    first = projection.apply(first)
    runs = [
        MiniBatchKMeans(
            num_clusters, init=kmeans_plusplus(first, num_clusters, random_state=seed)[0], n_init=1, random_state=seed
        )
        for seed in config.all_seeds
    ]
    for epoch in range(config.epochs):
        _tell(progress, f"k-means with {num_clusters:,} clusters, epoch {epoch + 1} of {config.epochs}")
        order = np.random.default_rng([config.seed, 1, epoch])
        for _, vectors in table.iterate(config.batch_rows, keep=train, order=order):
            prepared = projection.apply(scale(vectors, config.l2))
            for run in runs:
                run.partial_fit(prepared)
    return Model(config.l2, projection, tuple(run.cluster_centers_ for run in runs))


def draw_sample(train: np.ndarray, num_clusters: int, config: ClusterConfig) -> np.ndarray:
    """[num_rows] bool, rows of train for k-means++ where not all of them are in memory: 10,000, or 3 a cluster."""
    rows = np.flatnonzero(train)
    most = min(len(rows), max(_SAMPLE_ROWS, 3 * num_clusters))
    drawn = np.zeros(len(train), bool)
    drawn[np.random.default_rng([config.seed, 0]).choice(rows, most, replace=False)] = True
    return drawn


def scale(vectors: np.ndarray, l2: bool) -> np.ndarray:
    """[num_rows, dim], each row of length 1 where `l2`, else as it is.

    Raises:
        ValueError: a row of zeros, which has no direction.
    """
    if not l2:
        return vectors
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(
            f"a vector of zeros has no direction. Received: {int((norms == 0).sum()):,} of them. Leave these rows out, "
            "or the L2 norm."
        )
    return vectors / norms


def check_differ(vectors: np.ndarray, name: str) -> None:
    """Raises ValueError where all rows are the same, so that there are no clusters."""
    if (vectors == vectors[:1]).all():
        raise ValueError(
            f"vectors must differ. Received: the same in all {len(vectors):,} rows of {name}. Has the encoder "
            "collapsed? Train it again, with a lower learning rate."
        )


def check_components(config: ClusterConfig, most: int, name: str) -> None:
    """Raises ValueError where vectors have fewer components than are asked for."""
    if config.components is not None and config.components > most:
        raise ValueError(
            f"components must be at most {most:,}, the rank of {name}. Received: {config.components:,}. Lower it, or "
            "leave it out for all."
        )


def _tell(progress: Optional[Progress], text: str) -> None:
    if progress is not None:
        progress(text)
