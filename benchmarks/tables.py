"""Writes the tables of README.md and docs/*.md from `benchmarks/results` (`make tables`).

A table stands between `<!-- table:TOPIC -->` and `<!-- /table:TOPIC -->`; what is between them is replaced.
`python -m benchmarks.tables --check` changes nothing and fails when a table is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import pages
from benchmarks.claims import ROOT, Claim, load


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


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Writes the tables of README.md and docs from benchmarks/results.")
    parser.add_argument("--check", action="store_true", help="only say whether a table is stale")
    check = parser.parse_args(arguments).check
    results = root / "benchmarks" / "results"
    try:
        stale = pages.fill_all(root, "table", lambda topic: render(load(results / f"{topic}.json")), check)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return pages.report(stale, check)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
