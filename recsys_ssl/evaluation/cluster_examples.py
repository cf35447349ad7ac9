"""Clusters to look at: what they are made of, and the rows nearest to their centres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recsys_ssl.evaluation.cluster_map import LEAST_ROWS, MAP_ROWS, map_rows
from recsys_ssl.evaluation.cluster_scores import NO_CLASS, assign, right_rows
from recsys_ssl.evaluation.clustering import ClusterConfig, Model, Run
from recsys_ssl.evaluation.kmeans import find_nearest
from recsys_ssl.evaluation.labels import TEST, Labels
from recsys_ssl.evaluation.vectors import VectorTable

LISTED = 5
"""Best and worst clusters, and rows of each."""
LEAST_TEST_ROWS = 5
"""Of a cluster that is listed: the accuracy of fewer is chance."""


class Seen(NamedTuple):
    """What one pass over the test rows shows of one run."""

    nearest: dict[int, list[int]]
    """Cluster -> its test rows that lie nearest to the centroid, at most LISTED, nearest first."""
    mapped_rows: np.ndarray
    """[num_mapped] int64, rows of test by chance, at most MAP_ROWS."""
    mapped_clusters: np.ndarray
    """[num_mapped] int64."""
    mapped_vectors: np.ndarray
    """[num_mapped, num_components]."""


def look_at_rows(table: VectorTable, part: np.ndarray, model: Model, run: int, config: ClusterConfig) -> Seen:
    """Passes once over the test rows; holds one batch, and what it returns."""
    is_test = part == TEST
    tested = np.flatnonzero(is_test)
    rng = np.random.default_rng([config.seed, 3])
    drawn = np.zeros(len(part), bool)
    drawn[rng.choice(tested, min(MAP_ROWS, len(tested)), replace=False)] = True
    kept = [np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)]
    mapped = []
    for rows, vectors in table.iterate(config.batch_rows, keep=is_test):
        prepared = model.prepare(vectors)
        clusters, distances = find_nearest(model.centroids[run], prepared)
        kept = _keep_nearest(*(np.concatenate(pair) for pair in zip(kept, (clusters, rows, distances))))
        mapped.append((rows[drawn[rows]], clusters[drawn[rows]], prepared[drawn[rows]]))
    nearest: dict[int, list[int]] = {}
    for cluster, row in zip(kept[0].tolist(), kept[1].tolist()):
        nearest.setdefault(cluster, []).append(row)
    return Seen(nearest, *(np.concatenate(parts) for parts in zip(*mapped)))


def _keep_nearest(clusters: np.ndarray, rows: np.ndarray, distances: np.ndarray) -> list[np.ndarray]:
    """The first LISTED rows of each cluster by distance, then by row."""
    order = np.lexsort((rows, distances, clusters))
    ordered = clusters[order]
    starts = np.searchsorted(ordered, ordered)
    chosen = order[np.arange(len(order)) - starts < LISTED]
    return [clusters[chosen], rows[chosen], distances[chosen]]


def choose_run(runs: Sequence[Run]) -> int:
    """The run of the least inertia on train, which no label decides."""
    return int(np.argmin([run.inertia for run in runs]))


def describe_clusters(run: Run, seen: Seen, labels: Labels, ids: Sequence[str]) -> dict[str, Any]:
    """The best and the worst clusters by the share of test rows that have their class, JSON-able.

    Clusters of LEAST_TEST_ROWS test rows or more, or all with a test row where no cluster has so many; of equals the
    larger first.

    Args:
        ids: of the rows of `list_shown`, in its order.

    Returns:
        `in_use`, the clusters that have a row of train; `listed_from`, how many were long enough to list; `best` and
        `worst`, at most LISTED each and none in both, with `cluster`, `class` (None for none), `train_rows`,
        `test_rows`, `right`, `common` (the three most frequent classes of train with their shares) and `examples`.
    """
    classes = assign(run.train).hungarian
    sizes, right = run.test.rows, right_rows(classes, run.test)
    long_enough = np.flatnonzero(sizes >= LEAST_TEST_ROWS)
    listed = long_enough if len(long_enough) else np.flatnonzero(sizes)
    shares = right[listed] / sizes[listed]
    order = listed[np.lexsort((listed, -sizes[listed], -shares))]
    num_best = min(LISTED, -(-len(order) // 2))
    num_worst = min(LISTED, len(order) - num_best)
    id_of = dict(zip(list_shown(seen), ids, strict=True))

    def describe(cluster: int) -> dict[str, Any]:
        members, total = run.train.members[cluster], int(run.train.rows[cluster])
        common = [code for code in np.argsort(-members, kind="stable")[:3].tolist() if members[code]]
        return {
            "cluster": cluster,
            "class": name_class(labels, classes[cluster]),
            "train_rows": total,
            "test_rows": int(sizes[cluster]),
            "right": float(right[cluster] / sizes[cluster]),
            "common": [[labels.classes[code], float(members[code] / total)] for code in common],
            "examples": [{"id": id_of[row], "labels": labels.names(row)} for row in seen.nearest.get(cluster, [])],
        }

    return {
        "in_use": int((run.train.rows > 0).sum()),
        "listed_from": len(order),
        "best": [describe(cluster) for cluster in order[:num_best].tolist()],
        "worst": [describe(cluster) for cluster in order[::-1][:num_worst].tolist()],
    }


def list_shown(seen: Seen) -> list[int]:
    """The rows whose ids are shown, ascending."""
    return sorted(row for rows in seen.nearest.values() for row in rows)


def name_class(labels: Labels, code: int) -> str | None:
    return None if code == NO_CLASS else labels.classes[code]


def map_points(run: Run, seen: Seen, labels: Labels, config: ClusterConfig) -> list[dict[str, Any]]:
    """The points of the map, JSON-able; none for fewer than LEAST_ROWS rows. A row's class is the first of its own."""
    if len(seen.mapped_rows) < LEAST_ROWS:
        return []
    classes = assign(run.train).hungarian
    places = map_rows(seen.mapped_vectors, config.seed)
    return [
        {
            "x": round(float(x), 4),
            "y": round(float(y), 4),
            "cluster": int(cluster),
            "cluster_class": name_class(labels, classes[cluster]),
            "class": labels.names(row)[0],
        }
        for (x, y), cluster, row in zip(places, seen.mapped_clusters, seen.mapped_rows.tolist())
    ]
