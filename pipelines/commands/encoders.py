"""The commands `recsys-ssl pretrain` and `recsys-ssl embed`: an encoder of molecules, and vectors from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.console import PROGRESS, StageLines

Session = Callable[[Path, str], AbstractContextManager[tuple[Console, StageLines]]]
"""(directory of the log, name) -> a quiet terminal, see `pipelines.commands.app`."""


class Kind(str, Enum):
    """What there are encoders for."""

    molecule = "molecule"


KindName = Annotated[Kind, typer.Argument(help="What to encode: molecule.", show_default=False)]
SmilesFile = Annotated[
    Path, typer.Option("--data", help="SMILES, one a line (.smi) or the first column of a CSV file, plain or .gz.")
]
Workers = Annotated[int, typer.Option("--workers", help="Processes that featurise.", min=1)]


def register(app: typer.Typer, session: Session) -> None:
    """Adds the commands to the application."""

    @app.command()
    def pretrain(
        kind: KindName,
        data: SmilesFile,
        workdir: Annotated[Path, typer.Option("--workdir", help="Receives everything that the run makes.")],
        set_: Annotated[
            Optional[list[str]], typer.Option("--set", help="A setting, e.g. pretrain.steps=2000; may be repeated.")
        ] = None,
        workers: Workers = 1,
    ) -> None:
        """Pre-trains an encoder without labels; a killed run goes on at its last checkpoint.

        [dim]recsys-ssl pretrain molecule --data all.smi --workdir build/molecules --set pretrain.steps=5000[/dim]
        """
        with session(workdir, "pretrain") as (console, lines):
            lines.start("Load TensorFlow")
            from pipelines.settings import parse_section
            from recsys_ssl.encoders.config import PretrainConfig
            from recsys_ssl.encoders.pretrain import pretrain as pretrain_encoder

            config = parse_section("pretrain", PretrainConfig, set_ or [])
            lines.finish()
            lines.start(f"pretrain {kind.value}")
            result = pretrain_encoder(data, config, workdir, workers, _tell)
            PROGRESS.info(
                f"validation loss {result.figures['validation_loss']:.3f} at step {result.best_step:,} "
                f"of {result.last_step:,}"
            )
            lines.finish()
            _show_pretraining(console, result)

    @app.command()
    def embed(
        kind: KindName,
        model: Annotated[Path, typer.Option("--model", help="Directory encoder/ of a pre-training.")],
        data: SmilesFile,
        to: Annotated[Path, typer.Option("--to", help="Parquet file that receives row, smiles and vector.")],
        workers: Workers = 1,
    ) -> None:
        """Writes one vector per molecule; SMILES that give none go to a file of their own beside it.

        [dim]recsys-ssl embed molecule --model build/molecules/encoder --data new.smi --to build/vectors.parquet[/dim]
        """
        with session(to.parent, "embed") as (console, lines):
            lines.start("Load TensorFlow")
            from recsys_ssl.encoders.molecule.embed import MoleculeEncoder

            lines.finish()
            lines.start(f"embed {kind.value}")
            # No variable of this frame: an import in it that failed inside a library keeps it until the process ends.
            num_embedded, num_rejected = _write_vectors(MoleculeEncoder.load(model), data, to, workers)
            PROGRESS.info(f"{num_embedded:,} vectors, {num_rejected:,} rejected")
            lines.finish()
            console.print(f"{'vectors':<24} {to}", highlight=False, soft_wrap=True)
            if num_rejected:
                console.print(f"{'rejected':<24} {_rejected_path(to)}", highlight=False, soft_wrap=True)


def _tell(phase: str, done: int, most: int, figures: dict[str, float]) -> None:
    if phase != "train":
        PROGRESS.info(f"{'count contexts' if phase == 'count' else 'write shards'}: {done:,}/{most:,} SMILES")
        return
    minutes, seconds = divmod(round(figures["seconds_left"]), 60)
    PROGRESS.info(
        f"step {done:,}/{most:,}  loss {figures['loss']:.3f}  validation {figures['validation_loss']:.3f}, "
        f"atoms {figures['validation_atom_top1']:.3f}, bonds {figures['validation_bond_top1']:.3f}  "
        f"{figures['molecules_per_second']:,.0f} molecules/s, {minutes}:{seconds:02d} left"
    )


def _show_pretraining(console: Console, result) -> None:
    data, figures = result.data, result.figures
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in data.rejected.items()) or "none"
    table = Table(title="validation", title_justify="left")
    for column in ("predicted", "top-1", "majority", "not in vocabulary"):
        table.add_column(column, justify="left" if column == "predicted" else "right")
    for name in ("atom", "bond"):
        rates = (figures[f"validation_{name}_{what}"] for what in ("top1", "majority", "other"))
        table.add_row(f"{name} contexts", *(f"{rate:.4f}" for rate in rates))
    console.print()
    console.print(f"{data.num_train:,} molecules to train on, {data.num_validation:,} to validate on", highlight=False)
    console.print(f"rejected SMILES: {escape(rejected)}", highlight=False)
    console.print(table)
    console.print(f"F1 of motifs: {figures['validation_motif_f1']:.4f}", highlight=False)
    console.print(f"{'encoder':<24} {result.encoder_dir}", highlight=False, soft_wrap=True)


def _rejected_path(to: Path) -> Path:
    return to.with_name(f"{to.name}.rejected.jsonl")


def _write_vectors(encoder, data: Path, to: Path, workers: int) -> tuple[int, int]:
    """The numbers of molecules that a `MoleculeEncoder` embedded and rejected; no file is left half-written."""
    import itertools

    import pyarrow as pa
    import pyarrow.parquet as pq

    from recsys_ssl import artifacts, lists
    from recsys_ssl.encoders.molecule.files import read_smiles
    from recsys_ssl.encoders.molecule.smiles import Rejection

    vector_type = pa.list_(pa.float32(), encoder.dim)
    schema = pa.schema([("row", pa.int64()), ("smiles", pa.string()), ("vector", vector_type)])
    num_embedded, next_row = 0, 0
    rejected: list[Rejection] = []
    texts, smiles = itertools.tee(read_smiles(data))
    with artifacts.whole_file(to) as unfinished:
        with pq.ParquetWriter(unfinished, schema) as writer:
            for batch in encoder.embed_stream(smiles, rejected, workers):
                rows = batch.rows.tolist()
                # Texts before the batch's first and between its rows are those of rejected SMILES.
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
