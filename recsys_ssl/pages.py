"""What pages that people read have in common: how they are rendered, their style, pictures within the page."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from recsys_ssl.text import make_visible


def make_environment(directory: str | Path, **filters: Callable[..., Any]) -> jinja2.Environment:
    """What renders the templates of a directory: texts that a browser does not obey, and `report_style.css.jinja`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(directory), Path(__file__).parent]),
        autoescape=True,
        finalize=_show,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment


def _show(value: Any) -> Any:
    """What an expression of the page gives, without what a browser would obey or XML cannot hold."""
    return make_visible(value, keep="\n") if isinstance(value, str) else value


def data_uri(picture: str | bytes) -> str:
    """A picture, SVG or PNG, as the source of an image."""
    # As an image the SVG keeps its ids to itself; inline, several figures would share the ids of their glyphs.
    kind, content = ("svg+xml", picture.encode()) if isinstance(picture, str) else ("png", picture)
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
