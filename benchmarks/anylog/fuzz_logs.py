"""Malformed logs, generated from a seed: each must be read or told of, soon, and every record of it counted.

    a log of `malformed_logs` --> read and checked, or ingested --> what went wrong, kept small

Most inputs go through reading and checking alone, in this process; some through `recsys-ssl ingest` as a whole.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Optional

from benchmarks.anylog.log_checks import check_input, ingest_whole, read_and_check
from benchmarks.anylog.malformed_logs import generate
from benchmarks.anylog.results import FuzzResult
from benchmarks.anylog.shrinking import keep_small


def fuzz(examples: int, seed: int, whole_share: float = 0.1, keep: Optional[Path] = None) -> FuzzResult:
    """Generates logs and reads each.

    Args:
        whole_share: of them that goes through the whole `recsys-ssl ingest`, at seconds each.
        keep: receives the files of those that went wrong, as small as they can be made.
    """
    every = round(1 / whole_share) if whole_share else 0
    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        for number in range(examples):
            made, place = generate(seed, number), Path(scratch) / "log"
            check = ingest_whole if every and number % every == 0 else read_and_check
            fault = check_input(check, made, place)
            if fault is None:
                continue
            found.append(f"{made.made}: {fault}")
            if keep:
                keep_small(made, fault, check, keep / f"{seed}-{number}", place)
    return FuzzResult(examples, len(found), found)
