"""Evaluation: two arms answer the same queries, and a report decides between them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.progress import PROGRESS
from recsys_ssl import artifacts, examples, lists
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.evaluate import Arm, evaluate_arms
from recsys_ssl.evaluation.labels import Labels, from_arrow
from recsys_ssl.evaluation.report import write_report
from recsys_ssl.evaluation.vectors import as_text
from recsys_ssl.index.scann_index import IndexReport
from recsys_ssl.serving.catalogue import read_catalogue
from recsys_ssl.spec import FeatureSpec


@dataclasses.dataclass(frozen=True)
class ArmDirs:
    """Where the parts of one training of an arm lie, its settings with the items; without `index_dir` no index."""

    items_dir: str
    queries_dir: str
    index_dir: str | None = None


def evaluate_run(
    spec: FeatureSpec,
    control: Sequence[ArmDirs],
    treatment: Sequence[ArmDirs],
    interactions_dir: str,
    catalogue_dir: str,
    report_dir: str,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Embeddings of both arms, of each training -> A/B report (HTML and JSON), which decides.

    The report shows where the settings of the arms differ; they are those that the embeddings were made with.

    Args:
        control, treatment: `config.seeds` trainings of each arm, the first first.

    Raises:
        FileNotFoundError: the log was not ingested, or an arm not trained and embedded.
    """
    summary_path = Path(interactions_dir, artifacts.SUMMARY_FILE)
    if not summary_path.exists():
        raise FileNotFoundError(f"no {summary_path}. Run the stage that writes it first.")
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    report = evaluate_arms(
        spec,
        [_arm("control", dirs) for dirs in control],
        [_arm("treatment", dirs) for dirs in treatment],
        summary=summary,
        titles=None if spec.items.title is None else read_catalogue(spec, catalogue_dir).titles,
        config=config,
        progress=lambda name, done, total: PROGRESS.info(f"ranking {name} {done:,}/{total:,}"),
        chosen_before=_read_chosen(spec, interactions_dir),
        item_labels=_read_labels(spec.evaluation.cluster_by, catalogue_dir),
    )
    write_report(report, report_dir)
    PROGRESS.info(f"{report['verdict']['word']}: {' '.join(report['verdict']['reasons'])}")
    return report


def _read_chosen(spec: FeatureSpec, interactions_dir: str) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """The queries and item rows of the events before the test split, a batch at a time."""
    for split in spec.split.names[:-1]:
        for batch in examples.read_batches(examples.list_shards(interactions_dir, split)):
            ids = lists.flatten(lists.column(batch, "query_id"), pa.large_binary())[0]
            yield ids, lists.flat(batch, "item_row", pa.int64())[0]


def _read_labels(feature: str | None, catalogue_dir: str) -> Labels | None:
    """The values of an item feature, in row order."""
    if feature is None:
        return None
    parts = [
        lists.flatten(lists.column(batch, feature), pa.large_binary())
        for batch in examples.read_batches(examples.list_shards(catalogue_dir, examples.CATALOGUE_SPLIT))
    ]
    lengths = np.concatenate([lengths for _, lengths in parts])
    texts = pa.concat_arrays([lists.one_array(as_text(values)) for values, _ in parts])
    return from_arrow(lists.from_flat(texts, lengths, layout=pa.ListArray))


def read_settings(dirs: ArmDirs) -> dict[str, Any]:
    """The settings that a training had."""
    return json.loads(artifacts.read_text(Path(dirs.items_dir, artifacts.TRAIN_SETTINGS_FILE)))


def _arm(name: str, dirs: ArmDirs) -> Arm:
    try:
        settings = read_settings(dirs)
        cautions = json.loads(artifacts.read_text(Path(dirs.items_dir, artifacts.TRAIN_CAUTIONS_FILE)))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the report shows what each arm was trained with. There is no {error.filename}. Train the {name} again "
            f"and embed with it: `recsys-ssl train --arm {name}`, `recsys-ssl index --arm {name}`."
        ) from None
    recall = None
    if dirs.index_dir is not None:
        text = artifacts.read_text(Path(dirs.index_dir, artifacts.INDEX_REPORT_FILE))
        recall = IndexReport.from_json(text).recall
    label = f"{name} ({settings['ssl']['regularizer']})"
    return Arm(label, dirs.items_dir, dirs.queries_dir, settings, recall, cautions)
