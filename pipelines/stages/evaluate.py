"""Evaluation: two arms answer the same queries, and a report decides between them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.progress import PROGRESS
from recsys_ssl import artifacts
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.evaluate import Arm, evaluate_arms
from recsys_ssl.evaluation.report import write_report
from recsys_ssl.index.scann_index import IndexReport
from recsys_ssl.serving.catalogue import read_catalogue
from recsys_ssl.spec import FeatureSpec


@dataclasses.dataclass(frozen=True)
class ArmDirs:
    """Where an arm's parts lie; without `index_dir` it has no index."""

    items_dir: str
    queries_dir: str
    index_dir: str | None = None


def evaluate_run(
    spec: FeatureSpec,
    control: ArmDirs,
    treatment: ArmDirs,
    control_settings: Mapping[str, Any],
    treatment_settings: Mapping[str, Any],
    interactions_dir: str,
    catalogue_dir: str,
    report_dir: str,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Embeddings of both arms -> A/B report (HTML and JSON), which decides.

    Args:
        control_settings, treatment_settings: of `TrainConfig`, as JSON holds them; the report shows where they differ.
    """
    summary_path = Path(interactions_dir, artifacts.SUMMARY_FILE)
    if not summary_path.exists():
        raise FileNotFoundError(f"no {summary_path}. Run the stage that writes it first.")
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    report = evaluate_arms(
        spec,
        _arm("control", control, control_settings),
        _arm("treatment", treatment, treatment_settings),
        summary=summary,
        titles=None if spec.items.title is None else read_catalogue(spec, catalogue_dir).titles,
        config=config,
        progress=lambda name, done, total: PROGRESS.info(f"ranking {name} {done:,}/{total:,}"),
    )
    write_report(report, report_dir)
    PROGRESS.info(f"{report['verdict']['word']}: {' '.join(report['verdict']['reasons'])}")
    return report


def _arm(name: str, dirs: ArmDirs, settings: Mapping[str, Any]) -> Arm:
    recall = None
    if dirs.index_dir is not None:
        text = artifacts.read_text(Path(dirs.index_dir, artifacts.INDEX_REPORT_FILE))
        recall = IndexReport.from_json(text).recall
    return Arm(f"{name} ({settings['ssl']['regularizer']})", dirs.items_dir, dirs.queries_dir, settings, recall)
