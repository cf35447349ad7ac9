"""The report on clusters: every score beside its floors, clusters to look at, a map; one HTML page and JSON.

from recsys_ssl.evaluation.cluster_report import judge_vectors
report = judge_vectors(vectors, labels, raw=pixels)
print(report["scores"][0]["metrics"]["ari"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from recsys_ssl.evaluation import vector_reports
from recsys_ssl.evaluation.cluster_examples import (
    LEAST_TEST_ROWS,
    choose_run,
    describe_clusters,
    list_shown,
    look_at_rows,
    map_points,
)
from recsys_ssl.evaluation.cluster_floors import list_floors, score_chance, score_one_cluster, summarise
from recsys_ssl.evaluation.cluster_map import draw_map
from recsys_ssl.evaluation.cluster_scores import SCORES
from recsys_ssl.evaluation.clustering import ClusterConfig, Fit, Progress, Run, run_clustering
from recsys_ssl.evaluation.labels import LEFT_OUT, TEST, Labels, encode, split_rows
from recsys_ssl.evaluation.vector_reports import find_best_floor, list_statements, make_row, tell_from
from recsys_ssl.evaluation.vectors import VectorTable, from_array
from recsys_ssl.pages import data_uri

_COMPARED = ("accuracy", "ari", "ami")
"""Scores of the sentences. NMI and Fowlkes-Mallows rise with the number of clusters, the strict accuracy falls."""


def judge_vectors(
    vectors: np.ndarray,
    labels: Sequence[Union[str, Sequence[str], None]],
    ids: Optional[Sequence[str]] = None,
    part: Optional[np.ndarray] = None,
    raw: Optional[np.ndarray] = None,
    untrained: Optional[np.ndarray] = None,
    config: ClusterConfig = ClusterConfig(),  # noqa: B008 (frozen)
    with_map: bool = False,
) -> dict[str, Any]:
    """`judge_clusters` of arrays.

    Args:
        vectors: [num_rows, dim].
        labels: [num_rows] texts, several in a list, None where there is none.
        ids: [num_rows]; the rows' numbers when None.
        part: [num_rows] TRAIN, TEST or LEFT_OUT of `labels`; a fifth is test by chance when None.
        raw: [num_rows, raw_dim], what the encoder read, e.g. pixels.
        untrained: [num_rows, any], vectors of the same encoder with initial weights.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> pixels, digits = load_digits(return_X_y=True)
        >>> report = judge_vectors(pixels, [str(digit) for digit in digits])
        >>> report["scores"][0]["metrics"]["ari"]["mean"] > 0.6
        True
    """
    encoded = encode(labels)
    return judge_clusters(
        from_array(vectors, ids),
        encoded,
        split_rows(encoded, seed=config.seed) if part is None else part,
        config,
        None if raw is None else from_array(raw, name="the raw features"),
        None if untrained is None else from_array(untrained, name="the vectors that are not trained"),
        with_map=with_map,
    )


def judge_clusters(
    table: VectorTable,
    labels: Labels,
    part: np.ndarray,
    config: ClusterConfig,
    raw: Optional[VectorTable] = None,
    untrained: Optional[VectorTable] = None,
    fit: Optional[Fit] = None,
    progress: Optional[Progress] = None,
    with_map: bool = True,
    title: str = "",
    facts: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Clusters vectors and their floors and returns the report; arguments and errors as `clustering.run_clustering`.

    Args:
        raw, untrained: see `cluster_floors.list_floors`.
        with_map: whether UMAP draws one, which takes seconds to compile.
        facts: rows `topic`, `statement` of the protocol, from whoever read the files.

    Returns:
        JSON-able: `title`, `counts`, `config`, `scores` (see `cluster_floors.summarise`; `vectors` first, then floors),
        `reading`, `clusters` (of the run of least inertia, see `cluster_examples`), `map`, `protocol`, `caveats`.
    """
    floors = list_floors(table, raw, untrained, config.components)
    model, runs = run_clustering(table, labels, part, config, fit, progress)
    scores = [make_row("vectors", summarise([run.scores for run in runs]), table.dim)]
    for name, (floor, components) in floors.items():
        own = replace(config, components=components)
        _, of_floor = run_clustering(floor, labels, part, own, fit, tell_from(progress, name))
        scores.append(make_row(name, summarise([run.scores for run in of_floor]), components or floor.dim))
    scores.append(make_row("chance", summarise(score_chance(labels, part, config))))
    scores.append(make_row("one_cluster", summarise([score_one_cluster(labels, part)])))

    chosen = choose_run(runs)
    seen = look_at_rows(table, part, model, chosen, config)
    shown, ids = list_shown(seen), table.read_ids()
    names = [str(row) if ids is None else ids[row].as_py() for row in shown]
    if with_map and progress is not None:
        progress("map by UMAP")
    return {
        "title": title or table.name,
        "counts": _count(table, labels, part, runs[0]),
        "config": asdict(config),
        "scores": scores,
        "reading": _read_scores(scores),
        "clusters": {"seed": config.all_seeds[chosen], **describe_clusters(runs[chosen], seen, labels, names)},
        "map": map_points(runs[chosen], seen, labels, config) if with_map else [],
        "protocol": [*facts, *_protocol(labels, part, config)],
        "caveats": list(_CAVEATS),
    }


