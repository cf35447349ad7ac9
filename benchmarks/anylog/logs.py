"""Logs of the kinds that people have, each from file to recommendations by `new-spec` and `run` alone."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from benchmarks.anylog.commands import run_command

_LIMIT_S = 1800.0
_SPEC = "spec.yaml"


def run_logs(data: Path, workdir: Path, only: str = "*") -> Iterator[tuple[str, Optional[str], float]]:
    """Yields each kind of log, what went wrong with it (None: nothing), and the seconds.

    Args:
        data: MovieLens-100K, of which the logs are made.
        workdir: receives a directory a kind, with the log, its spec and its run.
    """
    from benchmarks.anylog.make_logs import KINDS

    for name, write in KINDS.items():
        if not fnmatch.fnmatchcase(name, only):
            continue
        started, place = time.perf_counter(), workdir / name
        shutil.rmtree(place, ignore_errors=True)
        write(data, place / "log")
        yield name, recommend_from(place), time.perf_counter() - started


def recommend_from(place: Path) -> Optional[str]:
    """Takes the log in `place`/log to recommendations; returns the first thing that goes wrong."""
    files = " ".join(shlex.quote(path.name) for path in sorted((place / "log").iterdir()) if path.name[0] not in "_.")
    lines = [
        f"cd log && recsys-ssl new-spec {files} --out ../{_SPEC}",
        f"recsys-ssl validate-spec {_SPEC} --data log",
        f"recsys-ssl run {_SPEC} --data log --workdir out --set train.steps=300 --set control.steps=300",
        f"recsys-ssl recommend {_SPEC} --workdir out",
    ]
    for line in lines:
        outcome = run_command(line, place, _LIMIT_S)
        with (place / "output.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"$ {line}\n{outcome.output}\n")
        if outcome.status != 0:
            return f"`{line}` ended with {outcome.status}: {outcome.output.strip()[-300:]}"
        if line == lines[-1] and not re.search(r"^│ +-?\d", outcome.output, re.MULTILINE):
            return f"`{line}` recommends nothing: {outcome.output.strip()[-300:]}"
    return None
