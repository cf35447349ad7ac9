"""The command `probe`: what frozen vectors tell of labels, by a linear probe, their neighbours, and few labels."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from pipelines.commands.session import session
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


def probe(
    embeddings: Embeddings,
    labels: LabelsName,
    to: ReportPlace,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    separator: Separator = None,
    split: SplitColumn = None,
    test_share: TestShare = 0.2,
    seeds: Annotated[int, typer.Option("--seeds", help="Draws of validation rows, and of few labels.")] = 3,
    seed: Annotated[int, typer.Option("--seed", help="Of the first draw, and of the split.")] = 0,
    neighbours: Annotated[int, typer.Option("--neighbours", help="That vote, of k-NN.")] = 20,
    shots: Annotated[
        Optional[list[int]],
        typer.Option("--shots", help="Labels of each class of a few-shot probe; may be repeated; by default 1 and 10."),
    ] = None,
    raw: Raw = None,
    untrained: Untrained = None,
    max_unlabelled_share: MaxUnlabelledShare = 0.5,
) -> None:
    """Learns labels of frozen vectors by a linear probe, neighbours and few labels, beside floors.

    [dim]recsys-ssl probe --embeddings build/vectors.parquet --labels classes.csv --to build/probes[/dim]
    """
    with session(to, "probe", is_alone=True) as (console, lines):
        artifacts.require_place(to / REPORT_DIR)
        lines.start("Read vectors")
        from recsys_ssl.evaluation.label_files import LabelSource
        from recsys_ssl.evaluation.probe_report import ProbeConfig, judge_probes, write_probe_report

        defaults = ProbeConfig()
        config = ProbeConfig(seeds, seed, neighbours, tuple(shots) if shots else defaults.shots)
        source = LabelSource(labels, label_column, id_column, separator, split)
        given = read_inputs(embeddings, source, raw, untrained, max_unlabelled_share, test_share, seed)
        lines.finish()
        lines.start("probe")
        report = judge_probes(
            given.table,
            given.found.labels,
            given.part,
            config,
            given.raw,
            given.untrained,
            progress=PROGRESS.info,
            facts=describe_inputs(embeddings, source, given.found, test_share),
        )
        write_probe_report(report, to / REPORT_DIR)
        PROGRESS.info(report["reading"][0] if report["reading"] else "done")
        lines.finish()
        counts = report["counts"]
        title = f"{counts['classes']:,} classes, {counts['train']:,} train and {counts['test']:,} test rows"
        show_report(console, title, report, report["labels"], to / REPORT_DIR)
