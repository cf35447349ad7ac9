"""The tables of step costs, embedding maps and starts as Markdown, each from its own committed file of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.cells import grid, percent
from benchmarks.evidence.markdown import DATASET_LABELS
from recsys_ssl.evaluation.crossed import interval_over_seeds

FILES = {
    "step_cost": Path("evidence") / "step_cost.json",
    "embeddings": Path("evidence") / "embedding_map.json",
    "starts": Path("evidence") / "starts.json",
}
_SCORES = {"nmi": "NMI", "ami": "AMI", "accuracy": "Accuracy"}
_PARTS = {"all": "all", "trained": "with training events", "cold": "without training events"}
_GAP = "–"


def load_measurements(results: Path) -> dict[str, Any]:
    """What each table of this module is made of, by the name of its marker; None where nothing was measured."""
    paths = {name: results / file for name, file in FILES.items()}
    return {
        name: json.loads(path.read_text(encoding="utf-8")) if path.exists() else None for name, path in paths.items()
    }


def render_step_cost(results: Mapping[str, Any] | None) -> str:
    """What a training step of each regulariser takes: all at one size of their batch, then one at several sizes.

    Args:
        results: of `benchmarks.evidence.step_cost`; None when it was not run.
    """
    if results is None:
        return "Step costs were not measured yet: `python -m benchmarks.evidence.step_cost`."
    labels, recommended, own_sizes = results["labels"], results["recommended"], results["own_sizes"]
    costs = {(row["dataset"], row["arm"], row["ssl_batch_size"]): _cost(row) for row in results["rows"]}
    arms = list(dict.fromkeys(row["arm"] for row in results["rows"]))
    by_arm = [
        [labels[arm], *(costs.get((name, arm, size)) or costs[name, arm, None] for name, size in own_sizes.items())]
        for arm in arms
    ]
    by_size = []
    for size in sorted({size for _, arm, size in costs if arm == recommended}):
        cells = [costs.get((name, recommended, size), _GAP) for name in own_sizes]
        cells = [f"**{cell}**" if own == size else cell for cell, own in zip(cells, own_sizes.values())]
        by_size.append([str(size), *cells])
    header = [DATASET_LABELS[name] for name in own_sizes]
    note = (
        f"Milliseconds of a step, and the ratio to {labels['none']} with its 95% interval over {results['rounds']} "
        f"rounds of {results['steps']} steps, one thread, all in one process on {results['hardware']}. "
        "Bold: the size in the first table."
    )
    return "\n\n".join(
        [
            grid(["Regulariser", *header], by_arm),
            f"{labels[recommended]} by the number of items that a step contrasts:",
            grid(["`ssl.batch_size`", *header], by_size),
            note,
        ]
    )


def render_embeddings(results: Mapping[str, Any] | None) -> str:
    """How well clusters of item embeddings agree with a category, over all items and by whether they were trained.

    Args:
        results: data set -> numbers of `benchmarks.evidence.embedding_map`; None when it was not run.
    """
    if not results:
        return "Embeddings were not measured yet: `python -m benchmarks.evidence.embedding_map`."
    rows = []
    for dataset, found in results.items():
        for part, scores_of in found["scores"].items():
            what = f"{DATASET_LABELS[dataset]}, `{found['feature']}`"
            items = f"{_PARTS[part]} ({found['items'][part]:,})"
            for arm, scores in scores_of.items():
                rows.append([what, items, found["labels"][arm], *(_spread(scores[name]) for name in _SCORES)])
    counts = ", ".join(f"{DATASET_LABELS[name]} {found['categories']}" for name, found in results.items())
    seeds = " and ".join(str(n) for n in dict.fromkeys(found["seeds"] for found in results.values()))
    note = (
        "k-means of the item embeddings against categories of at least 1% of the items, as many clusters as "
        f"categories ({counts}); mean ± half of the 95% interval over {seeds} training seeds. AMI is corrected for "
        "chance. Accuracy: share of items in the cluster that the best one-to-one assignment gives their category. "
        "Every tower reads the category as a feature."
    )
    return "\n\n".join([grid(["Labels", "Items", "Embeddings", *_SCORES.values()], rows, left=3), note])


def render_starts(results: Mapping[str, Any] | None) -> str:
    """How well towers do by where their ids start and how they are trained, after all steps and early.

    Args:
        results: of `benchmarks.evidence.starts`; None when it was not run.
    """
    if results is None:
        return "Starts were not measured yet: `python -m benchmarks.evidence.starts`."
    logs, labels = results["logs"], results["labels"]
    rows = []
    for arm, label in labels.items():
        cells = []
        for of_arm in logs.values():
            found = of_arm.get(arm)
            if found is None:
                cells += [_GAP, _GAP]
                continue
            mean, half = interval_over_seeds(np.array(found["best"]))
            rate = f" (rate {found['rate']:g})" if found["rate"] else ""
            spread = "" if np.isnan(half) else f" ± {percent(half)}"
            cells += [percent(found["early"]), f"{percent(mean)}{spread}{rate}"]
        rows.append([label, *cells])
    header = ["Ids start"]
    for name, of_log in logs.items():
        header += [f"{DATASET_LABELS[name]}, step {next(iter(of_log.values()))['early_step']}", "best"]
    note = (
        "Validation Recall@50 in %, plain towers: at the first validation, and the best one, mean ± half of the 95% "
        "interval over training seeds. Both starts have the settings that their own eight trials found; the rate of "
        "Adam is the best of four on validation."
    )
    return "\n\n".join([grid(header, rows), note])


def _cost(row: Mapping[str, Any]) -> str:
    text = f"{row['ms']:.1f} ms"
    if row["arm"] == "none":
        return text
    low, high = row["interval"]
    return f"{text}, {row['ratio']:.2f}× ({low:.2f} to {high:.2f})"


def _spread(found: tuple[float, float | None] | None) -> str:
    if found is None:
        return _GAP
    mean, half = found
    return f"{mean:.3f}" + ("" if half is None else f" ± {half:.3f}")
