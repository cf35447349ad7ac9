"""Runs a command line as a user would, within a time limit: its exit status and what it printed.

Most commands run in a fork of a process that has the libraries loaded, which saves the ten seconds of loading them;
the whole pipeline, scripts and whatever needs a shell are processes of their own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Optional

from benchmarks.claims import ROOT

_PROGRAM = "recsys-ssl"
_FORKED = {"clean", "embed", "finetune", "ingest", "new-spec", "transform", "validate-spec"}
_PRELOADED = [
    "apache_beam",
    "pipelines.commands.app",
    "pipelines.config",
    "pipelines.stages.ingest",
    "recsys_ssl.encoders.finetune",
    "recsys_ssl.encoders.molecule.embed",
    "recsys_ssl.encoders.molecule.predict",
    "recsys_ssl.encoders.store",
    "recsys_ssl.evaluation.cautions",
    "recsys_ssl.logs.transforms",
]


class Outcome(NamedTuple):
    """What came of a command."""

    status: Optional[int]
    """None: it ran past the limit and was killed."""
    output: str
    """Standard output and error together."""
    seconds: float


def run_command(command: str, directory: Path, limit_s: float) -> Outcome:
    """Runs one command line within a directory.

    Args:
        command: a line for a shell; `recsys-ssl` is that of this tree.
        limit_s: after these seconds the command and its children are killed.
    """
    words = shlex.split(command, comments=True)
    plain = words[0] == _PROGRAM and len(words) > 1 and not set("|&;<>$") & set(command)
    if plain and words[1] in _FORKED:
        return _fork(words, directory, limit_s)
    return _spawn(command, directory, limit_s)


def environment() -> dict[str, str]:
    """The variables of a command: this tree's modules, and the commands of the interpreter that runs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "NO_COLOR": "1"}
    # Unbuffered, a line that Python prints may have a line of TensorFlow in its midst.
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **quiet}


def _spawn(command: str, directory: Path, limit_s: float) -> Outcome:
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            process.wait()
            status = None
        output.seek(0)
        return Outcome(status, output.read(), time.perf_counter() - started)


def _fork(words: list[str], directory: Path, limit_s: float) -> Outcome:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    os.environ.update(environment())
    with tempfile.TemporaryDirectory() as scratch:
        path, ended = Path(scratch) / "output", Path(scratch) / "status"
        started = time.perf_counter()
        process = context.Process(target=_call, args=(words, str(directory), str(path), str(ended)))
        process.start()
        process.join(limit_s)
        late = process.is_alive()
        if late:
            _kill_group(process.pid)
            process.join()
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        # The fork server loses a status now and then, and says 255.
        status = int(ended.read_text()) if ended.exists() else process.exitcode
        return Outcome(None if late else status, text, time.perf_counter() - started)


def _kill_group(leader: int) -> None:
    """Kills a command with its children, all of one session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _call(words: list[str], directory: str, path: str, ended: str) -> None:
    """Within the fork: the command line's own entry, its output and its status in files."""
    os.setsid()
    os.chdir(directory)
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.argv = words
    from pipelines.commands.app import main

    try:
        main()
    except SystemExit as end:
        Path(ended).write_text(str(end.code or 0), encoding="utf-8")
        raise
