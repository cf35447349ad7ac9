"""What the checks of this benchmark return, and the claims that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.claims import RESULTS, Claim, record

TOPIC = "anylog"


class CaseResult(NamedTuple):
    """One case of the table."""

    case: str
    right: str
    """The right outcome, in words."""
    came: str
    """What came out of its runs, in words."""
    faults: list[str]
    """What of it was not right; empty for a case that was."""
    seconds: float


class FuzzResult(NamedTuple):
    """What became of generated inputs."""

    inputs: int
    traces: int
    """Inputs that ended in a trace, ran past their time, or lost a record."""
    examples_of_traces: list[str]
    """Some of them: how the input was made, and what came out."""


def share_right(results: Sequence[CaseResult]) -> float:
    """The share of cases without a fault, 0.0 of none."""
    return sum(not result.faults for result in results) / len(results) if results else 0.0


def claim_cases(results: Sequence[CaseResult], seconds: float, directory: Path = RESULTS) -> Claim:
    return record(
        TOPIC,
        id="cases_right_share",
        what=f"share of {len(results)} logs, specs and commands as strangers have them that come to their right outcome",
        value=share_right(results),
        command="python -m benchmarks.anylog cases --cases DIR --json",
        seconds=seconds,
        results=directory,
    )


def claim_fuzz(found: Sequence[FuzzResult], command: str, seconds: float, directory: Path = RESULTS) -> list[Claim]:
    """Two claims of all generated inputs, logs and specs."""
    facts = (
        ("fuzz_inputs", "malformed logs and specs that were generated", sum(each.inputs for each in found)),
        ("fuzz_traces", "of them ended in a trace, hung or lost a record", sum(each.traces for each in found)),
    )
    return [
        record(TOPIC, id=name, what=what, value=value, command=command, seconds=seconds, results=directory)
        for name, what, value in facts
    ]
