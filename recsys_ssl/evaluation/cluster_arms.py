"""How well the clusters of both arms' items agree with a feature of the items (`evaluation.cluster_by`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.evaluation.cluster_floors import score_chance, score_one_cluster, summarise
from recsys_ssl.evaluation.cluster_scores import SCORES
from recsys_ssl.evaluation.clustering import ClusterConfig, run_clustering
from recsys_ssl.evaluation.labels import TEST, Labels, check_classes, check_split, keep_frequent, split_rows
from recsys_ssl.evaluation.vectors import open_vectors

LEAST_SHARE = 0.01
"""Of the items with a value: rarer values are no class, so that there are few hundreds of clusters at most."""


def compare_clusters(
    feature: str, labels: Labels, item_dirs: Mapping[str, str], progress: Optional[Callable[[str], None]] = None
) -> dict[str, Any]:
    """Clusters the items of each arm alike, with a cluster per class, and scores them on the same fifth of the items.

    Args:
        feature: its name.
        labels: [num_items] values of the feature.
        item_dirs: arm -> directory of its item embeddings. The coordinate of a popularity prior is left out.

    Returns:
        JSON-able: `feature`, `classes`, `items`, `test`, `scores` (each of SCORES with `label`, `chance`, `one_cluster`
        and the arms, see `cluster_floors.summarise`), and `refusal`: why there are none, else None.
    """
    kept, config = keep_frequent(labels, LEAST_SHARE), ClusterConfig()
    found = {"feature": feature, "classes": len(kept.classes), "items": int((kept.counts > 0).sum()), "test": 0}
    try:
        check_classes(kept)
        part = split_rows(kept, seed=config.seed)
        check_split(kept, part)
        columns = {"chance": score_chance(kept, part, config), "one_cluster": [score_one_cluster(kept, part)]}
        for arm, directory in item_dirs.items():
            _, runs = run_clustering(open_vectors(directory), kept, part, config, progress=progress)
            columns[arm] = [run.scores for run in runs]
    except DamagedError:
        raise
    except ValueError as error:  # of a feature that tells nothing: the rest of the report stands without
        return {**found, "scores": [], "refusal": str(error)}
    of_column = {name: summarise(scores) for name, scores in columns.items()}
    rows = [
        {"score": score, "label": label, **{name: of[score] for name, of in of_column.items()}}
        for score, label in SCORES.items()
    ]
    return {**found, "test": int((part == TEST).sum()), "scores": rows, "refusal": None}
