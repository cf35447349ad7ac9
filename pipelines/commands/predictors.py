"""The commands `finetune` and `predict`: measured properties, learned on a pre-trained encoder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console

from pipelines.commands.encoders import KindName, Workers
from pipelines.commands.session import Settings, WorkDir, require_file, session
from pipelines.console import make_console, plain, show_table
from pipelines.progress import PROGRESS
from recsys_ssl import artifacts
from recsys_ssl.artifacts import REJECTED_FILE

if TYPE_CHECKING:
    from recsys_ssl.evaluation.prediction import Task

# Columns of the tables that are written, besides those of the targets.
_ROW, _PART, _TEXT = "row", "part", "text"


class TaskName(str, Enum):
    """What a target is."""

    classification = "classification"
    regression = "regression"


def finetune(
    kind: KindName,
    model: Annotated[Path, typer.Option("--model", help="Directory encoder/ of a pre-training.")],
    data: Annotated[Path, typer.Option("--data", help="CSV file of records, plain or .gz.")],
    column: Annotated[str, typer.Option("--column", help="Column of the raw content, e.g. of the SMILES.")],
    target: Annotated[list[str], typer.Option("--target", help="Column to predict; may be repeated.")],
    workdir: WorkDir,
    task: Annotated[
        Optional[TaskName], typer.Option("--task", help="By default a classification if all targets are 0 or 1.")
    ] = None,
    split: Annotated[
        Optional[str],
        typer.Option(
            "--split",
            help="80/10/10; of molecules by scaffold: balanced, deterministic; or random. finetune.seed decides the "
            "first and the last.",
        ),
    ] = None,
    set_: Settings = None,
    workers: Workers = 1,
) -> None:
    """Learns measured properties on a pre-trained encoder; empty targets are unknown. A killed run goes on.

    [dim]recsys-ssl finetune molecule --model build/molecules/encoder --data esol.csv --column smiles
    --target logSolubility --workdir build/esol[/dim]
    """
    with session(workdir, "finetune", is_alone=True) as (_, lines):
        _check_targets(target)
        lines.start("Load TensorFlow")
        from recsys_ssl import kinds
        from recsys_ssl.encoders import store
        from recsys_ssl.settings import parse_section

        module = kinds.load(kind.value, "predict")
        config = parse_section("finetune", kinds.load(kind.value, "settings").FinetuneConfig, set_ or [])
        chosen_split = choose_split(module, split)
        encoder = store.load(model, kind.value)
        lines.finish()
        lines.start("Read records")
        table = module.read_table(data, column, target, workers, encoder)
        PROGRESS.info(f"{len(table.contents):,} records, {len(table.rejections):,} rejected")
        lines.finish()
        lines.start(f"finetune {kind.value}")
        chosen_task = task.value if task else guess_task(table.targets)
        parts = module.SPLITS[chosen_split](table.texts, config.seed)
        facts = _finetune(kind.value, encoder, table, column, chosen_task, parts, config, workdir)
        facts["split"] = chosen_split
        artifacts.write_text(workdir / "metrics.json", artifacts.to_json(facts))
        lines.finish()
    _show(make_console(), workdir)


def predict(
    kind: KindName,
    model: Annotated[Path, typer.Option("--model", help="Directory predictor/ of a fine-tuning.")],
    data: Annotated[Path, typer.Option("--data", help="CSV file of records, plain or .gz.")],
    to: Annotated[Path, typer.Option("--to", help="CSV file that receives row, text and the predictions.")],
    column: Annotated[
        Optional[str], typer.Option("--column", help="Column of the raw content; by default that of the fine-tuning.")
    ] = None,
    workers: Workers = 1,
) -> None:
    """Predicts what `finetune` learned, of new records; what gives none goes to a file of its own beside it.

    [dim]recsys-ssl predict molecule --model build/esol/predictor --data new.csv --to build/solubility.csv[/dim]
    """
    with session(to.parent, "predict") as (console, lines):
        require_file(to, data)
        lines.start("Load TensorFlow")
        from recsys_ssl import kinds
        from recsys_ssl.encoders import finetune as training

        stored = training.load_predictor(model, kind.value)
        lines.finish()
        lines.start("Read records")
        reader = kinds.load(kind.value, "predict")
        table = reader.read_table(data, column or stored.column, [], workers, stored.model.encoder)
        lines.finish()
        lines.start(f"predict {kind.value}")
        predictions = training.predict(kind.value, stored.model, table.contents)
        columns = {_ROW: table.rows, _TEXT: table.texts}
        columns |= {name: predictions[:, i] for i, name in enumerate(stored.targets)}
        _write_csv(columns, to)
        rejected = to.with_name(f"{to.name}.rejected.jsonl")
        _write_rejections(table.rejections, rejected)
        PROGRESS.info(f"{len(table.contents):,} predicted, {len(table.rejections):,} rejected")
        lines.finish()
        console.print(f"{'predictions':<24} {plain(str(to))}", highlight=False, soft_wrap=True)
        if table.rejections:
            console.print(f"{'rejected':<24} {plain(str(rejected))}", highlight=False, soft_wrap=True)


def _check_targets(targets: list[str]) -> None:
    """Raises ValueError when two columns of predictions.csv would have one name."""
    names = [target.strip() for target in targets]
    columns = Counter([_ROW, _PART, _TEXT, *names, *map(_name_predicted, names)])
    twice = [name for name, count in columns.items() if count > 1]
    if twice:
        raise ValueError(
            f"each --target must be given once, and be none of {_ROW}, {_PART}, {_TEXT} and 'X (predicted)' beside X: "
            f"predictions.csv has columns of these names. Received: {', '.join(map(repr, twice))}. Rename the column "
            "in the data, or leave it out."
        )


def _name_predicted(target: str) -> str:
    return f"{target} (predicted)"


def choose_split(module, split: Optional[str]) -> str:
    """The split that is asked for, else the kind's first; raises ValueError where the kind has none of that name."""
    if split is not None and split not in module.SPLITS:
        raise ValueError(f"--split must be one of {', '.join(module.SPLITS)}. Received: {split!r}.")
    return split or next(iter(module.SPLITS))


