"""The commands `pretrain` and `embed`: an encoder of some kind of content, and vectors from it."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from pipelines.commands.session import Settings, WorkDir, require_file, session
from pipelines.console import plain, show_table
from pipelines.progress import PROGRESS
from recsys_ssl.kinds import KINDS

Kind = Enum("Kind", {kind: kind for kind in KINDS}, type=str)  # type: ignore[misc]  # wants to read the members here
KindName = Annotated[Kind, typer.Argument(help="What to encode.", show_default=False)]
Source = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Raw content: of molecules SMILES, one a line or a column of a CSV file; of images a directory, an "
        "archive, a table or an array, see docs/images.md.",
    ),
]
Column = Annotated[
    Optional[str],
    typer.Option(
        "--column",
        help="Column of the raw content: a name of the header, or a number where there is none; by default what the "
        "header names, e.g. smiles, else the column that reads as such content.",
    ),
]
Workers = Annotated[int, typer.Option("--workers", help="Processes that read and prepare.", min=1)]


def pretrain(
    kind: KindName,
    data: Source,
    workdir: WorkDir,
    column: Column = None,
    set_: Settings = None,
    workers: Workers = 1,
) -> None:
    """Pre-trains an encoder without labels; a killed run goes on at its last checkpoint.

    [dim]recsys-ssl pretrain molecule --data all.smi --workdir build/molecules --set pretrain.steps=5000[/dim]
    """
    with session(workdir, "pretrain", is_alone=True) as (console, lines):
        lines.start("Load TensorFlow")
        from recsys_ssl import kinds
        from recsys_ssl.encoders.pretrain import pretrain as pretrain_encoder
        from recsys_ssl.settings import parse_section

        config = parse_section("pretrain", kinds.load(kind.value, "settings").PretrainConfig, set_ or [])
        noun = kinds.load(kind.value, "pretext").PRETEXT.noun
        lines.finish()
        lines.start(f"pretrain {kind.value}")

        def tell(phase: str, done: int, most: int, figures: dict[str, float]) -> None:
            PROGRESS.info(_describe(noun, done, most, figures) if phase == "train" else f"{phase}: {done:,}/{most:,}")

        result = pretrain_encoder(kind.value, data, config, workdir, workers, tell, column)
        PROGRESS.info(
            f"validation loss {result.figures['validation_loss']:.3f} at step {result.best_step:,} "
            f"of {result.last_step:,}"
        )
        lines.finish()
        _show(console, noun, result)


def _describe(noun: str, step: int, steps: int, figures: dict[str, float]) -> str:
    minutes, seconds = divmod(round(figures["seconds_left"]), 60)
    return (
        f"step {step:,}/{steps:,}  loss {figures['loss']:.3f}  validation {figures['validation_loss']:.3f}  "
        f"{figures['examples_per_second']:,.0f} {noun}/s, {minutes}:{seconds:02d} left"
    )


def _show(console: Console, noun: str, result) -> None:
    """The figures of the best validation."""
    data = result.data
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in data.rejected.items()) or "none"
    names = [name.removeprefix("validation_").replace("_", " ") for name in result.figures]
    rows = [(name, f"{value:.4f}") for name, value in zip(names, result.figures.values(), strict=True)]
    console.print()
    console.print(f"{data.num_train:,} {noun} to train on, {data.num_validation:,} to validate on", highlight=False)
    console.print(f"rejected: {plain(rejected)}", highlight=False)
    show_table(console, f"validation at step {result.best_step:,}", ("figure", "value"), rows, texts=("figure",))
    console.print(f"{'encoder':<24} {plain(str(result.encoder_dir))}", highlight=False, soft_wrap=True)


def embed(
    kind: KindName,
    model: Annotated[Path, typer.Option("--model", help="Directory encoder/ of a pre-training.")],
    data: Source,
    to: Annotated[Path, typer.Option("--to", help="Parquet file that receives row, text and vector.")],
    column: Column = None,
    max_rejected_share: Annotated[
        float,
        typer.Option(
            "--max-rejected-share", help="More records than this that give no vector are an error.", min=0, max=1
        ),
    ] = 0.5,
    workers: Workers = 1,
) -> None:
    """Writes one vector per record; what gives none goes to a file beside it, and too much of that is an error.

    [dim]recsys-ssl embed molecule --model build/molecules/encoder --data new.smi --to build/vectors.parquet[/dim]
    """
    with session(to.parent, "embed") as (console, lines):
        require_file(to, data)
        lines.start("Load TensorFlow")
        from recsys_ssl import kinds
        from recsys_ssl.encoders import store

        embedding = kinds.load(kind.value, "embed")
        lines.finish()
        lines.start(f"embed {kind.value}")
        # No variable of this frame: an import in it that failed inside a library keeps it until the process ends.
        num_embedded, num_rejected = _write_vectors(
            embedding.Embedder(store.load(model, kind.value)),
            embedding.read(data, column),
            to,
            workers,
            max_rejected_share,
            data,
        )
        PROGRESS.info(f"{num_embedded:,} vectors, {num_rejected:,} rejected")
        lines.finish()
        console.print(f"{'vectors':<24} {plain(str(to))}", highlight=False, soft_wrap=True)
        if num_rejected:
            console.print(f"{'rejected':<24} {plain(str(_rejected_path(to)))}", highlight=False, soft_wrap=True)


def _rejected_path(to: Path) -> Path:
    return to.with_name(f"{to.name}.rejected.jsonl")


def _failed_path(to: Path) -> Path:
    """What a run rejected that failed, apart from what was made before it."""
    return to.with_name(f"{to.name}.failed.rejected.jsonl")


def _write_vectors(
    embedder, contents, to: Path, workers: int, max_rejected_share: float, data: Path
) -> tuple[int, int]:
    """The numbers of records that were embedded and rejected; no file is left half-written.

    After an error the vectors and the rejected records of an earlier run are there as they were.

    Raises:
        ValueError: too many are rejected, or a vector is not finite.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from recsys_ssl import artifacts, lists

    vector_type = pa.list_(pa.float32(), embedder.dim)
    schema = pa.schema([("row", pa.int64()), ("text", pa.string()), ("vector", vector_type)])
    num_embedded, next_row = 0, 0
    rejected: list = []
    texts, contents = itertools.tee(contents)
    with artifacts.whole_file(to) as unfinished:
        with pq.ParquetWriter(unfinished, schema) as writer:
            for batch in embedder.embed_stream(contents, rejected, workers):
                rows = batch.rows.tolist()
                if not np.isfinite(batch.vectors).all():
                    raise ValueError(
                        f"vectors must be finite. Received: others among those of rows {rows[0]} to {rows[-1]}. "
                        "Pre-train the encoder again, with a lower learning rate."
                    )
                # Texts before the batch's first and between its rows are those of rejected records.
                passed = list(itertools.islice(texts, rows[-1] + 1 - next_row))
                texts_of_rows = pa.array([str(passed[row - next_row]) for row in rows])
                columns = [pa.array(rows), texts_of_rows, lists.from_vectors(batch.vectors)]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                next_row = rows[-1] + 1
                num_embedded += len(rows)
                PROGRESS.info(f"{num_embedded:,} vectors, {len(rejected):,} rejected")
        lines = "".join(json.dumps(rejection._asdict()) + "\n" for rejection in rejected)
        artifacts.write_text(_failed_path(to), lines)
        _check_rejected(num_embedded, rejected, max_rejected_share, to, data)
        os.replace(_failed_path(to), _rejected_path(to))
    return num_embedded, len(rejected)


def _check_rejected(num_embedded: int, rejected: Sequence, max_share: float, to: Path, data: Path) -> None:
    num_records = num_embedded + len(rejected)
    if not num_records:
        raise ValueError(f"--data must have records. Received: none, {str(data)!r} is empty. Check the path.")
    if not num_embedded or len(rejected) > max_share * num_records:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in Counter(r.reason for r in rejected).items())
        first = ", ".join(f"{rejection[-1]!r:.60}" for rejection in rejected[:3])
        raise ValueError(
            f"at most {max_share:.0%} of the records may be rejected, and not all. Received: {reasons} of "
            f"{num_records:,}, the first {first}; they are listed in {_failed_path(to)}. "
            f"Is it the right column? Name it by --column, mend {str(data)!r}, or raise --max-rejected-share."
        )
