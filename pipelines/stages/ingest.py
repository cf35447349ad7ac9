"""Ingestion: logs and tables become examples."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipelines.progress import PROGRESS
from recsys_ssl.logs.sources import list_versions
from recsys_ssl.logs.summary import IngestSummary, list_warnings
from recsys_ssl.logs.transforms import IngestConfig, ingest
from recsys_ssl.spec import FeatureSpec


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
    for warning in list_warnings(summary, spec):
        PROGRESS.warning(warning)
    PROGRESS.info(
        f"{summary.events_read:,} events, {summary.num_queries:,} queries, {summary.num_items:,} items; {splits}; "
        f"{rejected:,} rejected" + (f", {summary.ignored:,} ignored" if summary.ignored else "")
    )
    return summary


def data_fingerprint(spec: FeatureSpec, data_dir: str) -> str:
    """Name, size and change time of every file that the spec reads; it changes when the data do."""
    return json.dumps(list_versions(spec, data_dir))