def guess_task(targets) -> Task:
    import numpy as np

    return "classification" if np.isin(targets[~np.isnan(targets)], (0.0, 1.0)).all() else "regression"


def _finetune(kind: str, encoder, table, column: str, task: Task, parts, config, workdir: Path) -> dict[str, Any]:
    """Trains, writes predictor/, predictions.csv and rejected.jsonl, and returns the facts of the run."""
    from recsys_ssl.encoders import finetune as training
    from recsys_ssl.evaluation.prediction import METRICS

    metric, checkpoints = METRICS[task], workdir / "checkpoints"
    tell = _teller(metric, -(-len(parts.train) // config.batch_size))
    found = training.finetune(kind, encoder, table.contents, table.targets, parts, task, config, checkpoints, tell)
    training.save_predictor(found.model, kind, config, table.names, column, str(workdir / "predictor"))
    _write_predictions(table, parts, found.predictions, workdir / "predictions.csv")
    _write_rejections(table.rejections, workdir / REJECTED_FILE)
    PROGRESS.info(f"validation {metric} {found.metrics['validation']:.4f} in epoch {found.best_epoch}")
    return {
        "task": task,
        "metric": metric,
        "metrics": found.metrics,
        "records": {part: len(rows) for part, rows in parts._asdict().items()},
        "rejected": len(table.rejections),
        "best_epoch": found.best_epoch,
        "last_epoch": found.last_epoch,
    }


def _teller(metric: str, steps_per_epoch: int) -> Callable[[int, int, dict[str, float]], None]:
    def tell(step: int, steps: int, figures: dict[str, float]) -> None:
        PROGRESS.info(
            f"epoch {step // steps_per_epoch}/{steps // steps_per_epoch}  loss {figures['loss']:.3f}  validation "
            f"{metric} {figures[f'validation_{metric}']:.4f}  {figures['examples_per_second']:,.0f} records/s"
        )

    return tell


def _write_predictions(table, parts, predictions, path: Path) -> None:
    import numpy as np

    part_of = np.empty(len(table.rows), object)
    for part, rows in parts._asdict().items():
        part_of[rows] = part
    columns = {_ROW: table.rows, _PART: part_of, _TEXT: table.texts}
    columns |= {name: table.targets[:, i] for i, name in enumerate(table.names)}
    columns |= {_name_predicted(name): predictions[:, i] for i, name in enumerate(table.names)}
    _write_csv(columns, path)


def _write_csv(columns: dict[str, Any], path: Path) -> None:
    import pandas as pd

    artifacts.write_text(path, pd.DataFrame(columns).to_csv(index=False))


def _write_rejections(rejections, path: Path) -> None:
    lines = [json.dumps(rejection._asdict()) + "\n" for rejection in rejections]
    artifacts.write_text(path, "".join(lines))


def _show(console: Console, workdir: Path) -> None:
    facts = json.loads((workdir / "metrics.json").read_text(encoding="utf-8"))
    rows = [(part, f"{facts['records'][part]:,}", f"{value:.4f}") for part, value in facts["metrics"].items()]
    console.print()
    title, columns = f"{facts['task']}, {facts['split']} split", ("part", "records", facts["metric"])
    show_table(console, title, columns, rows, texts=("part",))
    names = ["predictor", "predictions.csv", "metrics.json", *([REJECTED_FILE] if facts["rejected"] else [])]
    for name in names:
        console.print(f"{name:<24} {plain(str(workdir / name))}", highlight=False, soft_wrap=True)
