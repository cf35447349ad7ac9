"""The command `recsys-ssl`: the whole pipeline, or its stages one by one."""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.commands import encoders as molecule_commands
from pipelines.commands import finetune as finetune_command
from pipelines.console import StageLines, quiet
from recsys_ssl.artifacts import CORRELATIONS_FILE, REPORT_FILE
from recsys_ssl.spec import SpecError, json_schema, load_spec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Feedback logs in; self-supervised two-tower retrieval, ScaNN index and A/B report out.",
)

SpecPath = Annotated[Path, typer.Argument(help="Feature spec, a YAML file.", show_default=False)]
DataDir = Annotated[Path, typer.Option("--data", help="Directory where the paths of the spec begin.")]
WorkDir = Annotated[Path, typer.Option("--workdir", help="Receives everything that the run makes.")]
Settings = Annotated[
    Optional[list[str]], typer.Option("--set", help="A setting, e.g. train.steps=2000; may be repeated.")
]
BeamArgs = Annotated[
    Optional[list[str]],
    typer.Option("--beam", help="An option of the Beam runner, e.g. --beam=--direct_num_workers=2; may be repeated."),
]
ArmName = Annotated[str, typer.Option("--arm", help="control or treatment.")]


def main() -> None:
    app()


# --- The whole pipeline --------------------------------------------------------------------------------


@app.command()
def run(spec: SpecPath, data: DataDir, workdir: WorkDir, set_: Settings = None, beam: BeamArgs = None) -> None:
    """Runs the whole TFX pipeline and shows the result.

    [dim]recsys-ssl run feature_specs/movielens-100k.yaml --data build/data/movielens-100k --workdir build/demo[/dim]
    """
    with _session(workdir, "run") as (console, lines):
        feature_spec = load_spec(spec)
        _require_dir(data)
        lines.start("Load TFX")
        from pipelines.config import parse_overrides
        from pipelines.runner import run_pipeline
        from recsys_ssl.serving.queries import Places, recommend_to_query

        config = parse_overrides(set_ or [])
        lines.finish()
        run_pipeline(feature_spec, str(data), str(workdir), config, beam or [], lines)
        _show_report(console, workdir)
        _show_recommended(console, recommend_to_query(feature_spec, Places.read(str(workdir)), None, 10))


# --- Before the pipeline -------------------------------------------------------------------------------


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="A data set, e.g. movielens-100k or debian.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="Directory that receives the files.")],
    source: Annotated[Optional[Path], typer.Option("--source", help="Directory of your own copy.")] = None,
) -> None:
    """Gets one of the data sets that specs are shipped for.

    [dim]recsys-ssl data movielens-100k --to build/data/movielens-100k[/dim]
    """
    from recsys_ssl.datasets.sources import DatasetError, fetch

    try:
        typer.echo(f"{name}: {fetch(name, to, source)}")
    except (DatasetError, OSError) as error:
        _fail(str(error))


@app.command("validate-spec")
def validate_spec(
    spec: SpecPath,
    data: Annotated[Optional[Path], typer.Option("--data", help="Also look for the files there.")] = None,
) -> None:
    """Checks a feature spec and says what it means.

    [dim]recsys-ssl validate-spec feature_specs/movielens-100k.yaml[/dim]
    """
    try:
        feature_spec = load_spec(spec)
    except SpecError as error:
        _fail(str(error))
    table = Table(title=f"{feature_spec.name}: valid", title_justify="left")
    for column in ("side", "feature", "kind", "column"):
        table.add_column(column)
    for side, features in (("query", feature_spec.query_features), ("item", feature_spec.item_features)):
        for feature in features:
            table.add_row(side, feature.name, feature.kind, escape(getattr(feature, "source_column", "")))
    console = Console()
    console.print(table)
    if data is not None:
        missing = []
        for files in (feature_spec.events, feature_spec.items.table, feature_spec.queries.table):
            for pattern in files.paths if files else []:
                found = sorted(os.path.basename(path) for path in glob.glob(os.path.join(data, pattern)))
                missing += [] if found else [pattern]
                console.print(f"{pattern}: {', '.join(found)}" if found else f"{pattern}: none", markup=False)
        if missing:
            _fail(f"no file matches {', '.join(missing)} in {data}. Check the paths and the data directory.")


@app.command("spec-schema")
def spec_schema() -> None:
    """Prints the JSON Schema of specs, for editors.

    [dim]recsys-ssl spec-schema > feature_specs/schema.json[/dim]
    """
    typer.echo(json_schema(), nl=False)


# --- The stages one by one -----------------------------------------------------------------------------


@app.command()
def ingest(spec: SpecPath, data: DataDir, workdir: WorkDir, set_: Settings = None, beam: BeamArgs = None) -> None:
    """Logs and tables -> interactions, catalogue, rejected records.

    [dim]recsys-ssl ingest SPEC --data DIR --workdir build/steps[/dim]
    """
    with _stage(workdir, "ingest") as at:
        feature_spec = load_spec(spec)
        _require_dir(data)
        from pipelines import stages
        from pipelines.config import parse_overrides

        config = parse_overrides(set_ or []).ingest
        stages.ingest_logs(
            feature_spec, str(data), at("interactions"), at("catalogue"), at("rejected"), config, beam or []
        )


