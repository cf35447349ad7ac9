"""A trial: the vectors of one encoder with one seed, by probes and by clusters."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.clustering import vector_files
from benchmarks.clustering.arms import DOMAINS
from benchmarks.clustering.vector_files import VectorFile, Vectors
from recsys_ssl.evaluation import probes
from recsys_ssl.evaluation.cluster_scores import assign, measure_accuracy
from recsys_ssl.evaluation.clustering import ClusterConfig, Fit, Model, run_clustering, scale
from recsys_ssl.evaluation.kmeans import Projection
from recsys_ssl.evaluation.labels import TEST, TRAIN, encode
from recsys_ssl.evaluation.probes import Labelled
from recsys_ssl.evaluation.vectors import from_array

TRIALS = RESULTS / "clustering" / "trials.jsonl"


OVERCLUSTER = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
"""Clusters per class."""
COMPONENTS = (2, 4, 8, 16, 32, 64, 128, 256)
"""Principal components that are kept, where vectors have more."""
NORMS = {"plain": False, "l2": True}
"""Whether vectors are brought to length 1; the paper leaves them as they are."""
PROTOCOL: Mapping[str, Any] = {
    "train_rows": 10_000,
    "kmeans_seeds": 3,
    "shots": 10,
    "neighbours": probes.NEIGHBOURS,
}
"""`train_rows` at most, of those that there are."""
_KEPT = ("accuracy", "accuracy_majority", "ari", "ami", "nmi")
_DIGITS = 5


@dataclass(frozen=True)
class Trial:
    """What was judged, and what came out.

    Attributes:
        domain: key of DOMAINS.
        arm: of the domain.
        seed: of the encoder.
        digest: of the file of vectors and labels.
        sizes: rows of train and test, numbers of a vector, classes.
        probes: `linear`, `nearest` and `few_shot`, share of test that is right.
        clusters: norm -> clusters per class -> score of test, means over seeds of k-means; `train_accuracy` is the
            Hungarian accuracy on train, by which one may choose.
        components: principal components -> Hungarian accuracy of test at a cluster per class, plain; all of them last.
        core_seconds: process time of this trial.
    """

    domain: str
    arm: str
    seed: int
    digest: str
    protocol: Mapping[str, Any] = field(default_factory=lambda: dict(PROTOCOL))
    sizes: Sequence[int] = ()
    probes: Mapping[str, float] | None = None
    clusters: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None
    components: Mapping[str, float] | None = None
    core_seconds: float = 0.0

    @property
    def key(self) -> str:
        """Names the trial by what was judged and how."""
        facts = [self.domain, self.arm, self.seed, self.digest, dict(self.protocol)]
        return records.hash_facts([*facts, OVERCLUSTER, COMPONENTS])

    def describe(self) -> str:
        """One line for the terminal."""
        plain, scaled = (self.clusters[norm]["1"] for norm in NORMS)
        return (
            f"{self.domain} {self.arm} seed {self.seed}: linear {self.probes['linear']:.4f}, clusters "
            f"{plain['accuracy']:.4f} (length 1: {scaled['accuracy']:.4f}), ARI {plain['ari']:.4f}, "
            f"{self.core_seconds:.0f} core-seconds"
        )

    def to_json(self) -> str:
        return records.to_line(self)


def read_trials(path: Path = TRIALS) -> list[Trial]:
    """The trials of a file, of each encoder and seed the last; none when there is no file."""
    found = records.read_lines(path, _make)
    return list({(trial.domain, trial.arm, trial.seed): trial for trial in found}.values())


def _make(facts: Mapping[str, Any]) -> Optional[Trial]:
    domain = DOMAINS.get(facts["domain"])
    return Trial(**facts) if domain is not None and facts["arm"].partition("@")[0] in domain.arms else None


def plan(domain: str, files: Sequence[VectorFile]) -> list[tuple[Trial, Path]]:
    """A trial and its file for each file."""
    return [(Trial(domain, file.arm, file.seed, vector_files.hash_file(file.path)), file.path) for file in files]


def run_trial(planned: tuple[Trial, Path]) -> Trial:
    """Judges a file and returns its trial with what came out.

    Raises:
        ValueError: the file is not what was planned, or there is nothing to tell apart in it.
    """
    trial, path = planned
    started = time.process_time()
    vectors = vector_files.read(path, trial.protocol["train_rows"])
    if vector_files.hash_file(path) != trial.digest:
        raise ValueError(f"{path} must stay as it is while it is judged. It was written again: run the command again.")
    found = judge(vectors, trial.seed)
    return dataclasses.replace(trial, **found, core_seconds=round(time.process_time() - started, 1))


def use_one_thread() -> None:
    """Of the libraries of linear algebra; TensorFlow is not loaded."""
    threadpool_limits(1)


# --- Judging -----------------------------------------------------------------------------------------


def judge(vectors: Vectors, seed: int) -> dict[str, Any]:
    """The fields of a `Trial` that come out; the seed draws what a linear probe validates on, and few labels."""
    train, test = Labelled(vectors.train, vectors.train_labels), Labelled(vectors.test, vectors.test_labels)
    of_probes = {
        "linear": probes.linear(train, test, [seed]).mean,
        "nearest": probes.nearest(train, test, PROTOCOL["neighbours"]),
        "few_shot": probes.few_shot(train, test, PROTOCOL["shots"], [seed]).mean,
    }
    clusters, curve = judge_clusters(vectors)
    classes = len(np.unique(vectors.train_labels))
    return {
        "sizes": [len(vectors.train), len(vectors.test), vectors.train.shape[1], classes],
        "probes": _round(of_probes),
        "clusters": clusters,
        "components": curve,
    }


def judge_clusters(vectors: Vectors) -> tuple[dict[str, Any], dict[str, float]]:
    """`Trial.clusters` and `Trial.components`."""
    table = from_array(np.concatenate([vectors.train, vectors.test]))
    labels = encode([*vectors.train_labels, *vectors.test_labels])
    part = np.repeat([TRAIN, TEST], [len(vectors.train), len(vectors.test)])
    fits = {norm: fit_once() for norm in NORMS}

    def run(norm: str, overcluster: float, components: int | None = None) -> dict[str, float]:
        config = ClusterConfig(overcluster, PROTOCOL["kmeans_seeds"], l2=NORMS[norm], components=components)
        _, runs = run_clustering(table, labels, part, config, fits[norm])
        on_train = [measure_accuracy(assign(run.train).hungarian, run.train) for run in runs]
        means = {name: float(np.mean([run.scores[name] for run in runs])) for name in _KEPT}
        return _round({**means, "train_accuracy": float(np.mean(on_train))})

    clusters = {norm: {f"{over:g}": run(norm, over) for over in OVERCLUSTER} for norm in NORMS}
    most = min(vectors.train.shape)
    curve = {str(kept): run("plain", 1.0, kept)["accuracy"] for kept in COMPONENTS if kept < most}
    return clusters, {**curve, "all": clusters["plain"]["1"]["accuracy"]}


def fit_once() -> Fit:
    """`clustering.fit_in_memory` for many runs on the same rows and norm: components are found once."""
    known: list[tuple[Projection, np.ndarray]] = []

    def fit(table, train: np.ndarray, num_clusters: int, config: ClusterConfig, progress: Callable | None = None):
        if not known:
            rows = scale(table.gather(train), config.l2)
            pca = PCA(svd_solver="covariance_eigh" if len(rows) > rows.shape[1] else "full").fit(rows)
            projection = Projection(pca.mean_, pca.components_)
            known.append((projection, projection.apply(rows)))
        projection, prepared = known[0]
        kept = prepared[:, : config.components]
        centroids = [KMeans(num_clusters, n_init=1, random_state=seed).fit(kept).cluster_centers_
                     for seed in config.all_seeds]  # fmt: skip
        return Model(
            config.l2, Projection(projection.mean, projection.components[: config.components]), tuple(centroids)
        )

    return fit


def _round(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in numbers.items()}
