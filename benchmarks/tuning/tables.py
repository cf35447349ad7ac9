"""Writes the tables of samplers in README.md and docs/*.md, and their claims.

python -m benchmarks.tuning.tables               from grids, searches and trainings; writes tables.json, claims, tables
python -m benchmarks.tuning.tables --from-json   from the committed tables.json alone
python -m benchmarks.tuning.tables --check       the same, changes nothing and fails when a table is stale

A table stands between `<!-- tuning:NAME -->` and `<!-- /tuning:NAME -->`; what is between them is replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.claims import RESULTS, ROOT
from benchmarks.evidence.cells import GAP, bold, grid, p_text
from benchmarks.evidence.tables import write

TOPIC = "tuning"
COMMAND = "python -m benchmarks.tuning.tabular --table benchmarks/results/tuning/DATASET.jsonl"
TRAINED_COMMAND = "python -m benchmarks.tuning.trained --data DIR"
_LABELS = {
    "default": "defaults, no search",
    "random": "random",
    "tpe": "TPE",
    "tpe-multivariate": "TPE, multivariate",
    "cmaes": "CMA-ES",
}
SAMPLERS = tuple(_LABELS)[1:]
_ALPHA = 0.05

Tables = Mapping[str, Any]


def render_grids(tables: Tables | None) -> str:
    """A row for each table of trainings."""
    rows = []
    for found in (tables or {"tables": {}})["tables"].values():
        best, median, worst = found["scores"]
        ladders = " x ".join(str(count) for count in found["ladders"].values())
        numbers = [f"{value:.3f}" for value in (best, found["top"], median, worst)]
        minutes = f"{found['training_seconds'] / 60:.1f}"
        rows.append([found["what"], f"{found['points']:,} ({ladders})", str(found["trainings"]), *numbers, minutes])
    if not rows:
        return _not_run("python -m benchmarks.tuning.molecule_grid --data DIR --dataset freesolv")
    header = ["Table", "Points", "Trainings of each", "Best", "Best 1%", "Median", "Worst", "Minutes"]
    note = (
        "In brackets the values of batch size, learning rate, width of the convolutions and of the dense layer. "
        "Minutes: of one core, for all trainings there are."
    )
    return "\n\n".join([grid(header, rows), note])


def render_regret(tables: Tables | None) -> str:
    """A row for each table and budget: how far the best found is from the best of the table, per sampler."""
    rows, facts = [], None
    for facts in (tables or {"tables": {}})["tables"].values():
        for part, unit in (("rows", "trials"), ("by_seconds", "s")):
            for budget in sorted({row["budget"] for row in facts[part]}):
                of = {row["sampler"]: row for row in facts[part] if row["budget"] == budget}
                least = min(row["regret"] for row in of.values())
                cells = [bold(_regret(of[name]), of[name]["regret"] == least) for name in SAMPLERS]
                rows.append([_label(facts), f"{budget:,} {unit}", *cells])
    if facts is None:
        return _not_run(COMMAND)
    header = ["Table", "Budget", *(_LABELS[name] for name in SAMPLERS)]
    note = (
        f"Best validation RMSE found less the best in the table, mean ± half of the 95% interval over "
        f"{facts['repetitions']} searches; least in bold. ↑ better, ↓ worse than random search: p < {_ALPHA} in a "
        "paired t-test, by Holm over samplers and the budgets of a kind. Seconds: of training on one core, as long as "
        "8, 16, ... trainings take on average, as far as every search went; a repeat of a point takes none."
    )
    return "\n\n".join([grid(header, rows, left=2), note])


def _label(facts: Mapping[str, Any]) -> str:
    return f"{facts['what'].partition(',')[0]}, {facts['points']:,} points"


def _regret(row: Mapping[str, Any]) -> str:
    half = (row["interval"][1] - row["interval"][0]) / 2
    sign = "" if row.get("holm", 1.0) >= _ALPHA else " ↑" if row["gain"] > 0 else " ↓"
    return f"{row['regret']:.3f} ± {half:.3f}{sign}"


def render_cost(tables: Tables | None) -> str:
    """A row for each table and sampler: how soon it is among the best, what it finds on the test, what it takes."""
    rows, facts = [], None
    for facts in (tables or {"tables": {}})["tables"].values():
        label, on_test = _label(facts), {row["sampler"]: row for row in facts["test"]}
        for name in SAMPLERS:
            cost, test = facts["cost"][name], on_test[name]
            half = (test["interval"][1] - test["interval"][0]) / 2
            median = "not in half of them" if cost["median_trials"] is None else str(cost["median_trials"])
            rows.append(
                [
                    label,
                    _LABELS[name],
                    median,
                    f"{100 * cost['reached']:.0f}%",
                    f"{test['mean']:.3f} ± {half:.3f}",
                    p_text(test["holm"]) if "holm" in test else GAP,
                    f"{100 * cost['repeats']:.0f}%",
                    f"{cost['milliseconds']:.1f}",
                ]
            )
    if facts is None:
        return _not_run(COMMAND)
    header = ["Table", "Sampler", "Trials to best 1%", "Reach it", "Test", "p to random", "Repeats", "ms a trial"]
    note = (
        f"Of {facts['repetitions']} searches of {facts['trials']} trials: the median number of trials until one is "
        "among the best hundredth of the points, and the share that have one; test RMSE of what is best on validation "
        "in the end, with p by Holm of its difference from random search; trials at a point that was tried before; "
        "time of one core of sampler and study, kept in memory, without training."
    )
    return "\n\n".join([grid(header, rows, left=2), note])


def render_trained(tables: Tables | None) -> str:
    """A row for each search of real trainings and arm."""
    groups = (tables or {"trained": []})["trained"]
    if not groups:
        return _not_run(TRAINED_COMMAND)
    rows = []
    for group in groups:
        space = group["space"] if group["model"] == "convolution" else group["model"].upper()
        label = f"{group['dataset']}, {space}, {group['repetitions']} x {group['trials']}"
        choose = max if group["larger_is_better"] else min
        best = choose(row["test"] for row in group["rows"])
        for row in group["rows"]:
            half = (row["interval"][1] - row["interval"][0]) / 2
            rows.append(
                [
                    label,
                    _LABELS[row["arm"]],
                    GAP if row["found"] is None else f"{row['found']:.3f}",
                    f"{row['validation']:.3f}",
                    bold(f"{row['test']:.3f} ± {half:.3f}", row["test"] == best),
                    *(_gain(row.get(reference)) for reference in ("random", "default")),
                ]
            )
    header = [
        "Data set, space or model, searches",
        "Sampler",
        "Found",
        "Validation",
        "Test",
        "over random",
        "over defaults",
    ]
    note = (
        "RMSE; for BACE and BBBP ROC-AUC. Found: the best validation of the search, by one training; validation and "
        "test: the same settings with fresh seeds, mean over searches ± half of the 95% interval. Gains on the test, "
        "positive where the row is better, 95% interval; p by Holm within the group."
    )
    return "\n\n".join([grid(header, rows, left=2), note])


def _gain(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return GAP
    low, high = found["gain_interval"]
    text = f"{found['gain']:+.3f} ({low:+.3f} to {high:+.3f}), p {p_text(found['holm'])}"
    return text.replace("-", "\N{MINUS SIGN}")


def _not_run(command: str) -> str:
    return f"Not measured yet: `{command}`."


RENDERERS: Mapping[str, Callable[[Tables | None], str]] = {
    "grids": render_grids,
    "regret": render_regret,
    "cost": render_cost,
    "trained": render_trained,
}


def make_claims(tables: Tables) -> Iterator[dict[str, Any]]:
    """What the numbers say, as arguments of `claims.record` but for how they were made."""
    found = tables["tables"]
    if found:
        repetitions, labels = min(of["repetitions"] for of in found.values()), ", ".join(found)
        what = f"Searches of each sampler in a table of trainings ({labels})"
        yield {"id": "repetitions_tabular", "what": what, "value": repetitions, "interval": None}
    in_tables = {name.partition("-")[0] for name in found}
    compared = sorted({*in_tables, *(group["dataset"] for group in tables["trained"])})
    if compared:
        what = f"Data sets on which all samplers were compared, in tables or in real trainings: {', '.join(compared)}"
        yield {"id": "datasets_compared", "what": what, "value": len(compared), "interval": None}
    for name, of in found.items():
        for row in of["rows"]:
            if row["budget"] == of["trials"]:
                what = (
                    f"{of['what']}: best after {row['budget']} trials of {row['sampler']}, mean of {of['repetitions']}"
                )
                yield {
                    "id": f"{name}_{row['sampler']}",
                    "what": f"{what} searches; the best of the table is {of['scores'][0]:.4f}",
                    "value": row["mean"],
                    "interval": row["interval"],
                }


def load(results: Path = RESULTS) -> Tables | None:
    """The committed numbers; None where nothing was measured."""
    path = results / TOPIC / "tables.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def compute(results: Path) -> None:
    """Writes tables.json and the claims from grids, searches and trainings."""
    # It loads TensorFlow, which tables from the committed numbers do without.
    from benchmarks.tuning.summary import summarise

    found = summarise(results)
    # A table of a data set holds the smaller ones.
    trained = {name.partition("-")[0]: of["training_seconds"] for name, of in found["tables"].items()}
    seconds = sum(trained.values()) + sum(of["search_seconds"] for of in found["tables"].values())
    seconds += sum(group["seconds"] for group in found["trained"])
    tables = {**found, "claims": list(make_claims(found)), "seconds": seconds}
    write(tables, results, TOPIC, f"{COMMAND} && python -m benchmarks.tuning.tables")


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the pages from the committed numbers and returns the stale ones; see `pages.fill_all`."""
    tables = load(root / "benchmarks" / "results")
    return pages.fill_all(root, TOPIC, lambda name: _render(name, tables), check)


def _render(name: str, tables: Tables | None) -> str:
    if name not in RENDERERS:
        raise ValueError(f"a table of samplers must be one of {', '.join(RENDERERS)}. Received: {name!r}. Rename it.")
    return RENDERERS[name](tables)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    results = root / "benchmarks" / "results"
    return pages.run(__doc__.splitlines()[0], arguments, root, lambda: compute(results), fill_pages)


if __name__ == "__main__":
    sys.exit(main())
