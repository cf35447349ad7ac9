"""Writes the tables of item towers on new compounds in README.md and docs/*.md, and their claims.

python -m benchmarks.compounds.tables               from trials and ranks; writes tables.json, claims and tables
python -m benchmarks.compounds.tables --from-json   from the committed tables.json alone
python -m benchmarks.compounds.tables --check       the same, changes nothing and fails when a table is stale

A table stands between `<!-- compounds:NAME -->` and `<!-- /compounds:NAME -->`; what is between them is replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.claims import RESULTS, ROOT
from benchmarks.evidence.cells import GAP, bold, grid, points, spread
from benchmarks.evidence.tables import write

TOPIC = "compounds"
COMMAND = "python -m benchmarks.compounds.run --model DIR && python -m benchmarks.compounds.tables"
_METRICS = {"recall_at_50": "Recall@50", "recall_at_10": "Recall@10", "map_at_10": "MAP@10"}

Tables = Mapping[str, Any]


def render_results(tables: Tables | None, command: str = COMMAND) -> str:
    """A row per arm: metrics on the test, and Recall@50 on validation, which chose the settings."""
    if tables is None:
        return f"Not measured yet: `{command}`."
    arms = tables["arms"]
    best = {name: max(round(100 * facts[name][0], 2) for facts in arms.values()) for name in _METRICS}
    rows = []
    for arm, facts in arms.items():
        shown = [bold(spread(facts[name]), round(100 * facts[name][0], 2) == best[name]) for name in _METRICS]
        tuned = ", ".join(f"{name} {value:g}" for name, value in facts["settings"].items())
        minutes = f"{facts['seconds'] / 60:.0f}"
        rows.append(
            [tables["labels"][arm], tuned, str(facts["seeds"]), *shown, f"{100 * facts['validation']:.2f}", minutes]
        )
    header = ["Item tower", "Tuned", "Seeds", *_METRICS.values(), "Recall@50 in validation", "Minutes"]
    note = (
        f"In %, mean ± half of the 95% interval over seeds, best in bold; {tables['pairs']:,} held-out activities on "
        f"{tables['queries']:,} targets, {tables['items']:,} compounds ranked, of which chance finds "
        f"{100 * 50 / tables['items']:.2f}% in Recall@50. Minutes: of one core, all trials of the arm."
    )
    return "\n\n".join([grid(header, rows, left=2), note])


def render_differences(tables: Tables | None) -> str:
    """A row per arm with a pre-trained encoder: Recall@50 less that of each reference."""
    if tables is None:
        return f"Not measured yet: `{COMMAND}`."
    labels, references = tables["labels"], tables["references"]
    rows = [
        [labels[arm], *(points(found[name]["recall_at_50"]) if name in found else GAP for name in references)]
        for arm, found in tables["comparisons"].items()
    ]
    note = (
        "Recall@50 of the row less that of the column, percentage points (95% interval over targets and seeds, not "
        "corrected for the number of comparisons)."
    )
    return "\n\n".join([grid(["Item tower", *(f"less {labels[name]}" for name in references)], rows), note])


RENDERERS: Mapping[str, Callable[[Tables | None], str]] = {
    "results": render_results,
    "differences": render_differences,
}


FUSION = "fusion"
"""The table of `benchmarks.compounds.fusion`, whose arms share another encoder."""


def load(results: Path = RESULTS, name: str = "tables") -> Tables | None:
    """The committed numbers; None where nothing was measured."""
    path = results / TOPIC / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def compute(results: Path, trials: Path, work: Path) -> None:
    """Writes tables.json and the claims from trials and ranks; raises as `summarise`."""
    # These load TensorFlow, which tables from the committed numbers do without.
    from benchmarks.compounds.summary import summarise
    from benchmarks.compounds.trials import read_trials

    write(summarise(read_trials(trials), work), results, TOPIC, COMMAND)


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the pages from the committed numbers and returns the stale ones; see `pages.fill_all`."""
    results = root / "benchmarks" / "results"
    tables, fusion = load(results), load(results, FUSION)
    return pages.fill_all(root, TOPIC, lambda name: _render(name, tables, fusion), check)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    results = root / "benchmarks" / "results"
    trials, work = results / TOPIC / "trials.jsonl", root / "build" / TOPIC
    return pages.run(__doc__.splitlines()[0], arguments, root, lambda: compute(results, trials, work), fill_pages)


def _render(name: str, tables: Tables | None, fusion: Tables | None) -> str:
    if name == FUSION:
        return render_results(fusion, "python -m benchmarks.compounds.fusion")
    if name not in RENDERERS:
        known = ", ".join([*RENDERERS, FUSION])
        raise ValueError(f"a table of compounds must be one of {known}. Received: {name!r}. Rename it.")
    return RENDERERS[name](tables)


if __name__ == "__main__":
    sys.exit(main())