@app.command()
def transform(spec: SpecPath, workdir: WorkDir, beam: BeamArgs = None) -> None:
    """Raw features -> integer codes.

    [dim]recsys-ssl transform SPEC --workdir build/steps[/dim]
    """
    with _stage(workdir, "transform") as at:
        feature_spec = load_spec(spec)
        from pipelines import stages

        stages.transform_features(
            feature_spec,
            at("interactions"),
            at("catalogue"),
            at("query-transform"),
            at("item-transform"),
            at("encoded-interactions"),
            at("encoded-catalogue"),
            beam or [],
        )


@app.command()
def correlate(spec: SpecPath, workdir: WorkDir, beam: BeamArgs = None) -> None:
    """Mutual information between item features, with a heat map.

    [dim]recsys-ssl correlate SPEC --workdir build/steps[/dim]
    """
    with _stage(workdir, "correlate") as at:
        feature_spec = load_spec(spec)
        from pipelines import stages

        stages.correlate_features(feature_spec, at("encoded-catalogue"), at("correlations"), beam or [])


@app.command()
def train(spec: SpecPath, workdir: WorkDir, arm: ArmName = "treatment", set_: Settings = None) -> None:
    """Trains one arm; a killed run goes on at its last checkpoint.

    [dim]recsys-ssl train SPEC --workdir build/steps --set train.regularizer=cfm --set train.steps=500[/dim]
    """
    with _stage(workdir, f"train {arm}") as at:
        feature_spec = load_spec(spec)
        from pipelines import stages
        from pipelines.config import MODEL_SOURCES, parse_overrides, source_hash
        from recsys_ssl.training.train import TrainInputs

        inputs = TrainInputs(
            at("encoded-interactions"),
            at("encoded-catalogue"),
            at("query-transform"),
            at("item-transform"),
            at("correlations", CORRELATIONS_FILE),
        )
        config = parse_overrides(set_ or [])
        checkpoint_dir = at("checkpoints", source_hash(*MODEL_SOURCES))
        train_config = {"control": config.control, "treatment": config.train}[_check_arm(arm)]
        stages.train_arm(feature_spec, train_config, inputs, at(arm, "towers"), checkpoint_dir, at(arm, "run"))


@app.command()
def index(spec: SpecPath, workdir: WorkDir, arm: ArmName = "treatment", set_: Settings = None, beam: BeamArgs = None):
    """Embeds the catalogue and the test queries, builds the ScaNN index and the servable models.

    [dim]recsys-ssl index SPEC --workdir build/steps --arm treatment[/dim]
    """
    with _stage(workdir, f"index {arm}") as at:
        _check_arm(arm)
        feature_spec = load_spec(spec)
        from pipelines import stages
        from pipelines.config import parse_overrides
        from recsys_ssl.serving.queries import Places

        towers, items, queries = at(arm, "towers"), at(arm, "items"), at(arm, "queries")
        stages.embed_arm(feature_spec, towers, at("interactions"), at("catalogue"), items, queries, beam or [])
        config = parse_overrides(set_ or []).index
        models = at(arm, "recommender"), at(arm, "recommender-brute-force")
        stages.index_arm(towers, items, queries, at(arm, "index"), *models, config)
        if arm == "treatment":
            Places(at("interactions"), at("catalogue"), models[0]).write(str(workdir))


@app.command()
def evaluate(spec: SpecPath, workdir: WorkDir, set_: Settings = None) -> None:
    """Compares both arms on the same held-out queries and writes the report.

    [dim]recsys-ssl evaluate SPEC --workdir build/steps[/dim]
    """
    with _stage(workdir, "evaluate") as at:
        feature_spec = load_spec(spec)
        from pipelines import stages
        from pipelines.config import parse_overrides

        config = parse_overrides(set_ or [])
        stages.evaluate_run(
            feature_spec,
            stages.ArmDirs(at("control", "items"), at("control", "queries")),
            stages.ArmDirs(at("treatment", "items"), at("treatment", "queries"), at("treatment", "index")),
            config.control,
            config.train,
            at("interactions"),
            at("catalogue"),
            at("report"),
            config.evaluation,
        )
    _show_report(Console(), workdir)


# --- Results -------------------------------------------------------------------------------------------


@app.command()
def report(workdir: WorkDir) -> None:
    """Shows the report of a finished run and writes its page anew.

    [dim]recsys-ssl report --workdir build/demo[/dim]
    """
    from recsys_ssl.evaluation.report import write_report

    with _readable():
        write_report(_read_report(workdir), workdir / "report")
    _show_report(Console(), workdir)


