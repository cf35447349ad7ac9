"""Writes every table of README.md and docs/*.md from the committed numbers in `benchmarks/results`.

python -m benchmarks.tables           writes the tables (`make tables`)
python -m benchmarks.tables --check   changes nothing and fails when a table is stale (`make check-tables`)

A table of claims stands between `<!-- table:TOPIC -->` and `<!-- /table:TOPIC -->`; what is between them is replaced.
Tables of another kind have their own word for `table` and their own module, which also computes their numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import pages, serving_tables
from benchmarks.claims import ROOT, Claim, load
from benchmarks.clustering import tables as clusters
from benchmarks.compounds import tables as compounds
from benchmarks.evidence import tables as evidence
from benchmarks.images import tables as images
from benchmarks.molecules import tables as molecules
from benchmarks.tuning import gain_tables as gains
from benchmarks.tuning import tables as tuning


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


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the tables of claims and returns the stale pages; see `pages.fill_all`."""
    results = root / "benchmarks" / "results"
    return pages.fill_all(root, "table", lambda topic: render(load(results / f"{topic}.json")), check)


# A claim of the compounds is among those of the molecules, and these are shown as a table of claims: in this order.
KINDS: Mapping[str, Callable[[Path, bool], list[str]]] = {
    "compounds": compounds.fill_pages,
    "molecules": molecules.fill_pages,
    "evidence": evidence.fill_pages,
    "images": images.fill_pages,
    clusters.WORD: clusters.fill_pages,
    "tuning": tuning.fill_pages,
    gains.WORD: gains.fill_pages,
    serving_tables.WORD: serving_tables.fill_pages,
    "table": fill_pages,
}
"""The word in the markers -> what fills the pages of a repository and returns the stale ones."""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Writes every table of README.md and docs from benchmarks/results.")
    parser.add_argument("--check", action="store_true", help="only say whether a table is stale")
    check = parser.parse_args(arguments).check
    failed = 0
    for kind, fill in KINDS.items():
        try:
            failed |= pages.report(fill(root, check), check, kind)
        except ValueError as error:
            print(f"{kind}: {error}", file=sys.stderr)
            failed = 1
    for stranger in pages.find_strangers(root, KINDS):
        print(f"{stranger} must be `<!-- KIND:NAME -->`, KIND one of {', '.join(KINDS)}. Rename it.", file=sys.stderr)
        failed = 1
    return failed


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
