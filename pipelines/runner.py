"""Runs the pipeline on this machine with SQLite metadata, one terminal line per component."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence

from absl import logging as absl_logging
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from pipelines.components.publish import PUBLISHED
from pipelines.config import RunConfig
from pipelines.console import StageLines
from pipelines.retrieval import create_pipeline
from recsys_ssl import artifacts
from recsys_ssl.spec import FeatureSpec


def run_pipeline(
    spec: FeatureSpec, data_dir: str, workdir: str, config: RunConfig, beam_args: Sequence[str], lines: StageLines
) -> None:
    """Runs every component whose inputs, properties or code changed; the others come from TFX's cache.

    A run that was killed goes on at the component that was running; training goes on at its last checkpoint.
    """
    check_metadata(os.path.join(workdir, "tfx", artifacts.METADATA_FILE))
    for name in PUBLISHED:
        artifacts.require_place(os.path.join(workdir, name))
    with _follow(lines):
        LocalDagRunner().run(create_pipeline(spec, data_dir, workdir, config, beam_args))


def check_metadata(path: str) -> None:
    """Raises DamagedError where SQLite cannot read the metadata of earlier runs; None may be there yet."""
    if not os.path.exists(path):
        return
    advice = f"Delete {path} and run the same command again: training goes on at its checkpoints, all else runs anew."
    with artifacts.reading(path, advice), contextlib.closing(sqlite3.connect(path)) as store:
        (found,) = store.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)


@contextlib.contextmanager
def _follow(lines: StageLines) -> Iterator[None]:
    """Shows what the runner logs about its components."""
    handler = _ComponentLog(lines)
    logger = absl_logging.get_absl_logger()
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        absl_logging.set_verbosity(verbosity)


class _ComponentLog(logging.Handler):
    """Reads component starts, cache hits and ends from the messages of LocalDagRunner and its launcher."""

    _STARTS = re.compile(r"Component (\S+) is running\.")
    _ENDS = re.compile(r"Component (\S+) is finished\.")
    _CACHED = re.compile(r"A cached execution \d+ is used\.")

    def __init__(self, lines: StageLines):
        super().__init__(logging.INFO)
        self._lines, self._cached = lines, False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if start := self._STARTS.fullmatch(message):
            self._cached = False
            self._lines.start(start[1])
        elif self._CACHED.fullmatch(message):
            self._cached = True
        elif self._ENDS.fullmatch(message):
            mark, note = ("[dim]=[/dim]", "from the cache") if self._cached else ("[green]✓[/green]", "")
            self._lines.finish(mark, note)
