"""Writes the tables of search and serving in docs/*.md from the claims of `serving`.

python -m benchmarks.serving_tables           writes the tables
python -m benchmarks.serving_tables --check   changes nothing and fails when a table is stale

A table stands between `<!-- serving:NAME -->` and `<!-- /serving:NAME -->`; what is between them is replaced.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks import pages
from benchmarks.claims import ROOT, Claim, load
from benchmarks.evidence.cells import GAP, grid

WORD = "serving"
_SEARCH = re.compile(r"(?P<method>\w+?)_(?P<what>cpu_ms|recall_at_10|qps_vs_brute_force)_(?P<size>\d+[km])")
_LOAD = re.compile(r"(?P<what>p50|p99|requests_per_second|failed)_(?P<search>\w+?)_(?P<size>\d+)_(?P<clients>\d+)")
_METHODS = {
    "brute_force": "brute force, plain TensorFlow",
    "scann": "ScaNN",
    "inverted_lists": "inverted lists, plain TensorFlow",
    "hnswlib": "hnswlib",
    "faiss_ivf": "faiss, IVF",
}
_SIZES = {"10k": "10,000", "100k": "100,000", "1m": "1,000,000"}


def render_search(claims: Sequence[Claim]) -> str:
    """A row per method and number of items."""
    found = _match(claims, _SEARCH, "size", "method", "what")
    rows = []
    for size, shown in _SIZES.items():
        for method, name in _METHODS.items():
            cpu, recall, ratio = (
                found.get((size, method, what)) for what in ("cpu_ms", "recall_at_10", "qps_vs_brute_force")
            )
            if cpu and recall:
                against = "1" if ratio is None else f"{ratio.value:.3g} ({_ends(ratio)})"
                rows.append([shown, name, f"{recall.value:.3f}", f"{cpu.value:.3g}", against])
    header = ["Items x 64", "Method", "Recall@10", "CPU ms a query", "Queries a second against brute force"]
    return _with_source(grid(header, rows), found.values())


def render_load(claims: Sequence[Claim]) -> str:
    """A row per search and number of items; for each number of clients p50, p99 and requests a second."""
    found = _match(claims, _LOAD, "size", "search", "clients", "what")
    clients = sorted({key[2] for key in found}, key=int)
    rows = []
    for size, search in sorted({key[:2] for key in found}, key=lambda key: (int(key[0]), key[1])):
        of = [
            [found.get((size, search, number, what)) for what in ("p50", "p99", "requests_per_second")]
            for number in clients
        ]
        cells = [GAP if None in values else " / ".join(_number(claim.value) for claim in values) for values in of]
        rows.append([f"{int(size):,}", _METHODS[search].partition(",")[0], *cells])
    failed = sum(claim.value for key, claim in found.items() if key[3] == "failed")
    header = ["Items x 64", "Search", *(f"{number} client{'s' * (number != '1')}" for number in clients)]
    note = f"p50 in ms / p99 in ms / requests a second. {failed:,.0f} requests failed."
    return _with_source(grid(header, rows) + "\n\n" + note, found.values())


def render_rest(claims: Sequence[Claim]) -> str:
    """What the other claims say, a row each."""
    rest = [claim for claim in claims if not (_SEARCH.fullmatch(claim.id) or _LOAD.fullmatch(claim.id))]
    rows = [[c.what, f"{c.value:.4g} {c.unit}".rstrip(), _ends(c), f"`{c.command}`"] for c in rest]
    return grid(["What", "Value", "95% interval", "Command"], rows) + f"\n\n{_where(rest)}."


RENDERERS: Mapping[str, Callable[[Sequence[Claim]], str]] = {
    "search": render_search,
    "load": render_load,
    "rest": render_rest,
}


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the tables and returns the stale pages; see `pages.fill_all`.

    Raises:
        ValueError: a page asks for a table that is not there.
    """

    def render(name: str) -> str:
        if name not in RENDERERS:
            raise ValueError(f"a table must be one of {', '.join(RENDERERS)}. Received: {name!r}.")
        return RENDERERS[name](load(root / "benchmarks" / "results" / "serving.json"))

    return pages.fill_all(root, WORD, render, check)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    return pages.run(__doc__.splitlines()[0], arguments, root, lambda: None, fill_pages)


def _match(claims: Sequence[Claim], pattern: re.Pattern[str], *names: str) -> dict[tuple[str, ...], Claim]:
    """Parts of an id -> the claim, of those whose id is of a pattern."""
    matches = ((pattern.fullmatch(claim.id), claim) for claim in claims)
    return {tuple(match[name] for name in names): claim for match, claim in matches if match}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ends(claim: Claim) -> str:
    return "" if claim.interval is None else " to ".join(f"{bound:.3g}" for bound in claim.interval)


def _with_source(text: str, claims: Iterable[Claim]) -> str:
    """The text, the commands that measure it again, and where they ran."""
    claims = list(claims)
    if not claims:
        return "Not measured yet."
    commands = ", ".join(f"`{command}`" for command in dict.fromkeys(claim.command for claim in claims))
    return f"{text}\n\n{_where(claims)}, by {commands}."


def _where(claims: Sequence[Claim]) -> str:
    return "Measured on " + "; ".join(dict.fromkeys(f"{claim.hardware} (commit {claim.commit})" for claim in claims))


if __name__ == "__main__":
    sys.exit(main())
