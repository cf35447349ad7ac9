"""What a run found: its report, and recommendations of its model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.commands.session import SpecPath, WorkDir, readable, session
from recsys_ssl.artifacts import REPORT_FILE
from recsys_ssl.spec import load_spec


def report(workdir: WorkDir) -> None:
    """Shows the report of a finished run and writes its page anew.

    [dim]recsys-ssl report --workdir build/demo[/dim]
    """
    from recsys_ssl.evaluation.report import write_report

    with readable():
        write_report(_read_report(workdir), workdir / "report")
    show_report(Console(), workdir)


def recommend(
    spec: SpecPath,
    workdir: WorkDir,
    query: Annotated[Optional[str], typer.Option("--query", help="Id of a query of the test split.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
) -> None:
    """Recommends items to a query of the log.

    [dim]recsys-ssl recommend feature_specs/movielens-100k.yaml --workdir build/demo --query 13[/dim]
    """
    with session(workdir, "recommend") as (console, _):
        feature_spec = load_spec(spec)
        from pipelines.manifests import check_places
        from recsys_ssl.serving.queries import Places, recommend_to_query

        places = Places.read(str(workdir))
        check_places(feature_spec, places.recommender_dir, places.interactions_dir, places.catalogue_dir)
        show_recommended(console, recommend_to_query(feature_spec, places, query, k))


def _read_report(workdir: Path) -> dict:
    path = workdir / "report" / REPORT_FILE
    if not path.exists():
        raise FileNotFoundError(f"no {path}. Finish `recsys-ssl run` or `recsys-ssl evaluate` first.")
    return json.loads(path.read_text(encoding="utf-8"))


def show_report(console: Console, workdir: Path) -> None:
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
    show_cautions(console, result.get("cautions", []))  # reports of earlier versions have none
    console.print()
    for name in ("report/report.html", "report/report.json", "index", "recommender", "recommender-brute-force"):
        if (workdir / name).exists():
            console.print(f"{name.split('/')[-1]:<24} {workdir / name}", highlight=False, soft_wrap=True)
    if (workdir / "tfx").exists():
        pushed = sorted((workdir / "pushed").glob("*/*"))
        newest = pushed[-1] if pushed else "none: not blessed"
        console.print(f"{'pushed model':<24} {newest}", highlight=False, soft_wrap=True)


def show_cautions(console: Console, cautions: Sequence[str]) -> None:
    for caution in cautions:
        console.print(f"[yellow]caution:[/yellow] {escape(caution)}", highlight=False)


def show_recommended(console: Console, recommended) -> None:
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
