"""Tables within README.md and the pages of docs/, made anew between their markers.

A table stands between `<!-- TOPIC:NAME -->` and `<!-- /TOPIC:NAME -->`; what is between them is replaced.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

Render = Callable[[str], str]
"""Name of a table -> its Markdown."""

_MARKER = re.compile(r"<!--\s*/?\s*[\w-]+\s*:\s*[\w.-]+\s*-->")
"""What looks like the marker of a table, whoever renders it and however it is written."""


def run(
    description: str,
    arguments: Sequence[str] | None,
    root: Path,
    compute: Callable[[], None],
    fill_pages: Callable[[Path, bool], list[str]],
) -> int:
    """A command that writes tables, with `--from-json` and `--check`; returns its exit status.

    Args:
        root: of the repository.
        compute: makes the numbers of the tables anew, from trials; a ValueError is told in one line.
        fill_pages: fills the pages of a repository, or only checks them, and returns the stale ones.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--from-json", action="store_true", help="from the committed numbers, without trials and ranks")
    parser.add_argument("--check", action="store_true", help="only say whether a table is stale")
    options = parser.parse_args(arguments)
    try:
        if not (options.from_json or options.check):
            compute()
        stale = fill_pages(root, options.check)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return report(stale, options.check)


def fill(text: str, topic: str, render: Render) -> str:
    """`text` with each table of a topic made anew.

    Raises:
        ValueError: a marker has no partner, or `render` knows no table of its name.
    """
    block = re.compile(rf"(<!-- {topic}:([a-z0-9_-]+) -->).*?(<!-- /{topic}:\2 -->)", re.DOTALL)
    filled, count = block.subn(lambda found: f"{found[1]}\n{render(found[2])}\n{found[3]}", text)
    markers = re.findall(rf"<!-- /?{topic}:[a-z0-9_-]+ -->", text)
    if len(markers) != 2 * count:
        raise ValueError(f"{topic} markers come in pairs. Received: {', '.join(markers)}. Open and close each name.")
    return filled


def fill_all(root: Path, topic: str, render: Render, check: bool) -> list[str]:
    """Fills the pages of a repository and returns the names of those that were stale.

    Args:
        check: leaves the pages as they are.

    Raises:
        ValueError: as `fill`, and names the page.
    """
    stale = []
    for path in list_pages(root):
        name, text = str(path.relative_to(root)), path.read_text(encoding="utf-8")
        try:
            filled = fill(text, topic, render)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if filled != text:
            stale.append(name)
            if not check:
                path.write_text(filled, encoding="utf-8")
    return stale


def list_pages(root: Path) -> list[Path]:
    """README.md and docs/**/*.md of a repository, those that there are."""
    return sorted([*root.glob("README.md"), *root.glob("docs/**/*.md")])


def find_strangers(root: Path, topics: Collection[str]) -> list[str]:
    """`PAGE: MARKER` of each marker that no topic fills: of another topic, or not written as `fill` reads it.

    A table between such markers would never be made anew, nor found to be stale.
    """
    known = re.compile(rf"<!-- /?(?:{'|'.join(map(re.escape, topics))}):[a-z0-9_-]+ -->")
    return [
        f"{path.relative_to(root)}: {marker}"
        for path in list_pages(root)
        for marker in _MARKER.findall(path.read_text(encoding="utf-8"))
        if not known.fullmatch(marker)
    ]


def report(stale: Sequence[str], check: bool, topic: str | None = None) -> int:
    """Says on the terminal which pages were stale, and returns the exit status: 1 for stale pages of a check.

    Args:
        topic: whose tables they are, where several are told of.
    """
    if stale:
        names, whose = ", ".join(stale), f"{topic}: " if topic else ""
        print(f"{whose}tables are stale: {names}, run `make tables`" if check else f"{whose}tables written: {names}")
    return int(check and bool(stale))
