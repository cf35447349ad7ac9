"""What a run found: its report, and recommendations of its model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console

from pipelines.commands.session import SpecPath, WorkDir, readable, session
from pipelines.console import make_console, plain, show_table
from pipelines.stages.push import list_versions
from recsys_ssl.artifacts import REPORT_FILE
from recsys_ssl.spec_files import load_spec

if TYPE_CHECKING:  # its module loads TensorFlow
    from recsys_ssl.serving.queries import Recommended


def report(workdir: WorkDir) -> None:
    """Shows the report of a finished run and writes its page anew.

    [dim]recsys-ssl report --workdir build/demo[/dim]
    """
    from recsys_ssl.evaluation.report import write_report

    with readable():
        write_report(_read_report(workdir), workdir / "report")
    show_report(make_console(), workdir)


def recommend(
    spec: SpecPath,
    workdir: WorkDir,
    query: Annotated[
        Optional[str],
        typer.Option("--query", help="Id of any query; one that has a past by default."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
) -> None:
    """Recommends items to a query, by its id alone; also to one that the log does not have.

    [dim]recsys-ssl recommend feature_specs/movielens-100k.yaml --workdir build/demo --query 13[/dim]
    """
    with session(workdir, "recommend") as (console, _):
        feature_spec = load_spec(spec)
        from pipelines.manifests import check_places
        from recsys_ssl.serving.queries import Places, recommend_to_query

        places = Places.read(str(workdir))
        check_places(feature_spec, places.recommender_dir, places.interactions_dir, places.catalogue_dir)
        recommended = recommend_to_query(feature_spec, places, query, k)
        show_recommended(console, recommended)
        if k > recommended.num_items:
            console.print(f"the catalogue has {recommended.num_items:,} items, fewer than -k {k:,}", highlight=False)


def _read_report(workdir: Path) -> dict:
    path = workdir / "report" / REPORT_FILE
    if not path.exists():
        raise FileNotFoundError(f"no {path}. Finish `recsys-ssl run` or `recsys-ssl evaluate` first.")
    return json.loads(path.read_text(encoding="utf-8"))


def show_report(console: Console, workdir: Path) -> None:
    result = _read_report(workdir)
    floor = {row["metric"]: row["popularity"] for row in result["floor"]}
    own_floor = {row["metric"]: row["own_counts"] for row in result.get("own_floor", [])}  # earlier versions had none
    own_columns = ("own counts",) if own_floor else ()
    columns = ("metric", "popular", *own_columns, "control", "treatment", "difference", "95% interval", "p, Holm")
    rows = [
        (
            row["label"],
            _number(floor.get(row["metric"])),
            *(_number(own_floor.get(row["metric"])) for _ in own_columns),
            _number(row["control"]),
            _number(row["treatment"]),
            _number(row["difference"], "+.4f"),
            "–" if row["interval"] is None else "{:+.4f} {:+.4f}".format(*row["interval"]),
            _number(row["adjusted_p"], ".3f"),
        )
        for row in result["metrics"]
    ]
    console.print()
    seeds = result.get("config", {}).get("seeds", 1)  # reports of earlier versions have none
    title = "control vs treatment, 95% intervals over queries" + (f" and {seeds} seeds" if seeds > 1 else "")
    show_table(console, title, columns, rows, texts=("metric",), compact=True)
    for refusal in dict.fromkeys(row.get("no_interval") for row in result["metrics"]):
        if refusal:
            console.print(plain(f"– no interval: {refusal}"), highlight=False)
    verdict = result["verdict"]
    console.print(f"[bold]{verdict['word']}[/bold]: {plain(' '.join(verdict['reasons']))}", highlight=False)
    show_cautions(console, result.get("cautions", []))  # reports of earlier versions have none
    console.print()
    models = "recommender", "recommender-inverted-lists", "recommender-brute-force", "recommender-control"
    for name in ("report/report.html", "report/report.json", "index", *models):
        if (workdir / name).exists():
            console.print(f"{name.split('/')[-1]:<26} {plain(str(workdir / name))}", highlight=False, soft_wrap=True)
    if (workdir / "tfx").exists():
        pushed = [path / str(version) for path in (workdir / "pushed").glob("*") for version in list_versions(path)]
        newest = max(pushed, key=lambda path: int(path.name), default="none: not blessed")
        console.print(f"{'pushed model':<26} {plain(str(newest))}", highlight=False, soft_wrap=True)


def show_cautions(console: Console, cautions: Sequence[str]) -> None:
    for caution in cautions:
        console.print(f"[yellow]caution:[/yellow] {plain(caution)}", highlight=False)


def show_recommended(console: Console, recommended: Recommended) -> None:
    console.print()
    query_id, chosen = plain(recommended.query_id), recommended.chosen_titles[-5:]
    if not recommended.is_known:
        console.print(f"query {query_id} is not in the log: what is shown is for a query that chose nothing yet")
    else:
        console.print(f"query {query_id} chose before: {plain('; '.join(chosen)) or 'nothing'}", highlight=False)
    if not recommended.item_ids:
        console.print("no recommendation: it has chosen every item of the catalogue, and the spec leaves those out")
        return
    numbers = [f"{score:.3f}" for score in recommended.scores]
    rows = list(zip(numbers, recommended.item_ids, recommended.titles, strict=True))
    title, columns = f"{len(rows)} recommendations", ("score", "item", "title")
    show_table(console, title, columns, rows, texts=("item", "title"))


def _number(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else format(value, form)
