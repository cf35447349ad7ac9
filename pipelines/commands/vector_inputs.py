"""What the commands on vectors share: options that name vectors, labels and floors, and their reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional

import typer
from rich.console import Console

from pipelines.console import plain, show_table
from pipelines.progress import PROGRESS
from recsys_ssl import artifacts

if TYPE_CHECKING:
    import numpy as np

    from recsys_ssl.evaluation.label_files import FoundLabels, LabelSource
    from recsys_ssl.evaluation.vectors import VectorTable

REPORT_DIR = "report"

Embeddings = Annotated[
    Path,
    typer.Option(
        "--embeddings",
        help="Vectors: a Parquet file of `recsys-ssl embed`, a directory of items or queries of a run, .npy, or .npz "
        "with an array `vectors`.",
    ),
]
LabelsName = Annotated[
    str,
    typer.Option(
        "--labels",
        help="Labels: a column of the vectors' file, or a CSV or Parquet file with ids, or .npy in the same order.",
    ),
]
ReportPlace = Annotated[Path, typer.Option("--to", help="Directory that receives report/report.html and report.json.")]
LabelColumn = Annotated[
    Optional[str], typer.Option("--label-column", help="Column of the labels' file; by default the only other one.")
]
IdColumn = Annotated[
    Optional[str], typer.Option("--id-column", help="Column of ids of the labels' file; by default of their name.")
]
Separator = Annotated[
    Optional[str], typer.Option("--separator", help="What stands between several labels of one cell.")
]
SplitColumn = Annotated[
    Optional[str], typer.Option("--split", help="Column beside the labels that says train or test.")
]
TestShare = Annotated[float, typer.Option("--test-share", help="Of the rows, without --split.")]
Raw = Annotated[Optional[Path], typer.Option("--raw", help="Raw features of the same rows, a floor.")]
Untrained = Annotated[
    Optional[Path], typer.Option("--untrained", help="Vectors of an encoder that was not trained, a floor.")
]
MaxUnlabelledShare = Annotated[
    float,
    typer.Option("--max-unlabelled-share", help="More rows without a label are an error.", min=0, max=1),
]


class VectorInputs(NamedTuple):
    """What the options name."""

    table: VectorTable
    found: FoundLabels
    part: np.ndarray
    """[num_rows] int8 TRAIN, TEST or LEFT_OUT."""
    raw: Optional[VectorTable]
    untrained: Optional[VectorTable]


def read_inputs(
    embeddings: Path,
    labels: LabelSource,
    raw: Optional[Path],
    untrained: Optional[Path],
    max_unlabelled_share: float,
    test_share: float,
    seed: int,
) -> VectorInputs:
    """Opens vectors and floors, matches labels, and splits the rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see `vectors.open_vectors` and `label_files.read_labels`; or too many rows have no label.
    """
    from recsys_ssl.evaluation.label_files import read_labels
    from recsys_ssl.evaluation.labels import split_rows
    from recsys_ssl.evaluation.vectors import open_vectors

    table = open_vectors(embeddings)
    raw_table, untrained_table = (None if path is None else open_vectors(path) for path in (raw, untrained))
    found = read_labels(table, embeddings, labels)
    missing, num_rows = int((found.labels.counts == 0).sum()), found.labels.num_rows
    if missing > max_unlabelled_share * num_rows:
        raise ValueError(
            f"at most {max_unlabelled_share:.0%} of the vectors may have no label. Received: {missing:,} of "
            f"{num_rows:,} without. Is it the right column? Mend the labels, or raise --max-unlabelled-share."
        )
    part = split_rows(found.labels, test_share, seed) if found.part is None else found.part
    PROGRESS.info(f"{table.num_rows:,} vectors of {table.dim:,} numbers, {len(found.labels.classes):,} classes")
    return VectorInputs(table, found, part, raw_table, untrained_table)


def describe_inputs(
    embeddings: Path, labels: LabelSource, found: FoundLabels, test_share: float
) -> list[dict[str, str]]:
    """Rows of the protocol of a report: what was read, and who split it."""
    missing = int((found.labels.counts == 0).sum())
    told = f"; {missing:,} vectors without are left out" if missing else ""
    told += f"; {found.strangers:,} ids of no vector are ignored" if found.strangers else ""
    by = f"Column {labels.split}" if labels.split else f"{test_share:.0%} of the rows with a label are test, by chance"
    topics = {"Input": f"{embeddings}; labels {labels.name}{told}.", "Split": f"{by}."}
    return [{"topic": topic, "statement": statement} for topic, statement in topics.items()]


def show_report(console: Console, title: str, report: dict[str, Any], labels: dict[str, str], directory: Path) -> None:
    """Every score of the vectors beside the floors, what it says, and where the files are.

    Args:
        labels: name of each score -> what people read.
    """
    of_vectors, *floors = report["scores"]
    rows = [
        (label, _number(of_vectors["metrics"][name]), _interval(of_vectors["metrics"][name]))
        + tuple(_number(floor["metrics"][name]) for floor in floors)
        for name, label in labels.items()
    ]
    console.print()
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
