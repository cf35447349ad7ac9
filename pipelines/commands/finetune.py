"""The command `recsys-ssl finetune`: properties of molecules, learned on a pre-trained encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from pipelines.commands.encoders import KindName, Session, Workers
from pipelines.console import PROGRESS
from recsys_ssl import artifacts
from recsys_ssl.artifacts import REJECTED_FILE


class TaskName(str, Enum):
    """What a target is."""

    classification = "classification"
    regression = "regression"


class SplitName(str, Enum):
    """How molecules are split by scaffold."""

    balanced = "balanced"
    deterministic = "deterministic"


def register(app: typer.Typer, session: Session) -> None:
    """Adds the command to the application."""

    @app.command()
    def finetune(
        kind: KindName,
        model: Annotated[Path, typer.Option("--model", help="Directory encoder/ of a pre-training.")],
        data: Annotated[Path, typer.Option("--data", help="CSV file of molecules, plain or .gz.")],
        smiles: Annotated[str, typer.Option("--smiles", help="Column of the SMILES.")],
        target: Annotated[list[str], typer.Option("--target", help="Column to predict; may be repeated.")],
        workdir: Annotated[Path, typer.Option("--workdir", help="Receives predictor, predictions and metrics.")],
        task: Annotated[
            Optional[TaskName], typer.Option("--task", help="By default a classification if all targets are 0 or 1.")
        ] = None,
        split: Annotated[
            SplitName, typer.Option("--split", help="80/10/10 by scaffold; balanced is drawn by finetune.seed.")
        ] = SplitName.balanced,
        set_: Annotated[
            Optional[list[str]], typer.Option("--set", help="A setting, e.g. finetune.epochs=30; may be repeated.")
        ] = None,
        workers: Workers = 1,
    ) -> None:
        """Learns measured properties of molecules on a pre-trained encoder; empty targets are unknown.

        [dim]recsys-ssl finetune molecule --model build/molecules/encoder --data esol.csv --smiles smiles
        --target logSolubility --workdir build/esol[/dim]
        """
        with session(workdir, "finetune") as (console, lines):
            lines.start("Load TensorFlow")
            from pipelines.settings import parse_section
            from recsys_ssl.encoders.finetune import FinetuneConfig
            from recsys_ssl.encoders.molecule.embed import load_encoder
            from recsys_ssl.encoders.molecule.properties import read_properties

            config = parse_section("finetune", FinetuneConfig, set_ or [])
            encoder = load_encoder(model)
            lines.finish()
            lines.start("Read molecules")
            table = read_properties(data, smiles, target, workers)
            PROGRESS.info(f"{len(table.graphs):,} molecules, {len(table.rejections):,} rejected")
            lines.finish()
            lines.start(f"finetune {kind.value}")
            chosen = task.value if task else _guess_task(table.targets)
            _finetune(console, encoder, table, chosen, split, config, workdir)
            lines.finish()
        _show(Console(), workdir)


def _guess_task(targets) -> str:
    import numpy as np

    return "classification" if np.isin(targets[~np.isnan(targets)], (0.0, 1.0)).all() else "regression"


def _finetune(console: Console, encoder, table, task: str, split: SplitName, config, workdir: Path) -> None:
    """Trains, and writes predictor/, predictions.csv, metrics.json and rejected.jsonl."""
    from recsys_ssl.encoders import finetune as training
    from recsys_ssl.encoders.molecule.scaffolds import scaffold_balanced, scaffold_deterministic
    from recsys_ssl.evaluation.prediction import METRICS

    if split is SplitName.balanced:
        parts = scaffold_balanced(table.smiles, seed=config.seed)
    else:
        parts = scaffold_deterministic(table.smiles)
    metric = METRICS[task]
    found = training.finetune(encoder, table.graphs, table.targets, parts, task, config, _teller(metric))
    training.save_predictor(found.model, config.heads, table.names, str(workdir / "predictor"))
    _write_predictions(table, parts, found.predictions, workdir / "predictions.csv")
    lines = [json.dumps(rejection._asdict()) + "\n" for rejection in table.rejections]
    artifacts.write_text(workdir / REJECTED_FILE, "".join(lines))
    facts = {
        "task": task,
        "metric": metric,
        "split": split.value,
        "metrics": found.metrics,
        "molecules": {part: len(rows) for part, rows in parts._asdict().items()},
        "rejected": len(table.rejections),
        "best_epoch": found.best_epoch,
        "last_epoch": found.last_epoch,
    }
    artifacts.write_text(workdir / "metrics.json", artifacts.to_json(facts))
    PROGRESS.info(f"validation {metric} {found.metrics['validation']:.4f} in epoch {found.best_epoch}")


def _teller(metric: str) -> Callable[[int, int, dict[str, float]], None]:
    def tell(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        PROGRESS.info(
            f"epoch {epoch}/{epochs}  loss {figures['loss']:.3f}  validation {metric} "
            f"{figures[f'validation_{metric}']:.4f}  {figures['molecules_per_second']:,.0f} molecules/s"
        )

    return tell


def _write_predictions(table, parts, predictions, path: Path) -> None:
    import numpy as np
    import pandas as pd

    part_of = np.empty(len(table.rows), object)
    for part, rows in parts._asdict().items():
        part_of[rows] = part
    columns = {"row": table.rows, "part": part_of, "smiles": table.smiles}
    columns |= {name: table.targets[:, i] for i, name in enumerate(table.names)}
    columns |= {f"{name} (predicted)": predictions[:, i] for i, name in enumerate(table.names)}
    artifacts.write_text(path, pd.DataFrame(columns).to_csv(index=False))


def _show(console: Console, workdir: Path) -> None:
    facts = json.loads((workdir / "metrics.json").read_text(encoding="utf-8"))
    table = Table(title=f"{facts['task']}, {facts['split']} scaffold split", title_justify="left")
    for column in ("part", "molecules", facts["metric"]):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, value in facts["metrics"].items():
        table.add_row(part, f"{facts['molecules'][part]:,}", f"{value:.4f}")
    console.print()
    console.print(table)
    names = ["predictor", "predictions.csv", "metrics.json", *([REJECTED_FILE] if facts["rejected"] else [])]
    for name in names:
        console.print(f"{name:<24} {workdir / name}", highlight=False, soft_wrap=True)
