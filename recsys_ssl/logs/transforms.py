"""The ingestion job: logs and tables in; examples, catalogue, rejected records and their summary out.

    log   --check--> by item --join catalogue--> by query --order--> cut times --> train, eval, test
    items --check--> by item --deduplicate, number--> catalogue <-- counts --------- train

Elements are Arrow tables of many records; whatever is looked up in is a partition of a group-by, keyed by a
stable hash of the id. The transforms of `sources`, `joins` and `sinks` wire; `records` and `timeline` think.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from recsys_ssl.artifacts import SUMMARY_FILE
from recsys_ssl.logs import timeline
from recsys_ssl.logs.joins import FindCutTimes, FindTwins, JoinItems, NumberItems, OrderEvents
from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.sinks import WriteCatalogue, WriteInteractions, WriteRejected, WriteSummary, delete_outputs
from recsys_ssl.logs.sources import CollectIds, DeduplicateTable, ReadRecords, find_sources
from recsys_ssl.logs.summary import IngestSummary, check_summary
from recsys_ssl.spec import FeatureSpec


@dataclasses.dataclass(frozen=True)
class IngestConfig:
    """How ingestion is spread over workers; it changes no example but the numbering of the catalogue's rows."""

    num_partitions: int = 8
    """Partitions of items and of queries; each is joined by one worker and written as one shard. The worker holds
    the partition: for each event some 100 bytes, its ids and features, thrice while writing."""
    rows_per_batch: int = 50_000
    """Lines (or Parquet rows) that are read and checked at a time."""

    def __post_init__(self):
        for name, most in (("num_partitions", 100_000), ("rows_per_batch", 10_000_000)):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {name}={getattr(self, name)}.")
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most:,}. Received: {name}={getattr(self, name)}.")


def ingest(
    spec: FeatureSpec,
    data_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    rejected_dir: str,
    config: IngestConfig = IngestConfig(),
    beam_args: Sequence[str] = (),
) -> IngestSummary:
    """Runs the whole ingestion as one Beam job and returns what became of the records.

    Args:
        data_dir: where the paths of the spec begin.
        interactions_dir: receives the splits train, eval and test, and `summary.json`.
        catalogue_dir: receives the split `catalogue`.
        rejected_dir: receives JSON lines of reason, file, line and record.
        beam_args: options of any runner, e.g. `["--direct_running_mode=multi_processing"]`.

    Raises:
        LogError: a file or column is missing, the log is unusable, or too many records were rejected (these are
            written all the same).
    """
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_args)))
    attach_ingest(pipeline, spec, data_dir, interactions_dir, catalogue_dir, rejected_dir, config)
    run_readably(pipeline)
    return finish_ingest(spec, interactions_dir)


def attach_ingest(
    pipeline: beam.Pipeline,
    spec: FeatureSpec,
    data_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    rejected_dir: str,
    config: IngestConfig = IngestConfig(),
) -> None:
    """Adds the ingestion to a pipeline; `run_readably` runs it and `finish_ingest` judges the result.

    Older shards, rejects and summary in the output directories are deleted at once.

    Raises:
        LogError: paths match no file, or the first file of the log or of a table lacks a column.
    """
    sources = find_sources(spec, data_dir, config.rows_per_batch)
    names = {side: [source.name for source in found] for side, found in sources.items()}
    delete_outputs(interactions_dir, catalogue_dir, rejected_dir)

    read = {
        side: pipeline
        | f"Read{side.capitalize()}" >> ReadRecords(side, found, spec, config.num_partitions, config.rows_per_batch)
        for side, found in sources.items()
    }
    tables = {
        side: read[side].records | f"Deduplicate{side.capitalize()}" >> DeduplicateTable(side, names[side])
        for side in sources
        if side != "events"
    }

    catalogue = tables["items"].records if "items" in tables else read["events"].ids | CollectIds()
    offsets = beam.pvalue.AsSingleton(catalogue | NumberItems(config.num_partitions))
    # Types are named where a dict is piped: checkers take its `|` for the union of two dicts.
    by_item = {"events": read["events"].records, "items": catalogue}
    joined: beam.pvalue.DoOutputsTuple = by_item | JoinItems(offsets, names["events"], spec.evaluation.mask_disliked)

    by_query = {"events": joined.records}
    if spec.queries.same_as_items:
        by_query["queries"] = catalogue
    elif "queries" in tables:
        by_query["queries"] = tables["queries"].records
    ordered: beam.pvalue.DoOutputsTuple = by_query | OrderEvents(offsets, spec, sources["events"])

    cuts = beam.pvalue.AsSingleton(
        ordered.records
        | "Times" >> beam.Map(lambda element: timeline.chosen_times(element[1]))
        | FindCutTimes(spec.split)
        if spec.split.kind == "time"
        else pipeline | "NoCuts" >> beam.Create([None])
    )
    written = ordered.records | WriteInteractions(cuts, offsets, spec, interactions_dir)
    counted = {"items": catalogue, "train": written.train_counts, "impressions": joined.impressions}
    stored = counted | WriteCatalogue(offsets, spec, catalogue_dir)

    stages = [*read.values(), joined, ordered]
    rejects = [stage.rejects for stage in (*stages, *tables.values())] | "Rejects" >> beam.Flatten()
    rejected = rejects | WriteRejected(rejected_dir, config.num_partitions, config.rows_per_batch)
    unknown = {"items": joined.unknown, "queries": ordered.unknown}
    twins = [
        {"unknown": unknown[side], "table": table.records} | f"FindTwinsOf{side.capitalize()}" >> FindTwins(side)
        for side, table in tables.items()
    ]
    counts = [*(stage.counts for stage in (*stages, written)), stored, rejected, *twins]
    counts | "Counts" >> beam.Flatten() | WriteSummary(cuts, spec, interactions_dir)


def run_readably(pipeline: beam.Pipeline) -> None:
    """Runs a pipeline to its end; a worker's `LogError`, which runners wrap into a trace, is raised as it was."""
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        # Depending on the runner it comes as itself, with the name of the step added, or as text within a trace.
        text = f"LogError: {error}" if isinstance(error, LogError) else str(error)
        found = re.search(r"LogError: ([^\n]*?)(?: \[while running [^\n]*)?$", text, re.MULTILINE)
        if found is None:
            raise
        raise LogError(found[1]) from None


def finish_ingest(spec: FeatureSpec, interactions_dir: str) -> IngestSummary:
    """Reads the summary of a run and checks that its log can be used.

    Raises:
        LogError: see `summary.check_summary`.
    """
    with FileSystems.open(os.path.join(interactions_dir, SUMMARY_FILE)) as stream:
        summary = IngestSummary.from_json(stream.read().decode("utf-8"))
    check_summary(summary, spec)
    return summary
