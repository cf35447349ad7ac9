"""Runs a worker under an interpreter of its own, for libraries that do not fit beside this package.

The worker is `PYTHON WORKER INPUTS.npz OUTPUTS.npz`: it reads the arrays of one file and writes those of the other.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def run_worker(
    name: str,
    python: str | Path,
    worker: Path,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    made_by: str,
) -> dict[str, np.ndarray]:
    """The arrays that a worker writes.

    Args:
        name: what people call it, for the messages.
        python: the interpreter.
        worker: the script; it sees neither this package nor its own directory on its path.
        inputs: arrays and numbers that it reads.
        settings: written beside them as JSON, under the name `settings`.
        made_by: the file whose head says how the interpreter is made.

    Raises:
        FileNotFoundError: the interpreter is missing.
        RuntimeError: the worker failed; the message ends with what it printed.
    """
    interpreter = Path(python).absolute()  # not resolved: a virtual environment's interpreter is a link
    if not interpreter.exists():
        raise FileNotFoundError(f"no interpreter at {interpreter}. Make it with the commands at the top of {made_by}.")
    with tempfile.TemporaryDirectory() as directory:
        read, written = Path(directory) / "inputs.npz", Path(directory) / "outputs.npz"
        np.savez(read, **inputs, settings=json.dumps(dict(settings)))
        # -I: neither this package's paths nor the worker's own directory, whose modules hide the standard library's.
        finished = subprocess.run(
            [str(interpreter), "-I", str(worker), str(read), str(written)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if finished.returncode:
            raise RuntimeError(f"{name} failed with status {finished.returncode}. It printed:\n{finished.stdout}")
        with np.load(written) as stored:
            return dict(stored)


def complete_settings(defaults: Mapping[str, Any], settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings with what is not given at its default.

    Raises:
        ValueError: a setting is unknown.
    """
    unknown = sorted(set(settings or {}) - set(defaults))
    if unknown:
        raise ValueError(f"settings must be among {sorted(defaults)}. Received also: {unknown}. Remove them.")
    return {**defaults, **(settings or {})}


def check_codes(name: str, values: np.ndarray, bound: int) -> None:
    """Raises ValueError unless all values lie in [0, bound)."""
    if len(values) and (np.min(values) < 0 or np.max(values) >= bound):
        raise ValueError(f"{name} must lie in [0, {bound}). Received: {np.min(values)} to {np.max(values)}.")
