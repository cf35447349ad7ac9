"""Ingestion: logs and tables become examples."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems

from pipelines.progress import PROGRESS
from recsys_ssl.logs.sources import expand_pattern
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
    tables = [spec.events, spec.items.table, spec.queries.table]
    globs = [glob for table in tables if table for pattern in table.paths for glob in expand_pattern(pattern)]
    patterns = [os.path.join(data_dir, glob) for glob in globs]
    found = [metadata for match in FileSystems.match(patterns) for metadata in match.metadata_list]
    return json.dumps(
        sorted(
            {(os.path.relpath(file.path, data_dir), file.size_in_bytes, file.last_updated_in_seconds) for file in found}
        )
    )
