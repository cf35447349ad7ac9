"""A trial: the vectors of one encoder with one seed, by probes and by clusters."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
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
from recsys_ssl.evaluation.cluster_scores import assign, count, measure_accuracy, score
from recsys_ssl.evaluation.clustering import ClusterConfig, check_differ, scale
from recsys_ssl.evaluation.labels import encode
from recsys_ssl.evaluation.probes import Labelled

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
_KEPT = ("accuracy", "accuracy_majority", "ari", "ami", "nmi", "train_accuracy")
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
    """`Trial.clusters` and `Trial.components`, as `clustering.run_clustering` has them; components are found once."""
    labels = encode([*vectors.train_labels, *vectors.test_labels])
    parts = np.split(np.arange(labels.num_rows), [len(vectors.train)])
    of_train, of_test = (labels.take(rows) for rows in parts)
    check_differ(vectors.train, "train")

    def run(train: np.ndarray, test: np.ndarray, overcluster: float) -> dict[str, float]:
        num_clusters = ClusterConfig(overcluster).count_clusters(len(labels.classes))
        found = []
        for seed in range(PROTOCOL["kmeans_seeds"]):
            model = KMeans(num_clusters, n_init=1, random_state=seed).fit(train)
            counts = count(model.labels_.astype(np.int64), of_train, num_clusters)
            scores = score(counts, count(model.predict(test).astype(np.int64), of_test, num_clusters))
            found.append({**scores, "train_accuracy": measure_accuracy(assign(counts).hungarian, counts)})
        return {name: round(float(np.mean([of[name] for of in found])), _DIGITS) for name in _KEPT}

    clusters, curve = {}, {}
    for norm, l2 in NORMS.items():
        train, test = _reduce(*(scale(part, l2) for part in (vectors.train, vectors.test)))
        clusters[norm] = {f"{over:g}": run(train, test, over) for over in OVERCLUSTER}
        if not l2:
            kept = [number for number in COMPONENTS if number < train.shape[1]]
            curve = {str(number): run(train[:, :number], test[:, :number], 1.0)["accuracy"] for number in kept}
    return clusters, {**curve, "all": clusters["plain"]["1"]["accuracy"]}


def _reduce(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by all principal components of train, those of the largest variance first."""
    pca = PCA(svd_solver="covariance_eigh" if len(train) > train.shape[1] else "full").fit(train)
    return pca.transform(train), pca.transform(test)


def _round(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in numbers.items()}
