"""Indexing: embeddings become an approximate index and servable models."""

from __future__ import annotations

from pipelines.progress import PROGRESS
from recsys_ssl.index import export, scann_index
from recsys_ssl.spec import FeatureSpec


def index_arm(
    towers_dir: str,
    items_dir: str,
    queries_dir: str,
    index_dir: str,
    scann_model_dir: str,
    brute_force_model_dir: str,
    config: scann_index.IndexConfig,
    spec: FeatureSpec | None = None,
) -> scann_index.IndexReport:
    """Embeddings -> ScaNN index with its measured recall, and both servable SavedModels."""
    report = scann_index.index_items(items_dir, queries_dir, index_dir, config)
    export.export_scann(towers_dir, index_dir, scann_model_dir, spec)
    export.export_brute_force(towers_dir, items_dir, brute_force_model_dir, spec)
    recall = ", ".join(f"recall@{k} {value:.3f}" for k, value in report.recall.items())
    PROGRESS.info(f"{report.config.method}, {report.num_items:,} items, {recall}, p50 {report.latency_p50_ms:.2f} ms")
    return report
