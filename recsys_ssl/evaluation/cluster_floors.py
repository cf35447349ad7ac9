"""What every figure of clusters stands beside: the same of raw features and of an encoder that was not trained, chance.

A random encoder and raw pixels have clusters too, often good ones: a figure alone says nothing of what was learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from recsys_ssl.evaluation.cluster_scores import Counts, count, score
from recsys_ssl.evaluation.clustering import ClusterConfig
from recsys_ssl.evaluation.crossed import interval_over_seeds
from recsys_ssl.evaluation.labels import TEST, TRAIN, Labels
from recsys_ssl.evaluation.vectors import VectorTable


def list_floors(
    table: VectorTable, raw: Optional[VectorTable], untrained: Optional[VectorTable], components: Optional[int] = None
) -> dict[str, tuple[VectorTable, Optional[int]]]:
    """Name -> table, and its principal components (None: all), of the vectors that are judged beside those of `table`.

    Raw features also by as many components as `table` has columns, or keeps, where they have more.

    Args:
        components: that are kept of `table`; None: all.

    Raises:
        ValueError: a floor has other rows.
    """
    floors: dict[str, tuple[VectorTable, Optional[int]]] = {}
    fewer = components or table.dim
    if raw is not None:
        _check_rows(table, raw)
        floors["raw"] = raw, None
        if fewer < raw.dim:
            floors["raw_components"] = raw, fewer
    if untrained is not None:
        _check_rows(table, untrained)
        floors["untrained"] = untrained, None if components is None else min(components, untrained.dim)
    return floors


def _check_rows(table: VectorTable, floor: VectorTable) -> None:
    left, right = table.read_ids(), floor.read_ids()
    same = table.num_rows == floor.num_rows and (left is None or right is None or left.equals(right))
    if not same:
        raise ValueError(
            f"a floor must have the rows of the vectors, in their order. Received: {floor.num_rows:,} rows of "
            f"{floor.name} for {table.num_rows:,} of {table.name}"
            f"{', with other ids' if table.num_rows == floor.num_rows else ''}. Embed the same records by both."
        )


def score_chance(labels: Labels, part: np.ndarray, config: ClusterConfig) -> list[dict[str, float]]:
    """The scores of clusters by chance: each row in one of as many, for each seed. 8 bytes a row."""
    num_clusters = config.count_clusters(len(labels.classes))
    found = []
    for seed in config.all_seeds:
        drawn = np.random.default_rng([seed, 2]).integers(num_clusters, size=labels.num_rows)
        found.append(score(*_count_parts(drawn, labels, part, num_clusters)))
    return found


def score_one_cluster(labels: Labels, part: np.ndarray) -> dict[str, float]:
    """The scores of one cluster for all rows, whose class is the most frequent of train."""
    return score(*_count_parts(np.zeros(labels.num_rows, np.int64), labels, part, 1))


def _count_parts(clusters: np.ndarray, labels: Labels, part: np.ndarray, num_clusters: int) -> tuple[Counts, Counts]:
    train, test = (
        count(clusters[part == number], labels.take(np.flatnonzero(part == number)), num_clusters)
        for number in (TRAIN, TEST)
    )
    return train, test


# --- Over seeds -------------------------------------------------------------------------------------


def summarise(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """name -> mean, its 95% interval over the seeds and the values; null where undefined, or for one seed."""
    found = {}
    for name in scores[0]:
        values = np.array([of[name] for of in scores])
        mean, half = interval_over_seeds(values)
        found[name] = {
            "mean": _known(mean),
            "interval": None if np.isnan(half) else [float(mean - half), float(mean + half)],
            "values": [_known(value) for value in values],
        }
    return found


def _known(value: float) -> Optional[float]:
    return None if np.isnan(value) else float(value)
