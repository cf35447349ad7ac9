"""Writes the evidence tables of README.md and docs/*.md.

python -m benchmarks.evidence.tables               from trials and ranks; writes tables.json, claims and tables
python -m benchmarks.evidence.tables --from-json   from the committed tables.json alone
python -m benchmarks.evidence.tables --check       the same, changes nothing and fails when a table is stale

A table stands between `<!-- evidence:NAME -->` and `<!-- /evidence:NAME -->`; what is between them is replaced.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.claims import RESULTS, ROOT, record
from benchmarks.evidence import markdown
from benchmarks.evidence.markdown import Tables
from benchmarks.evidence.measurements import load_measurements, render_embeddings, render_starts, render_step_cost

TABLES = Path("evidence") / "tables.json"
COMMAND = "python -m benchmarks.evidence.run && python -m benchmarks.evidence.tables"
RENDERERS = {
    **markdown.RENDERERS,
    "step_cost": lambda tables: render_step_cost(tables.get("step_cost")),
    "embeddings": lambda tables: render_embeddings(tables.get("embeddings")),
    "starts": lambda tables: render_starts(tables.get("starts")),
}


def fill(text: str, tables: Tables) -> str:
    """`text` with each of its evidence tables made anew.

    Raises:
        ValueError: a marker has no partner, or there is no table of its name.
    """
    return pages.fill(text, "evidence", lambda name: _render(name, tables))


def _render(name: str, tables: Tables) -> str:
    if name not in RENDERERS:
        raise ValueError(f"an evidence table must be one of {', '.join(RENDERERS)}. Received: {name!r}. Rename it.")
    return RENDERERS[name](tables)


def load(results: Path = RESULTS) -> dict[str, Any]:
    """The committed numbers, those of `measurements.FILES` beside them.

    Raises:
        ValueError: they were never computed.
    """
    path = results / TABLES
    if not path.exists():
        raise ValueError(f"{path} must exist. Run {COMMAND}.")
    return {**json.loads(path.read_text(encoding="utf-8")), **load_measurements(results)}


def compute(results: Path = RESULTS) -> None:
    """Writes tables.json and the claims from trials and ranks."""
    # These load TensorFlow, which tables from the committed numbers do without.
    from benchmarks.evidence.run import drop_replaced
    from benchmarks.evidence.summary import summarise
    from benchmarks.evidence.trials import RANKS, TASKS, TRIALS, read_trials

    trials = drop_replaced(read_trials(TRIALS))
    if not trials:
        raise ValueError(f"{TRIALS} must hold trials. Received none. Run python -m benchmarks.evidence.run.")
    tables = summarise(trials, RANKS, TASKS)
    write(tables, results)


def write(tables: Tables, results: Path = RESULTS, topic: str = "evidence", command: str = COMMAND) -> None:
    """Writes the numbers with seven digits to `results/TOPIC/tables.json`, and records the claims.

    Args:
        tables: `claims` and `seconds` among them.
        command: what makes these numbers.
    """
    path = results / topic / "tables.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(tables), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for claim in tables["claims"]:
        interval = claim["interval"] and tuple(claim["interval"])
        facts = {**claim, "interval": interval}
        record(topic, command=command, seconds=tables["seconds"], results=results, **facts)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(of) for name, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(of) for of in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the pages from the committed numbers and returns the stale ones; see `pages.fill_all`."""
    load_once = functools.cache(load)
    results = root / "benchmarks" / "results"
    return pages.fill_all(root, "evidence", lambda name: _render(name, load_once(results)), check)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    results = root / "benchmarks" / "results"
    return pages.run(
        "Writes the evidence tables of README.md and docs.", arguments, root, lambda: compute(results), fill_pages
    )


if __name__ == "__main__":
    sys.exit(main())
