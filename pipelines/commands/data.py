"""Before the pipeline: public data sets, and feature specs."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from pipelines.commands.session import SpecPath, fail, readable, require_dir
from pipelines.console import make_console, plain, show_table
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.spec_files import SpecError, find_line, json_schema, load_spec

_MOST_FILES = 10


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
    data: Annotated[
        Optional[Path], typer.Option("--data", help="Also read the first records of each file there.")
    ] = None,
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
        with readable():
            require_dir(data)
        _show_preview(console, feature_spec, spec, data)


def _show_preview(console: Console, feature_spec: FeatureSpec, path: Path, data_dir: Path) -> None:
    """Says of each side what would be rejected; ends with status 1 when the run would not get anywhere."""
    with _libraries_quiet():
        from recsys_ssl.logs.preview import preview, will_fail

    sides = preview(feature_spec, str(data_dir))
    for side in sides:
        names = ", ".join(side.files[:_MOST_FILES]) + (", ..." if len(side.files) > _MOST_FILES else "")
        title = plain(f"{side.name}, {len(side.files):,} file(s): {names}")
        console.print(title, highlight=False, soft_wrap=True)
        if side.read:
            counts = "".join(f", {number:,} {word}" for word, number in side.counts.items() if number)
            extent = "all" if side.is_whole else "the first"
            told = f"  of {extent} {side.read:,} records {side.rejected:,} would be rejected{counts}"
            console.print(told, highlight=False, soft_wrap=True)
        for finding in sorted(side.findings.values(), key=lambda finding: (not finding.is_reject, -finding.number)):
            number = f"{finding.number:>9,}  " if side.read else "  "
            example = f"; first: {finding.example}" if finding.example else ""
            where = f"{path}:{find_line(path, finding.key)}: {'.'.join(map(str, finding.key))}"
            told = f"{number}{finding.reason.rstrip('.')}{example}; see {where}"
            console.print(plain(told), highlight=False, soft_wrap=True)
    if will_fail(sides):
        fail("most of a side would be rejected, or a file cannot be read. Change the lines of the spec that are named.")
    allowed = feature_spec.max_rejected_share
    for side in sides:
        if side.rejected > allowed * side.read:
            share = side.rejected / side.read
            console.print(
                f"caution: {share:.1%} of {side.name} would be rejected: more than max_rejected_share, {allowed:.1%}.",
                highlight=False,
                soft_wrap=True,
            )


@contextlib.contextmanager
def _libraries_quiet() -> Iterator[None]:
    """While libraries are imported: what they say of each other helps nobody who validates a spec."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def spec_schema() -> None:
    """Prints the JSON Schema of specs, for editors.

    [dim]recsys-ssl spec-schema > feature_specs/schema.json[/dim]
    """
    typer.echo(json_schema(), nl=False)
