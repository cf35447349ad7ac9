"""The command `cluster`: what vectors know of labels that they have not seen."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipelines.commands.session import BeamArgs, session
from pipelines.commands.vector_inputs import (
    REPORT_DIR,
    Embeddings,
    IdColumn,
    LabelColumn,
    LabelsName,
    MaxUnlabelledShare,
    Raw,
    ReportPlace,
    Separator,
    SplitColumn,
    TestShare,
    Untrained,
    describe_inputs,
    read_inputs,
    show_report,
)
from pipelines.progress import PROGRESS
from recsys_ssl import artifacts

if TYPE_CHECKING:
    from recsys_ssl.evaluation.clustering import ClusterConfig, Fit


class Method(str, Enum):
    """Where k-means is done."""

    memory = "memory"
    batches = "batches"
    beam = "beam"


def cluster(
    embeddings: Embeddings,
    labels: LabelsName,
    to: ReportPlace,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    separator: Separator = None,
    split: SplitColumn = None,
    test_share: TestShare = 0.2,
    overcluster: Annotated[float, typer.Option("--overcluster", help="Clusters per class, 1 to 5.")] = 1.0,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs of k-means.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Of the first run, and of the split.")] = 0,
    l2: Annotated[bool, typer.Option("--l2", help="Bring vectors to length 1 first.")] = False,
    components: Annotated[
        Optional[int], typer.Option("--components", help="Principal components to keep; by default all.")
    ] = None,
    raw: Raw = None,
    untrained: Untrained = None,
    max_unlabelled_share: MaxUnlabelledShare = 0.5,
    method: Annotated[
        Method, typer.Option("--method", help="memory; batches of rows that memory cannot hold; beam on many machines.")
    ] = Method.memory,
    batch_rows: Annotated[int, typer.Option("--batch-rows", help="Rows that are read at a time.")] = 16_384,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes of --method batches.")] = 10,
    draw_map: Annotated[bool, typer.Option("--map/--no-map", help="Whether to draw a map by UMAP.")] = True,
    beam: BeamArgs = None,
) -> None:
    """Clusters vectors by k-means and reports how well the clusters agree with labels, beside floors.

    [dim]recsys-ssl cluster --embeddings build/vectors.parquet --labels classes.csv --to build/clusters[/dim]
    """
    with session(to, "cluster", is_alone=True) as (console, lines):
        artifacts.require_place(to / REPORT_DIR)
        if beam and method is not Method.beam:
            raise ValueError(f"--beam goes with --method beam. Received: --method {method.value}. Remove one.")
        lines.start("Read vectors")
        from recsys_ssl.evaluation.cluster_report import judge_clusters, write_cluster_report
        from recsys_ssl.evaluation.cluster_scores import SCORES
        from recsys_ssl.evaluation.clustering import ClusterConfig
        from recsys_ssl.evaluation.label_files import LabelSource

        config = ClusterConfig(overcluster, seeds, seed, l2, components, batch_rows, epochs)
        source = LabelSource(labels, label_column, id_column, separator, split)
        given = read_inputs(embeddings, source, raw, untrained, max_unlabelled_share, test_share, seed)
        lines.finish()
        lines.start("cluster")
        report = judge_clusters(
            given.table,
            given.found.labels,
            given.part,
            config,
            given.raw,
            given.untrained,
            fit=_choose_fit(method, to, beam),
            progress=PROGRESS.info,
            with_map=draw_map,
            facts=[
                *describe_inputs(embeddings, source, given.found, test_share),
                {"topic": "Method", "statement": f"{_describe_method(method, config)}."},
            ],
        )
        write_cluster_report(report, to / REPORT_DIR)
        PROGRESS.info(report["reading"][0] if report["reading"] else "done")
        lines.finish()
        counts = report["counts"]
        title = f"{counts['clusters']:,} clusters, {counts['classes']:,} classes, {counts['test']:,} test rows"
        show_report(console, title, report, dict(SCORES), to / REPORT_DIR)


def _choose_fit(method: Method, to: Path, beam: Optional[list[str]]) -> Fit:
    if method is Method.beam:
        from pipelines.stages.kmeans import fit_in_beam

        return fit_in_beam(str(to / "iterations"), beam or [])
    from recsys_ssl.evaluation.clustering import fit_in_batches, fit_in_memory

    return {Method.memory: fit_in_memory, Method.batches: fit_in_batches}[method]


def _describe_method(method: Method, config: ClusterConfig) -> str:
    return {
        Method.memory: "KMeans of scikit-learn, all rows in memory",
        Method.batches: f"IncrementalPCA, MiniBatchKMeans, {config.epochs} epochs in batches of {config.batch_rows:,}",
        Method.beam: "Lloyd's iteration as a Beam job",
    }[method]
