"""Trials in processes of their own, each recorded as soon as it is done."""

from __future__ import annotations

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records


def run_all(
    pending: Sequence[Any],
    run: Callable[[Any], Any],
    path: Path,
    workers: int,
    start: Callable[[], None] | None = None,
) -> None:
    """Runs trials as `run_each` does; each is recorded as soon as it is done.

    Args:
        path: receives a line per trial, its `to_json()`.
        start: see `run_each`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    records.end_last_line(path)
    for progress, trial in run_each(pending, run, workers, start):
        with path.open("a", encoding="utf-8") as file:
            file.write(trial.to_json() + "\n")
        print(f"{progress}  {trial.describe()}", flush=True)


def run_each(
    pending: Sequence[Any], run: Callable[[Any], Any], workers: int, start: Callable[[], None] | None = None
) -> Iterator[tuple[str, Any]]:
    """Runs trials in processes of one thread, in order; yields how far it is and a trial once that is done.

    Args:
        run: trial -> the trial with what came out; it is pickled.
        start: prepares each process; None: `use_one_thread`, which loads TensorFlow.
    """
    started = time.monotonic()
    # A fresh process now and then frees what TensorFlow keeps of the graphs of finished trials.
    with multiprocessing.get_context("spawn").Pool(workers, start or use_one_thread, maxtasksperchild=25) as pool:
        for count, trial in enumerate(pool.imap_unordered(run, pending), start=1):
            minutes = (time.monotonic() - started) / 60
            left = minutes / count * (len(pending) - count)
            yield f"{count}/{len(pending)}  {minutes:.0f} min, {left:.0f} left", trial


def use_one_thread() -> None:
    """Two processes of one thread finish sooner than one process of two."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