def write_cluster_report(report: Mapping[str, Any], directory: str | Path) -> None:
    """Writes report.html and report.json, see `vector_reports.write`."""
    vector_reports.write(report, render_cluster_report(report), directory)


def render_cluster_report(report: Mapping[str, Any]) -> str:
    """The page as HTML."""
    return vector_reports.render(
        "cluster_report.html.jinja",
        report,
        labels=SCORES,
        figure=data_uri(draw_map(report["map"])) if report["map"] else None,
        least_test_rows=LEAST_TEST_ROWS,
    )


def _count(table: VectorTable, labels: Labels, part: np.ndarray, run: Run) -> dict[str, int]:
    return {
        **vector_reports.count_rows(table, labels, part),
        "clusters": len(run.train.rows),
        "test_of_one_label": int((labels.counts[part == TEST] == 1).sum()),
    }


def _read_scores(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each of a few scores: the vectors against the best of the floors."""
    found = []
    for name in _COMPARED:
        best = find_best_floor(scores, name)
        if best is None:
            continue
        own, other = scores[0]["metrics"][name], best["metrics"][name]
        (low, high), (floor_low, floor_high) = (_bounds(each) for each in (own, other))
        verdict = "above" if low > floor_high else "below" if high < floor_low else "not told apart from"
        figures = f"{own['mean']:.3f} against {other['mean']:.3f}"
        found.append(f"{SCORES[name]}: {verdict} the best floor, {best['label'].lower()} ({figures}).")
    return found


def _bounds(score: Mapping[str, Any]) -> Sequence[float]:
    """The interval; of one run, which has none, the value itself."""
    return score["interval"] or [score["mean"]] * 2


# --- What the reader needs to know ---------------------------------------------------------------------

_CAVEATS = (
    "The intervals hold the chance of k-means alone. Other rows, another split and another training of the encoder "
    "give other figures.",
    "Accuracy, by majority or by Hungarian assignment, grows with the number of clusters whatever the vectors are: "
    "compare it at the same number only, and look at ARI and AMI beside it.",
    "Good clusters and a good linear probe are two things: vectors may tell the classes and not be grouped by them.",
    "k-means finds round groups of like size. Classes of other shapes or of very unlike sizes are found less well.",
)


def _protocol(labels: Labels, part: np.ndarray, config: ClusterConfig) -> list[dict[str, str]]:
    several = int((labels.counts[part != LEFT_OUT] > 1).sum())
    tested = int((labels.counts[part == TEST] == 1).sum())
    scaled = "brought to length 1, then " if config.l2 else ""
    components = f"{config.components:,} principal components" if config.components else "all principal components"
    statements = {
        "Fitted on train": "Components, centroids and the classes of clusters; the scores are of test.",
        "Vectors": f"{scaled}{components}, without whitening.".capitalize(),
        "k-means": f"{config.overcluster:g} clusters per class, k-means++, {config.seeds} runs with seeds "
        f"{config.seed} to {config.seed + config.seeds - 1}; means and 95% t-intervals over the runs.",
        "Accuracy, Hungarian": "One cluster a class, so that most rows of train are right; every other cluster has its "
        "most frequent class. Strict: rows of every other cluster are wrong. Majority: each cluster has its most "
        "frequent class.",
        "Indices": "ARI, AMI, NMI (both over the arithmetic mean of entropies) and Fowlkes-Mallows compare partitions. "
        "ARI and AMI are 0 in the mean for clusters by chance.",
    }
    if several:
        statements["Several labels"] = (
            f"{several:,} rows have several. A row is right if it has the class of its cluster; the indices are of the "
            f"{tested:,} test rows of one label, since a row of several is in no part of a partition."
        )
    return list_statements(statements)
