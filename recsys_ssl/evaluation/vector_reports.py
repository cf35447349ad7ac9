"""What reports on vectors share: a column of scores for the vectors and for each floor, one HTML page and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.artifacts import REPORT_FILE, REPORT_PAGE
from recsys_ssl.evaluation.labels import LEFT_OUT, TEST, TRAIN, Labels
from recsys_ssl.evaluation.report import make_environment
from recsys_ssl.evaluation.vectors import VectorTable

FEATURES: Mapping[str, str] = {
    "vectors": "Vectors",
    "raw": "Raw features",
    "raw_components": "Raw, components",
    "untrained": "Not trained",
    "chance": "Random clusters",
    "one_cluster": "Largest class",
}
"""Name of what was judged -> what people read; all but the first are floors."""


def make_row(name: str, metrics: Mapping[str, Mapping[str, Any]], dim: Optional[int] = None) -> dict[str, Any]:
    """A column of the table: the scores of one kind of vectors.

    Args:
        metrics: score -> `mean`, `interval` and `values`, each None where unknown, see `cluster_floors.summarise`.
        dim: numbers of a vector; None where there are none.
    """
    return {"features": name, "label": FEATURES[name], "dim": dim, "metrics": metrics}


def count_rows(table: VectorTable, labels: Labels, part: np.ndarray) -> dict[str, int]:
    """How many rows there are of each part, and how many have several labels."""
    return {
        "rows": table.num_rows,
        "train": int((part == TRAIN).sum()),
        "test": int((part == TEST).sum()),
        "left_out": int((part == LEFT_OUT).sum()),
        "classes": len(labels.classes),
        "dim": table.dim,
        "several_labels": int((labels.counts[part != LEFT_OUT] > 1).sum()),
    }


def list_statements(statements: Mapping[str, str]) -> list[dict[str, str]]:
    """Topic -> sentence, as rows of the protocol."""
    return [{"topic": topic, "statement": statement} for topic, statement in statements.items()]


def find_best_floor(scores: Sequence[Mapping[str, Any]], name: str) -> Optional[Mapping[str, Any]]:
    """The floor with the highest mean of a score; None where it is known of no floor, or not of the vectors.

    Args:
        scores: rows of `make_row`, the vectors first.
    """
    of_vectors, *floors = scores
    known = [floor for floor in floors if floor["metrics"][name]["mean"] is not None]
    if of_vectors["metrics"][name]["mean"] is None or not known:
        return None
    return max(known, key=lambda floor: floor["metrics"][name]["mean"])


def tell_from(progress: Optional[Callable[[str], None]], name: str) -> Optional[Callable[[str], None]]:
    """`progress` that says first whose sentence it is; of the vectors themselves as it is."""
    if progress is None or name == "vectors":
        return progress
    return lambda text: progress(f"{FEATURES[name]}: {text}")


def render(template: str, report: Mapping[str, Any], **more: Any) -> str:
    """The page of a report as HTML."""
    return make_environment().get_template(template).render(report=report, **more)


def write(report: Mapping[str, Any], page: str, directory: str | Path) -> None:
    """Writes report.html and report.json into a directory that is there with both, or as it was.

    Raises:
        ValueError: the report holds NaN or infinity, which JSON cannot.
    """
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with artifacts.whole_directory(directory) as unfinished:
        artifacts.write_text(unfinished / REPORT_PAGE, page)
        artifacts.write_text(unfinished / REPORT_FILE, text)
