"""The commands `pretrain` and `embed`: an encoder of some kind of content, and vectors from it."""

from __future__ import annotations

import itertools
import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.commands.session import Settings, WorkDir, session
from pipelines.progress import PROGRESS
from recsys_ssl.kinds import KINDS

Kind = Enum("Kind", {kind: kind for kind in KINDS}, type=str)  # type: ignore[misc]  # wants to read the members here
KindName = Annotated[Kind, typer.Argument(help="What to encode.", show_default=False)]
Source = Annotated[
    Path, typer.Option("--data", help="A file of raw content: of molecules SMILES, one a line or a CSV's first column.")
]
Workers = Annotated[int, typer.Option("--workers", help="Processes that read and prepare.", min=1)]


def pretrain(kind: KindName, data: Source, workdir: WorkDir, set_: Settings = None, workers: Workers = 1) -> None:
    """Pre-trains an encoder without labels; a killed run goes on at its last checkpoint.

    [dim]recsys-ssl pretrain molecule --data all.smi --workdir build/molecules --set pretrain.steps=5000[/dim]
    """
    with session(workdir, "pretrain") as (console, lines):
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

        result = pretrain_encoder(kind.value, data, config, workdir, workers, tell)
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
    table = Table(title=f"validation at step {result.best_step:,}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in result.figures.items():
        table.add_row(name.removeprefix("validation_").replace("_", " "), f"{value:.4f}")
    console.print()
    console.print(f"{data.num_train:,} {noun} to train on, {data.num_validation:,} to validate on", highlight=False)
    console.print(f"rejected: {escape(rejected)}", highlight=False)
    console.print(table)
    console.print(f"{'encoder':<24} {result.encoder_dir}", highlight=False, soft_wrap=True)


def embed(
    kind: KindName,
    model: Annotated[Path, typer.Option("--model", help="Directory encoder/ of a pre-training.")],
    data: Source,
    to: Annotated[Path, typer.Option("--to", help="Parquet file that receives row, text and vector.")],
    workers: Workers = 1,
) -> None:
    """Writes one vector per record; what gives none goes to a file of its own beside it.

    [dim]recsys-ssl embed molecule --model build/molecules/encoder --data new.smi --to build/vectors.parquet[/dim]
    """
    with session(to.parent, "embed") as (console, lines):
        lines.start("Load TensorFlow")
        from recsys_ssl import kinds
        from recsys_ssl.encoders import store

        embedding = kinds.load(kind.value, "embed")
        lines.finish()
        lines.start(f"embed {kind.value}")
        # No variable of this frame: an import in it that failed inside a library keeps it until the process ends.
        num_embedded, num_rejected = _write_vectors(
            embedding.Embedder(store.load(model, kind.value)), embedding.read(data), to, workers
        )
        PROGRESS.info(f"{num_embedded:,} vectors, {num_rejected:,} rejected")
        lines.finish()
        console.print(f"{'vectors':<24} {to}", highlight=False, soft_wrap=True)
        if num_rejected:
            console.print(f"{'rejected':<24} {_rejected_path(to)}", highlight=False, soft_wrap=True)


def _rejected_path(to: Path) -> Path:
    return to.with_name(f"{to.name}.rejected.jsonl")


def _write_vectors(embedder, contents, to: Path, workers: int) -> tuple[int, int]:
    """The numbers of records that were embedded and rejected; no file is left half-written."""
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
                # Texts before the batch's first and between its rows are those of rejected records.
                passed = list(itertools.islice(texts, rows[-1] + 1 - next_row))
                texts_of_rows = pa.array([passed[row - next_row] for row in rows])
                columns = [pa.array(rows), texts_of_rows, lists.from_vectors(batch.vectors)]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                next_row = rows[-1] + 1
                num_embedded += len(rows)
                PROGRESS.info(f"{num_embedded:,} vectors, {len(rejected):,} rejected")
        lines = [json.dumps(rejection._asdict()) + "\n" for rejection in rejected]
        artifacts.write_text(_rejected_path(to), "".join(lines))
    return num_embedded, len(rejected)
