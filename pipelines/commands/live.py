"""The live catalogue: items that come, change and go between two trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pipelines.commands.session import WorkDir, readable
from pipelines.console import make_console, plain

if TYPE_CHECKING:
    from recsys_ssl.serving.live import Operation

Item = Annotated[
    Optional[list[str]],
    typer.Option("--item", help="An item as JSON: item_id and its features by their names; may be repeated."),
]
ItemsFile = Annotated[
    Optional[Path], typer.Option("--from", help="File with such an item a line; all are taken, or none.")
]
ContentDir = Annotated[Path, typer.Option("--data", help="Directory where paths of content begin.")]


def add(workdir: WorkDir, item: Item = None, from_: ItemsFile = None, data: ContentDir = Path(".")) -> None:
    """Adds items that training never saw; running servers recommend them at once, by their features.

    [dim]recsys-ssl index add --workdir build/demo --item '{"item_id":"new","genre":["Drama"]}'[/dim]
    """
    _write("add", workdir, _read_items(item, from_), data)


def change(workdir: WorkDir, item: Item = None, from_: ItemsFile = None, data: ContentDir = Path(".")) -> None:
    """Changes features of items; those that are not named stay, null takes one away.

    [dim]recsys-ssl index change --workdir build/demo --item '{"item_id":"50","genre":["Drama"]}'[/dim]
    """
    _write("change", workdir, _read_items(item, from_), data)


def remove(workdir: WorkDir, item_ids: Annotated[list[str], typer.Argument(help="Ids of items.")]) -> None:
    """Removes items; running servers recommend them no more.

    [dim]recsys-ssl index remove --workdir build/demo 50 181[/dim]
    """
    _write("remove", workdir, [(item_id, {}) for item_id in item_ids], Path("."))


def _read_items(texts: Optional[list[str]], path: Optional[Path]) -> list[tuple[str, dict[str, Any]]]:
    """Ids and features of items; the place of a fault is named."""
    with readable():
        lines = [("--item", text) for text in texts or []]
        if path is not None:
            numbered = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            lines += [(f"{path}, line {number}", text) for number, text in numbered if text.strip()]
        if not lines:
            raise ValueError("at least one item must be given. Received: none. Use --item or --from.")
        return [_read_item(place, text) for place, text in lines]


def _read_item(place: str, text: str) -> tuple[str, dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place} must be JSON. Received: {text[:99]!r}: {error}.") from None
    if not isinstance(found, dict) or "item_id" not in found:
        raise ValueError(f'{place} must be an object with item_id. Received: {text[:99]!r}. Write {{"item_id": "ID"}}.')
    return found.pop("item_id"), found


def _write(operation: Operation, workdir: Path, items: list[tuple[str, dict[str, Any]]], data: Path) -> None:
    from recsys_ssl.serving.live import LIVE_FILE, LiveCatalogue, make_change
    from recsys_ssl.serving.lookup import Lookup
    from recsys_ssl.serving.places import Places

    with readable():
        lookup = Lookup(Places.read(str(workdir)).recommender_dir)
        changes = []
        for item_id, features in items:
            try:
                changes.append(make_change(lookup.spec, operation, item_id, features, str(data)))
            except (TypeError, ValueError) as error:
                raise ValueError(f"item {item_id!r}: {error}") from error
        number = LiveCatalogue(workdir / LIVE_FILE).apply(changes, lookup.find_rows)
    ended = {"add": "added", "change": "changed", "remove": "removed"}[operation]
    items_word = "item" if len(items) == 1 else "items"
    text = f"{len(items):,} {items_word} {ended}, last change {number:,}, in {workdir / LIVE_FILE}"
    make_console().print(plain(text), highlight=False, soft_wrap=True)
