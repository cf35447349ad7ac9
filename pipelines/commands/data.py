"""Before the pipeline: public data sets, and feature specs."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines.commands.session import SpecPath, fail
from pipelines.console import make_console, plain, show_table
from recsys_ssl.spec import SpecError, json_schema, load_spec


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
        fail(str(error))


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
        fail(str(error))
    sides = (("query", feature_spec.query_features), ("item", feature_spec.item_features))
    rows = [
        (side, feature.name, feature.kind, getattr(feature, "source_column", ""))
        for side, features in sides
        for feature in features
    ]
    console, columns = make_console(), ("side", "feature", "kind", "column")
    show_table(console, f"{feature_spec.name}: valid", columns, rows, texts=columns)
    if data is not None:
        missing = []
        for files in (feature_spec.events, feature_spec.items.table, feature_spec.queries.table):
            for pattern in files.paths if files else []:
                found = sorted(
                    os.path.basename(path) for path in glob.glob(os.path.join(data, pattern), recursive=True)
                )
                missing += [] if found else [pattern]
                console.print(plain(f"{pattern}: {', '.join(found) or 'none'}"), highlight=False)
        if missing:
            fail(f"no file matches {', '.join(missing)} in {data}. Check the paths and the data directory.")


def spec_schema() -> None:
    """Prints the JSON Schema of specs, for editors.

    [dim]recsys-ssl spec-schema > feature_specs/schema.json[/dim]
    """
    typer.echo(json_schema(), nl=False)
