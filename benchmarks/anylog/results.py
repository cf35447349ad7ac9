"""What the checks of this benchmark return, how it is kept, and the claims that are made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from benchmarks.claims import RESULTS, ROOT, Claim, record
from recsys_ssl.artifacts import write_text

TOPIC = "anylog"
KEPT = ROOT / "build" / "anylog"
"""Results that wait for `write`, a file a command."""
_MOST_EXAMPLES = 100


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


# --- Kept until they are claimed -----------------------------------------------------------------------


def keep_cases(found: Sequence[CaseResult], command: str, seconds: float, directory: Path = KEPT) -> None:
    _keep("cases", {"cases": len(found), "right_share": share_right(found)}, command, seconds, directory)


def keep_fuzz(name: str, found: FuzzResult, command: str, seconds: float, directory: Path = KEPT) -> None:
    """Keeps the result of `fuzz-logs` or `fuzz-specs`."""
    shown = found._replace(examples_of_traces=found.examples_of_traces[:_MOST_EXAMPLES])
    _keep(name, shown._asdict(), command, seconds, directory)


def _keep(name: str, found: dict[str, Any], command: str, seconds: float, directory: Path) -> None:
    kept = {**found, "command": command, "seconds": seconds}
    write_text(directory / f"{name}.json", json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def count_passed(junit: Path) -> int:
    """Tests that passed, of the file that `pytest --junitxml` wrote.

    Raises:
        ValueError: a test failed, or none ran.
    """
    suites = list(ElementTree.parse(junit).iter("testsuite"))
    counts = {
        name: sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    }
    if counts["failures"] or counts["errors"] or not counts["tests"]:
        raise ValueError(f"all tests must pass. Received: {counts} in {junit}. Mend them and run pytest again.")
    return counts["tests"] - counts["skipped"]


# --- Claims --------------------------------------------------------------------------------------------


def write_claims(junits: dict[str, Path], kept: Path = KEPT, results: Path = RESULTS) -> list[Claim]:
    """Records the claims of what is kept, and of the test runs.

    Args:
        junits: name of a lock, e.g. py311, -> the junit file of its tests.
    """
    claims = []
    cases = _load(kept / "cases.json")
    if cases is not None:
        what = f"share of {cases['cases']} logs, specs and commands of strangers that come to their right outcome"
        claims.append(_claim("cases_right_share", what, cases["right_share"], cases, results))
    fuzzed = [found for found in (_load(kept / f"fuzz-{kind}.json") for kind in ("logs", "specs")) if found is not None]
    if fuzzed:
        run = {
            "command": "; ".join(found["command"] for found in fuzzed),
            "seconds": sum(found["seconds"] for found in fuzzed),
        }
        inputs, traces = (sum(found[name] for found in fuzzed) for name in ("inputs", "traces"))
        claims.append(_claim("fuzz_inputs", "malformed logs and specs, generated from a seed", inputs, run, results))
        claims.append(_claim("fuzz_traces", "of them end in a trace, hang or lose a record", traces, run, results))
    for lock, junit in junits.items():
        passed, seconds = count_passed(junit), _seconds(junit)
        run = {"command": "make test", "seconds": seconds}
        claims.append(
            _claim(f"tests_passed_lock_{lock}", f"tests that pass with the lock {lock}", passed, run, results)
        )
    return claims


def _claim(name: str, what: str, value: float, run: dict[str, Any], results: Path) -> Claim:
    return record(
        TOPIC, id=name, what=what, value=value, command=run["command"], seconds=run["seconds"], results=results
    )


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _seconds(junit: Path) -> float:
    return sum(float(suite.get("time", 0)) for suite in ElementTree.parse(junit).iter("testsuite"))
