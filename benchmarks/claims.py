"""Claims: each number that README or docs state, with what made it, in `benchmarks/results/TOPIC.json`.

A benchmark measures and calls `record`; `make tables` writes the tables. No number is typed by hand.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recsys_ssl.artifacts import write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


class Claim(BaseModel):
    """One measured number and how to measure it again."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Unique within the topic.")]
    what: Annotated[str, Field(min_length=1, description="What was measured, on what, in one line.")]
    value: float
    interval: tuple[float, float] | None = Field(description="95% interval, or null.")
    unit: str = Field(description="Empty for a share or another pure number.")
    command: Annotated[str, Field(min_length=1, description="What to run, from the root of the repository.")]
    seconds: Annotated[float, Field(ge=0, description="How long the command ran.")]
    hardware: str
    commit: str

    @model_validator(mode="after")
    def _interval_is_ordered(self):
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError(f"an interval is (low, high). Received: {self.interval}. Swap them.")
        return self


class Topic(BaseModel):
    """The content of one results file."""

    model_config = ConfigDict(extra="forbid")
    claims: list[Claim]


def record(
    topic: str,
    *,
    id: str,
    what: str,
    value: float,
    command: str,
    seconds: float,
    unit: str = "",
    interval: tuple[float, float] | None = None,
    results: Path = RESULTS,
) -> Claim:
    """Writes a claim into `results/TOPIC.json`, in the place of an earlier one of the same id, and returns it.

    Numbers that come out again keep the hardware and the commit that they were recorded with, see `keep_recorded`.

    Args:
        value: finite; `interval` are its 95% bounds (low, high), in the same `unit`.
        seconds: how long `command` ran.

    Raises:
        ValueError: a field is out of its range, or the file holds something else.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", topic):
        raise ValueError(f"a topic is lower-case letters, digits, - and _. Received: {topic!r}. Rename it.")
    claim = Claim(
        id=id,
        what=what,
        value=value,
        interval=interval,
        unit=unit,
        command=command,
        seconds=round(seconds, 1),
        hardware=describe_hardware(),
        commit=describe_commit(),
    )
    path = results / f"{topic}.json"
    (claim,) = keep_recorded([claim], path)
    claims = {known.id: known for known in (load(path) if path.exists() else [])} | {claim.id: claim}
    write_text(path, Topic(claims=list(claims.values())).model_dump_json(indent=2) + "\n")
    return claim


def load(path: Path) -> list[Claim]:
    """The claims of a results file, in its order.

    Raises:
        ValueError: the file is missing, is no results file, or has an id twice.
    """
    try:
        claims = Topic.model_validate_json(path.read_text(encoding="utf-8")).claims
    except FileNotFoundError:
        raise ValueError(f"{path} must exist. Run the benchmark that records {path.stem!r}.") from None
    except ValidationError as error:
        raise ValueError(f"{path} must hold claims. Received: {error}. Record them again.") from error
    ids = [claim.id for claim in claims]
    repeated = sorted({id for id in ids if ids.count(id) > 1})
    if repeated:
        raise ValueError(f"{path} must hold each id once. Received twice: {repeated}. Remove one.")
    return claims


def keep_recorded(claims: Sequence[Claim], path: Path) -> list[Claim]:
    """`claims`, each as the results file has it where that holds the same numbers.

    Numbers that come out again, to nine digits, were not measured again: they keep the machine and the commit that
    they were recorded on, and making tables twice changes nothing.
    """
    known = {claim.id: claim for claim in (load(path) if path.exists() else [])}
    return [known[claim.id] if _says_the_same(claim, known.get(claim.id)) else claim for claim in claims]


def _says_the_same(claim: Claim, known: Claim | None) -> bool:
    if known is None or (claim.interval is None) != (known.interval is None):
        return False
    numbers = [(each.value, each.seconds, *(each.interval or ())) for each in (claim, known)]
    texts = [(each.what, each.unit, each.command) for each in (claim, known)]
    return texts[0] == texts[1] and all(math.isclose(*pair, rel_tol=1e-9) for pair in zip(*numbers))


def describe_hardware(proc: Path = Path("/proc")) -> str:
    """CPU model, cores this process may use, and memory; no name of the machine."""
    model = re.search(r"^model name\s*:\s*(.+)$", (proc / "cpuinfo").read_text(), re.MULTILINE)
    memory_kib = re.search(r"^MemTotal:\s*(\d+) kB$", (proc / "meminfo").read_text(), re.MULTILINE)
    cpu = " ".join(model.group(1).split()) if model else "CPU of unknown model"
    cores = len(os.sched_getaffinity(0))
    memory = f"{int(memory_kib.group(1)) / 2**20:.0f} GiB" if memory_kib else "unknown memory"
    return f"{cpu}, {cores} cores, {memory}"


def describe_commit(root: Path = ROOT) -> str:
    """The commit's first 12 digits, `+changes` when other files than results, README and docs differ from it."""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "no commit"
    written = [":!benchmarks/results", ":!README.md", ":!docs"]
    return commit + ("+changes" if _git(root, "status", "--porcelain", "--", ".", *written) else "")


def _git(root: Path, *arguments: str) -> str:
    """Its output, or nothing where there is no repository, no commit or no git."""
    try:
        run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
