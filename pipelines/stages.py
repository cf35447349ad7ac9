"""The stages of a run as plain functions of directories; commands and TFX components both call these."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.console import PROGRESS
from recsys_ssl import artifacts
from recsys_ssl.evaluation.compare import EvaluationConfig
from recsys_ssl.evaluation.evaluate import Arm, evaluate_arms
from recsys_ssl.evaluation.report import write_report
from recsys_ssl.features import correlations, preprocessing
from recsys_ssl.index import embed, export, scann_index
from recsys_ssl.logs.summary import IngestSummary
from recsys_ssl.logs.transforms import IngestConfig, ingest
from recsys_ssl.serving.catalogue import read_catalogue
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs, TrainResult, train


def ingest_logs(
    spec: FeatureSpec,
    data_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    rejected_dir: str,
    config: IngestConfig,
    beam_args: Sequence[str],
) -> IngestSummary:
    """Logs and tables -> interactions, catalogue and rejected records."""
    summary = ingest(spec, data_dir, interactions_dir, catalogue_dir, rejected_dir, config, beam_args)
    splits = ", ".join(f"{split} {size:,}" for split, size in summary.splits.items())
    rejected = sum(summary.rejected.values())
    PROGRESS.info(
        f"{summary.events_read:,} events, {summary.num_queries:,} queries, {summary.num_items:,} items; {splits}; "
        f"{rejected:,} rejected"
    )
    return summary


def transform_features(
    spec: FeatureSpec,
    interactions_dir: str,
    catalogue_dir: str,
    query_transform_dir: str,
    item_transform_dir: str,
    encoded_interactions_dir: str,
    encoded_catalogue_dir: str,
    beam_args: Sequence[str],
) -> None:
    """Raw features -> integer codes, with the graphs that code them."""
    preprocessing.transform(
        spec,
        interactions_dir,
        catalogue_dir,
        query_transform_dir,
        item_transform_dir,
        encoded_interactions_dir,
        encoded_catalogue_dir,
        _options(beam_args),
    )
    encoding = preprocessing.read_encoding(item_transform_dir)
    PROGRESS.info(", ".join(map(_describe_encoding, encoding)))


def _describe_encoding(feature: preprocessing.EncodedFeature) -> str:
    return f"{feature.name} graph" if feature.is_molecule else f"{feature.name} {feature.size or feature.dim:,}"


def correlate_features(
    spec: FeatureSpec, encoded_catalogue_dir: str, out_dir: str, beam_args: Sequence[str]
) -> correlations.Correlations:
    """Encoded catalogue -> mutual information between its features, and a heat map."""
    features = [feature.name for feature in spec.item_features if feature.kind not in ("dense", "molecule")]
    found = correlations.correlate(encoded_catalogue_dir, features, out_dir, _pipeline(beam_args))
    near_unique = ", ".join(found.near_unique) or "none"
    PROGRESS.info(f"{len(features)} features, near-unique: {near_unique}")
    return found


def train_arm(
    spec: FeatureSpec,
    config: TrainConfig,
    inputs: TrainInputs,
    towers_dir: str,
    checkpoint_dir: str,
    log_dir: str,
) -> TrainResult:
    """Encoded interactions and catalogue -> SavedModel of both towers."""

    def report(step: int, steps: int, figures: dict[str, float]) -> None:
        PROGRESS.info(
            f"step {step:,}/{steps:,}  loss {figures['loss']:.3f}  validation recall@50 "
            f"{figures['validation_recall_at_50']:.4f}  {figures['examples_per_second']:,.0f} examples/s"
        )

    result = train(spec, config, inputs, towers_dir, checkpoint_dir, log_dir, report)
    artifacts.write_text(Path(log_dir, artifacts.TRAIN_RESULT_FILE), artifacts.to_json(result))
    PROGRESS.info(
        f"{config.regularizer}: best validation recall@50 {result.best_recall:.4f} at step {result.best_step:,} "
        f"of {result.last_step:,}"
    )
    return result


def embed_arm(
    spec: FeatureSpec,
    towers_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    items_dir: str,
    queries_dir: str,
    beam_args: Sequence[str],
) -> None:
    """Towers -> embeddings of the catalogue and of the test split's queries."""
    embed.embed_items(towers_dir, catalogue_dir, items_dir, _pipeline(beam_args))
    embed.embed_queries(towers_dir, interactions_dir, catalogue_dir, "test", spec, queries_dir, _pipeline(beam_args))


def index_arm(
    towers_dir: str,
    items_dir: str,
    queries_dir: str,
    index_dir: str,
    scann_model_dir: str,
    brute_force_model_dir: str,
    config: scann_index.IndexConfig,
) -> scann_index.IndexReport:
    """Embeddings -> ScaNN index with its measured recall, and both servable SavedModels."""
    report = scann_index.index_items(items_dir, queries_dir, index_dir, config)
    export.export_scann(towers_dir, index_dir, scann_model_dir)
    export.export_brute_force(towers_dir, items_dir, brute_force_model_dir)
    recall = ", ".join(f"recall@{k} {value:.3f}" for k, value in report.recall.items())
    PROGRESS.info(f"{report.config.method}, {report.num_items:,} items, {recall}, p50 {report.latency_p50_ms:.2f} ms")
    return report


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
    control_config: TrainConfig,
    treatment_config: TrainConfig,
    interactions_dir: str,
    catalogue_dir: str,
    report_dir: str,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Embeddings of both arms -> A/B report (HTML and JSON), which decides."""
    summary_path = Path(interactions_dir, artifacts.SUMMARY_FILE)
    if not summary_path.exists():
        raise FileNotFoundError(f"no {summary_path}. Run the stage that writes it first.")
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    report = evaluate_arms(
        spec,
        _arm("control", control, control_config),
        _arm("treatment", treatment, treatment_config),
        summary=summary,
        titles=None if spec.items.title is None else read_catalogue(spec, catalogue_dir).titles,
        config=config,
        progress=lambda name, done, total: PROGRESS.info(f"ranking {name} {done:,}/{total:,}"),
    )
    write_report(report, report_dir)
    PROGRESS.info(f"{report['verdict']['word']}: {' '.join(report['verdict']['reasons'])}")
    return report


def _arm(name: str, dirs: ArmDirs, config: TrainConfig) -> Arm:
    recall = None
    if dirs.index_dir is not None:
        text = artifacts.read_text(Path(dirs.index_dir, artifacts.INDEX_REPORT_FILE))
        recall = scann_index.IndexReport.from_json(text).recall
    settings = dataclasses.asdict(config)
    return Arm(f"{name} ({config.regularizer})", dirs.items_dir, dirs.queries_dir, settings, recall)


def _options(beam_args: Sequence[str]) -> PipelineOptions:
    return PipelineOptions(list(beam_args))


def _pipeline(beam_args: Sequence[str]) -> beam.Pipeline:
    return beam.Pipeline(options=_options(beam_args))


def data_fingerprint(spec: FeatureSpec, data_dir: str) -> str:
    """Name, size and change time of every file that the spec reads; it changes when the data do."""
    tables = [spec.events, spec.items.table, spec.queries.table]
    patterns = [os.path.join(data_dir, pattern) for table in tables if table for pattern in table.paths]
    found = [metadata for match in FileSystems.match(patterns) for metadata in match.metadata_list]
    return json.dumps(
        sorted(
            (os.path.relpath(file.path, data_dir), file.size_in_bytes, file.last_updated_in_seconds) for file in found
        )
    )
