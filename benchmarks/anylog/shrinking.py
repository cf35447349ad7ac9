"""What goes wrong, made small: the fewest lines of a log that still show its fault."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from benchmarks.anylog.log_checks import Check, check_input, read_and_check
from benchmarks.anylog.malformed_logs import Input


def keep_small(made: Input, fault: str, check: Check, directory: Path, place: Path) -> None:
    """Writes an input that goes wrong to a directory, as small as it can be made, with its fault.

    Args:
        place: where smaller ones are tried.
    """
    small = made
    if check is read_and_check:
        for name in made.files:
            small = _shrink(small, name, fault.split(":")[0], place)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, data in small.files.items():
        (directory / name).write_bytes(data)
    (directory / "spec.yaml").write_text(yaml.safe_dump(small.spec))
    (directory / "fault.txt").write_text(f"{made.made}\n{fault}\n")


def _shrink(made: Input, name: str, kind: str, place: Path) -> Input:
    """Leaves out lines of a file as long as the same kind of fault comes."""
    data = made.files[name]
    lines = data.splitlines(keepends=True)
    if len(lines) < 3 or not name.endswith(("csv", "jsonl")):
        return made

    def fails(some: list[bytes]) -> bool:
        fault = check_input(read_and_check, made._replace(files={**made.files, name: b"".join(some)}), place)
        return fault is not None and fault.split(":")[0] == kind

    step = len(lines) // 2
    while step:
        at = 1
        while at < len(lines):
            fewer = lines[:at] + lines[at + step :]
            if fails(fewer):
                lines = fewer
            else:
                at += step
        step //= 2
    return made._replace(files={**made.files, name: b"".join(lines)})