@app.command()
def recommend(
    spec: SpecPath,
    workdir: WorkDir,
    query: Annotated[Optional[str], typer.Option("--query", help="Id of a query of the test split.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
) -> None:
    """Recommends items to a query of the log.

    [dim]recsys-ssl recommend feature_specs/movielens-100k.yaml --workdir build/demo --query 13[/dim]
    """
    with _session(workdir, "recommend") as (console, _):
        feature_spec = load_spec(spec)
        from recsys_ssl.serving.queries import Places, recommend_to_query

        _show_recommended(console, recommend_to_query(feature_spec, Places.read(str(workdir)), query, k))


# --- Helpers -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _session(workdir: Path, name: str) -> Iterator[tuple[Console, StageLines]]:
    """A quiet terminal; every failure becomes one message and exit status 1, its trace goes to the log."""
    log_path = workdir / "logs" / f"{name.split()[0]}.log"
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _fail(f"--workdir must be a directory that can be written to. Received: {str(workdir)!r}: {error.strerror}.")
    message = None
    with quiet(log_path) as (console, lines):
        try:
            yield console, lines
        except (Exception, KeyboardInterrupt) as error:
            logging.getLogger("recsys_ssl").exception("failed")
            message = _explain(error, log_path)
    if message is not None:
        _fail(message)


@contextlib.contextmanager
def _stage(workdir: Path, name: str) -> Iterator:
    """A session with one line; yields the function that names places in the working directory."""
    with _session(workdir, name) as (_, lines):
        lines.start(name)
        yield lambda *parts: os.path.join(str(workdir), *parts)
        lines.finish()


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        _fail(str(error))


def _explain(error: BaseException, log_path: Path) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted. Run the same command again to go on."
    # Messages of this project say what to do; those of a library need the log.
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    ours = isinstance(error, (FileNotFoundError, ValueError)) and _is_ours(frame.f_code.co_filename)
    return str(error) if ours else f"{type(error).__name__}: {error}\nThe whole story is in {log_path}."


def _is_ours(source: str) -> bool:
    """Whether a source file belongs to `pipelines` or `recsys_ssl`."""
    root = Path(__file__).resolve().parent.parent
    return any(Path(source).resolve().is_relative_to(root / package) for package in ("pipelines", "recsys_ssl"))


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[red]error:[/red] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _require_dir(path: Path) -> None:
    if not path.is_dir():
        raise FileNotFoundError(f"--data must be a directory. Received: {str(path)!r}. Check the path.")


def _check_arm(arm: str) -> str:
    if arm not in ("control", "treatment"):
        raise ValueError(f"--arm must be control or treatment. Received: {arm!r}.")
    return arm


def _read_report(workdir: Path) -> dict:
    path = workdir / "report" / REPORT_FILE
    if not path.exists():
        raise FileNotFoundError(f"no {path}. Finish `recsys-ssl run` or `recsys-ssl evaluate` first.")
    return json.loads(path.read_text(encoding="utf-8"))


def _show_report(console: Console, workdir: Path) -> None:
    result = _read_report(workdir)
    table = Table(title="control vs treatment, 95% intervals over queries", title_justify="left", padding=(0, 0, 0, 1))
    for column in ("metric", "popular", "control", "treatment", "difference", "95% interval", "p, Holm"):
        table.add_column(column, justify="left" if column == "metric" else "right", no_wrap=True)
    floor = {row["metric"]: row["popularity"] for row in result["floor"]}
    for row in result["metrics"]:
        table.add_row(
            row["label"],
            _number(floor.get(row["metric"])),
            _number(row["control"]),
            _number(row["treatment"]),
            _number(row["difference"], "+.4f"),
            "–" if row["interval"] is None else "{:+.4f} {:+.4f}".format(*row["interval"]),
            _number(row["adjusted_p"], ".3f"),
        )
    console.print()
    console.print(table)
    verdict = result["verdict"]
    console.print(f"[bold]{verdict['word']}[/bold]: {escape(' '.join(verdict['reasons']))}")
    console.print()
    for name in ("report/report.html", "report/report.json", "index", "recommender", "recommender-brute-force"):
        if (workdir / name).exists():
            console.print(f"{name.split('/')[-1]:<24} {workdir / name}", highlight=False, soft_wrap=True)
    if (workdir / "tfx").exists():
        pushed = sorted((workdir / "pushed").glob("*/*"))
        newest = pushed[-1] if pushed else "none: not blessed"
        console.print(f"{'pushed model':<24} {newest}", highlight=False, soft_wrap=True)


def _show_recommended(console: Console, recommended) -> None:
    console.print()
    chosen = "; ".join(recommended.chosen_titles[-5:]) or "nothing"
    console.print(f"query {recommended.query_id} chose before: {chosen}", markup=False)
    table = Table(title=f"{len(recommended.item_ids)} recommendations", title_justify="left")
    for column in ("score", "item", "title"):
        table.add_column(column)
    for score, item_id, title in zip(recommended.scores, recommended.item_ids, recommended.titles, strict=True):
        table.add_row(f"{score:.3f}", escape(item_id), escape(title))
    console.print(table)


def _number(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else format(value, form)


molecule_commands.register(app, _session)
finetune_command.register(app, _session)

if __name__ == "__main__":
    main()
