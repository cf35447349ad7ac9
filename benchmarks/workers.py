"""Libraries that need an interpreter of their own: a script that it runs, which answers line by line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def worker_command(python: str | Path, script: Path, recipe: str, *arguments: str | Path) -> list[str]:
    """What to run.

    Args:
        recipe: file that says how the interpreter is made.

    Raises:
        FileNotFoundError: the interpreter is missing.
    """
    interpreter = Path(python).absolute()  # not resolved: a virtual environment's interpreter is a link
    if not interpreter.exists():
        raise FileNotFoundError(f"no interpreter at {interpreter}. Make it with the commands at the top of {recipe}.")
    # -I: neither this package's paths nor the script's own directory, whose modules hide the library.
    return [str(interpreter), "-I", str(script), *map(str, arguments)]


def worker_environment() -> dict[str, str]:
    """The environment of one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@contextmanager
def start_worker(command: Sequence[str]) -> Iterator[tuple[str, Callable[[str], float]]]:
    """The first line that a worker prints once it is ready, and a function that asks it a line and returns a number.

    Raises:
        RuntimeError: the worker ended before its time.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=worker_environment(), **pipes) as worker:

        def answer() -> str:
            line = worker.stdout.readline()
            if not line:
                raise RuntimeError(f"the worker must answer. Received: its end, status {worker.wait()}.")
            return line

        def ask(name: str) -> float:
            worker.stdin.write(f"{name}\n")
            worker.stdin.flush()
            return float(answer())

        yield answer().strip(), ask


def time_in_turns(arms: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """[rounds] CPU seconds that each of two arms tells; who begins alternates."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in list(arms) if number % 2 else reversed(arms):
            seconds[name].append(arms[name]())
    return {name: np.array(values) for name, values in seconds.items()}
