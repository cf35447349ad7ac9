"""The best of the towers against the best model without towers, and what starting ids at factors is worth.

python -m benchmarks.evidence.peers      prints both tables from the trials and ranks that are there, and records

On each log, with all training data, validation picks the best arm of the towers and the best baseline; the test
compares these two. What lacks trials is named, and a claim over all logs is recorded only when none lacks.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.claims import RESULTS, record
from benchmarks.evidence.datasets import START_AT_FACTORS, STUDIED
from benchmarks.evidence.picks import pick_peer, pick_towers
from benchmarks.evidence.summary import compare_arms
from benchmarks.evidence.tested import PRIMARY, Evidence
from benchmarks.evidence.trials import ARMS, RANKS, TASKS, Trial, read_trials

COMMAND = "python -m benchmarks.evidence.peers"
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    trials = read_trials(results / "evidence" / "trials.jsonl")
    evidence = Evidence(trials, RANKS, TASKS)
    seconds = sum(trial.seconds for trial in trials if trial.share == 1.0)
    against_peers = [compare_best(trials, evidence, dataset) for dataset in STUDIED]
    starts = [compare_starts(evidence, dataset) for dataset in START_AT_FACTORS]
    show("Best towers against the best model without towers", against_peers)
    show("Ids that start at factors against ids that start at random", starts)
    if all("difference" in row for row in against_peers):
        record(
            "retrieval",
            id="logs_at_or_above_best_baseline",
            what=f"logs of {len(STUDIED)}, all training data, where the best towers are at or above the best baseline: "
            "the 95% interval of the difference in test Recall@50 is not wholly below 0; validation picks both",
            value=sum(row["difference"][2] >= 0.0 for row in against_peers),
            command=COMMAND,
            seconds=seconds,
            results=results,
        )
    if all("difference" in row for row in starts):
        least = min(starts, key=lambda row: row["difference"][1])
        record(
            "retrieval",
            id="ials_start_gain_lower_bound",
            what="gain in test Recall@50 of ids that start at factors, lower end of the 95% interval over seeds and "
            f"queries, the lowest of the {len(starts)} logs where validation chose that start ({least['dataset']})",
            value=least["difference"][1],
            interval=(least["difference"][1], least["difference"][2]),
            command=COMMAND,
            seconds=seconds,
            results=results,
        )


def compare_best(trials: Sequence[Trial], evidence: Evidence, dataset: str) -> Row:
    """The arms that validation picks on a log, and their difference in the test; without it where trials lack."""
    ours, peer = pick_towers(trials, dataset), pick_peer(trials, dataset)
    if ours is None or peer is None:
        return {"dataset": dataset, "arms": [ours, peer]}
    return _compare(evidence, dataset, ours, peer)


def compare_starts(evidence: Evidence, dataset: str) -> Row:
    return _compare(evidence, dataset, "none", "random_start")


def _compare(evidence: Evidence, dataset: str, ours: str, theirs: str) -> Row:
    rows = compare_arms(evidence, dataset, 1.0, ours, theirs)
    facts: Row = {"dataset": dataset, "arms": [ours, theirs]}
    found = rows[PRIMARY] if rows else None
    if found is not None and all(bound is not None and math.isfinite(bound) for bound in found["difference"]):
        facts |= {name: found[name] for name in ("seeds", "values", "difference")}
    return facts


def show(title: str, rows: Sequence[Row]) -> None:
    table = Table("Log", "Arm", "Against", "Recall@50", "against", "Difference", "95% interval", "Seeds", title=title)
    for row in rows:
        names = [ARMS[arm] if arm else "not tuned yet" for arm in row["arms"]]
        cells = ["", "", "", "not tested yet", ""]
        if "difference" in row:
            difference, low, high = row["difference"]
            cells = [f"{value:.4f}" for value in row["values"]]
            cells += [f"{difference:+.4f}", f"{low:+.4f} to {high:+.4f}", str(row["seeds"])]
        table.add_row(row["dataset"], *names, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
