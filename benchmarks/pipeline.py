"""Runs the whole pipeline on one data set, once fresh and once more from the cache, and records what it shows.

python -m benchmarks.pipeline demo
python -m benchmarks.pipeline debian --data DIR     (DIR from `recsys-ssl data debian --to DIR`)
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims import ROOT, record


@dataclass(frozen=True)
class Job:
    """A run to measure: its spec and its settings, which were chosen on validation Recall@50."""

    spec: str
    data: str
    settings: tuple[str, ...]


JOBS = {
    "demo": Job(
        "feature_specs/movielens-100k.yaml",
        "build/data/movielens-100k",
        ("evaluation.primary=user_recall_at_20",),
    ),
    "debian": Job(
        "feature_specs/debian.yaml",
        "build/data/debian",
        (
            "train.temperature=0.06",
            "train.popularity_prior=1",
            "train.ssl.towers=both",
            "train.steps=2000",
            "train.eval_every=400",
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the whole pipeline and records the claims.")
    parser.add_argument("job", choices=sorted(JOBS))
    parser.add_argument("--data", help="directory of the data set")
    arguments = parser.parse_args()
    job = JOBS[arguments.job]
    data = arguments.data or job.data
    workdir = ROOT / "build" / "benchmarks" / arguments.job
    shutil.rmtree(workdir, ignore_errors=True)

    # The command says nothing of where this machine keeps the data.
    command = f"python -m benchmarks.pipeline {arguments.job}"
    seconds = run(job, data, workdir)
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    cached_seconds = run(job, data, workdir)
    report = json.loads((workdir / "report" / "report.json").read_text(encoding="utf-8"))

    def claim(id: str, what: str, value: float, unit: str = "", interval=None) -> None:
        facts = {"what": what, "value": value, "unit": unit, "interval": interval}
        record(arguments.job, id=id, command=command, seconds=seconds, **facts)

    claim("seconds", "whole pipeline, from logs to report", seconds, "s")
    claim("cached_seconds", "the same command again, everything from the cache", cached_seconds, "s")
    claim("peak_memory", "largest resident memory of the run", peak_gib, "GiB")
    floor = {row["metric"]: row for row in report["floor"]}
    for row in report["metrics"]:
        if row["metric"] not in ("recall_at_10", "recall_at_50", "ndcg_at_10", "user_recall_at_20"):
            continue
        name, label = row["metric"], row["label"]
        claim(f"{name}_popular", f"{label}, most-popular", floor[name]["popularity"])
        claim(f"{name}_control", f"{label}, control (no regularizer)", row["control"])
        claim(f"{name}_treatment", f"{label}, treatment (self-supervised)", row["treatment"])
        claim(f"{name}_difference", f"{label}, treatment minus control", row["difference"], interval=row["interval"])
    recall = floor["recall_at_50"]
    claim("over_popular", "Recall@50 of the treatment over most-popular", recall["treatment"] / recall["popularity"])
    for row in report["index"]:
        what = f"recall@{row['k']} of the treatment's index against exact search"
        claim(f"index_recall_at_{row['k']}", what, row["treatment"])


def run(job: Job, data: str, workdir: Path) -> float:
    """Runs the command line once and returns its seconds."""
    settings = [part for setting in job.settings for part in ("--set", setting)]
    command = [Path(sys.executable).parent / "recsys-ssl", "run", job.spec, "--data", data, "--workdir", workdir]
    started = time.monotonic()
    subprocess.run([*command, *settings], cwd=ROOT, check=True)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
