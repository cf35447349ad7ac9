"""How the house is kept: what a new kind of content touches, how soon `--help` answers, how long the README is.

    python -m benchmarks.house

Two minutes on 2 cores, one of them for taking the new kind from pre-training to recommendations.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.claims import ROOT, record
from tests.encoders.new_kind import COMMANDS, FOLDER, changed_files, make_tree

_RUNS = 11


def count_touched_files() -> int:
    """Files outside of its folder that a new kind changes, once it has gone from pre-training to recommendations."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        make_tree(tree)
        subprocess.run([sys.executable, "-c", COMMANDS], cwd=tree, check=True, stdout=subprocess.DEVNULL)
        return len([path for path in changed_files(tree) if not path.startswith(FOLDER)])


def time_help() -> list[float]:
    """Seconds until `recsys-ssl --help` has answered, after a first call that fills the disk's cache."""
    command = [str(Path(sys.executable).with_name("recsys-ssl")), "--help"]
    seconds = []
    for _ in range(_RUNS + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def main() -> None:
    started, command = time.perf_counter(), "python -m benchmarks.house"
    touched, waits = count_touched_files(), sorted(time_help())
    lines = len((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    waited = f"wait until `recsys-ssl --help` has answered, median of {_RUNS}"
    facts = (
        ("generic_files_touched_by_a_new_kind", "files outside of its folder that a new kind changes", touched, ""),
        ("help_seconds", waited, statistics.median(waits), "s"),
        ("readme_lines", "lines of README.md", lines, ""),
    )
    for name, what, value, unit in facts:
        seconds = round(time.perf_counter() - started, 1)
        claim = record("house", id=name, what=what, value=value, unit=unit, command=command, seconds=seconds)
        print(f"{claim.id}: {claim.value:.3g}", flush=True)


if __name__ == "__main__":
    main()
