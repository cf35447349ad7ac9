"""The command `cluster`: what vectors know of labels that they have not seen."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console

from pipelines.commands.session import BeamArgs, session
from pipelines.console import plain, show_table
from pipelines.progress import PROGRESS
from recsys_ssl import artifacts

if TYPE_CHECKING:
    from recsys_ssl.evaluation.clustering import ClusterConfig, Fit
    from recsys_ssl.evaluation.label_files import FoundLabels


class Method(str, Enum):
    """Where k-means is done."""

    memory = "memory"
    batches = "batches"
    beam = "beam"


_REPORT_DIR = "report"
_VECTORS_HELP = (
    "Vectors: a Parquet file of `recsys-ssl embed`, a directory of items or queries of a run, .npy, or .npz with an "
    "array `vectors`."
)


def cluster(
    embeddings: Annotated[Path, typer.Option("--embeddings", help=_VECTORS_HELP)],
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            help="Labels: a column of the vectors' file, or a CSV or Parquet file with ids, or .npy in the same order.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="Directory that receives report/report.html and report.json.")],
    label_column: Annotated[
        Optional[str], typer.Option("--label-column", help="Column of the labels' file; by default the only other one.")
    ] = None,
    id_column: Annotated[
        Optional[str],
        typer.Option("--id-column", help="Column of ids of the labels' file; by default of their name."),
    ] = None,
    separator: Annotated[
        Optional[str], typer.Option("--separator", help="What stands between several labels of one cell.")
    ] = None,
    split: Annotated[
        Optional[str], typer.Option("--split", help="Column beside the labels that says train or test.")
    ] = None,
    test_share: Annotated[float, typer.Option("--test-share", help="Of the rows, without --split.")] = 0.2,
    overcluster: Annotated[float, typer.Option("--overcluster", help="Clusters per class, 1 to 5.")] = 1.0,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs of k-means.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Of the first run, and of the split.")] = 0,
    l2: Annotated[bool, typer.Option("--l2", help="Bring vectors to length 1 first.")] = False,
    components: Annotated[
        Optional[int], typer.Option("--components", help="Principal components to keep; by default all.")
    ] = None,
    raw: Annotated[Optional[Path], typer.Option("--raw", help="Raw features of the same rows, a floor.")] = None,
    untrained: Annotated[
        Optional[Path], typer.Option("--untrained", help="Vectors of an encoder that was not trained, a floor.")
    ] = None,
    max_unlabelled_share: Annotated[
        float, typer.Option("--max-unlabelled-share", help="More rows without a label are an error.", min=0, max=1)
    ] = 0.5,
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
        artifacts.require_place(to / _REPORT_DIR)
        if beam and method is not Method.beam:
            raise ValueError(f"--beam goes with --method beam. Received: --method {method.value}. Remove one.")
        lines.start("Read vectors")
        from recsys_ssl.evaluation.cluster_report import judge_clusters, write_cluster_report
        from recsys_ssl.evaluation.clustering import ClusterConfig
        from recsys_ssl.evaluation.label_files import LabelSource, read_labels
        from recsys_ssl.evaluation.labels import split_rows
        from recsys_ssl.evaluation.vectors import open_vectors

        config = ClusterConfig(overcluster, seeds, seed, l2, components, batch_rows, epochs)
        table = open_vectors(embeddings)
        raw_table, untrained_table = (None if path is None else open_vectors(path) for path in (raw, untrained))
        found = read_labels(table, embeddings, LabelSource(labels, label_column, id_column, separator, split))
        _check_labelled(found, max_unlabelled_share)
        part = split_rows(found.labels, test_share, seed) if found.part is None else found.part
        PROGRESS.info(f"{table.num_rows:,} vectors of {table.dim:,} numbers, {len(found.labels.classes):,} classes")
        lines.finish()
        lines.start("cluster")
        report = judge_clusters(
            table,
            found.labels,
            part,
            config,
            raw_table,
            untrained_table,
            fit=_choose_fit(method, to, beam),
            progress=PROGRESS.info,
            with_map=draw_map,
            facts=_describe_input(embeddings, labels, found, method, config, test_share, split),
        )
        write_cluster_report(report, to / _REPORT_DIR)
        PROGRESS.info(report["reading"][0] if report["reading"] else "done")
        lines.finish()
        _show(console, report, to / _REPORT_DIR)


def _choose_fit(method: Method, to: Path, beam: Optional[list[str]]) -> Fit:
    if method is Method.beam:
        from pipelines.stages.kmeans import fit_in_beam

        return fit_in_beam(str(to / "iterations"), beam or [])
    from recsys_ssl.evaluation.clustering import fit_in_batches, fit_in_memory

    return {Method.memory: fit_in_memory, Method.batches: fit_in_batches}[method]


def _check_labelled(found: FoundLabels, max_share: float) -> None:
    missing, num_rows = int((found.labels.counts == 0).sum()), found.labels.num_rows
    if missing > max_share * num_rows:
        raise ValueError(
            f"at most {max_share:.0%} of the vectors may have no label. Received: {missing:,} of {num_rows:,} without. "
            "Is it the right column? Mend the labels, or raise --max-unlabelled-share."
        )


def _describe_input(
    embeddings: Path,
    labels: str,
    found: FoundLabels,
    method: Method,
    config: ClusterConfig,
    test_share: float,
    split: Optional[str],
) -> list[dict[str, str]]:
    missing = int((found.labels.counts == 0).sum())
    told = f"; {missing:,} vectors without are left out" if missing else ""
    told += f"; {found.strangers:,} ids of no vector are ignored" if found.strangers else ""
    how = {
        Method.memory: "KMeans of scikit-learn, all rows in memory",
        Method.batches: f"IncrementalPCA, MiniBatchKMeans, {config.epochs} epochs in batches of {config.batch_rows:,}",
        Method.beam: "Lloyd's iteration as a Beam job",
    }[method]
    by = f"Column {split}" if split else f"{test_share:.0%} of the rows with a label are test, by chance"
    topics = {"Input": f"{embeddings}; labels {labels}{told}.", "Split": f"{by}.", "Method": f"{how}."}
    return [{"topic": topic, "statement": statement} for topic, statement in topics.items()]


def _show(console: Console, report: dict[str, Any], directory: Path) -> None:
    from recsys_ssl.evaluation.cluster_scores import SCORES

    of_vectors, *floors = report["scores"]
    rows = [
        (label, _number(of_vectors["metrics"][name]), _interval(of_vectors["metrics"][name]))
        + tuple(_number(floor["metrics"][name]) for floor in floors)
        for name, label in SCORES.items()
    ]
    counts = report["counts"]
    console.print()
    title = f"{counts['clusters']:,} clusters, {counts['classes']:,} classes, {counts['test']:,} test rows"
    columns = ("score", "vectors", "95% interval", *(floor["label"].lower() for floor in floors))
    show_table(console, title, columns, rows, texts=("score",), compact=True)
    for sentence in report["reading"]:
        console.print(plain(sentence), highlight=False)
    for name in (artifacts.REPORT_PAGE, artifacts.REPORT_FILE):
        console.print(f"{name:<24} {plain(str(directory / name))}", highlight=False, soft_wrap=True)


def _number(score: dict[str, Any]) -> str:
    return "–" if score["mean"] is None else f"{score['mean']:.4f}"


def _interval(score: dict[str, Any]) -> str:
    return "–" if score["interval"] is None else "{:.4f} {:.4f}".format(*score["interval"])
