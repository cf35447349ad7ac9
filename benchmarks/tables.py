"""Writes the tables of README.md and docs/*.md from `benchmarks/results` (`make tables`).

A table stands between `<!-- table:TOPIC -->` and `<!-- /table:TOPIC -->`; what is between them is replaced.
`python -m benchmarks.tables --check` changes nothing and fails when a table is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims import ROOT, Claim, load

_MARKER = re.compile(r"<!-- (/?)table:([a-z0-9_-]+) -->")


def render(claims: Sequence[Claim]) -> str:
    """A Markdown table with a row per claim, then the machine and the commit of the numbers."""
    lines = ["| What | Value | 95% interval | Command | Time |", "|---|---:|---|---|---:|"]
    for claim in claims:
        interval = "" if claim.interval is None else " to ".join(_number(bound) for bound in claim.interval)
        value = f"{_number(claim.value)} {claim.unit}".rstrip()
        cells = (claim.what, value, interval, f"`{claim.command}`", f"{_number(claim.seconds)} s")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    where = dict.fromkeys(f"{claim.hardware} (commit {claim.commit})" for claim in claims)
    return "\n".join([*lines, "", f"Measured on {'; '.join(where)}."])


def fill(text: str, results: Path) -> str:
    """`text` with each of its tables made anew.

    Raises:
        ValueError: a marker has no partner, or a topic has no results.
    """
    parts, end, opened = [], 0, None
    for marker in _MARKER.finditer(text):
        closes, topic = bool(marker.group(1)), marker.group(2)
        if closes != (opened is not None) or (closes and topic != opened):
            raise ValueError(f"table markers come in pairs. Received: {marker.group(0)}. Open and close each topic.")
        if closes:
            parts.append(f"\n{render(load(results / f'{topic}.json'))}\n")
        else:
            parts.append(text[end : marker.start()])
        parts.append(marker.group(0))
        opened, end = (None if closes else topic), marker.end()
    if opened is not None:
        raise ValueError(f"table markers come in pairs. Received: no <!-- /table:{opened} -->. Close it.")
    return "".join([*parts, text[end:]])


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Writes the tables of README.md and docs from benchmarks/results.")
    parser.add_argument("--check", action="store_true", help="only say whether a table is stale")
    check = parser.parse_args(arguments).check
    stale = []
    for path in sorted([*root.glob("README.md"), *root.glob("docs/*.md")]):
        text = path.read_text(encoding="utf-8")
        try:
            filled = fill(text, root / "benchmarks" / "results")
        except ValueError as error:
            print(f"{path.relative_to(root)}: {error}", file=sys.stderr)
            return 1
        if filled != text:
            stale.append(str(path.relative_to(root)))
            if not check:
                path.write_text(filled, encoding="utf-8")
    if stale:
        print(f"tables {'are stale' if check else 'written'}: {', '.join(stale)}" + (", run `make tables`" * check))
    return int(check and bool(stale))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
