"""Processes that work on one study: started, watched, and started again where one is killed."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Literal, Optional

from recsys_ssl.tuning.config import Objective, SearchConfig, SearchError
from recsys_ssl.tuning.results import Found
from recsys_ssl.tuning.space import Space
from recsys_ssl.tuning.study import Study
from recsys_ssl.tuning.trials import MOST_DEATHS, open_storage

Phase = Literal["search", "rescore"]
Tell = Callable[[Phase, Found], None]
_POLL_S = 1.0
_TRIALS_OF_A_PROCESS = 25
"""A fresh process now and then frees what libraries keep of trials that have ended."""
_AGAIN = 64
"""Exit status of a process that has had its share of trials."""


@dataclass(frozen=True)
class Search:
    """A study as its processes are told of it.

    Attributes:
        storage: see `trials.open_storage`.
        name: of the study.
        about, most_reports: see `Study`.
    """

    storage: str
    name: str
    about: str
    space: Space
    config: SearchConfig
    larger_is_better: bool
    most_reports: Optional[int] = None

    def open(self) -> Study:
        storage = open_storage(self.storage)
        facts = self.name, self.about, self.space, self.config, self.larger_is_better, self.most_reports
        return Study(storage, *facts)


def run(
    search: Search,
    make_objective: Callable[[int], Objective],
    jobs: int,
    seconds: Optional[float] = None,
    tell: Optional[Tell] = None,
) -> Found:
    """Searches and scores the best anew, in processes of their own; what others do on the same study counts too.

    Args:
        make_objective: number of processes that share the machine -> the training function; it is pickled.
        jobs: processes.
        seconds: after which no trial of the search is begun; the best are scored anew all the same.
        tell: hears of the study whenever a trial has ended.

    Raises:
        SearchError: the first trials all failed, or none succeeded.
        Exception: a process failed; its own error. Trials that were running are run again by the next call.
    """
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    _run_phase("search", search, make_objective, jobs, deadline, tell)
    _run_phase("rescore", search, make_objective, jobs, math.inf, tell)
    found = search.open().read(with_importance=True)
    if found.best is None:
        reasons = [trial.reason for trial in found.trials if trial.reason]
        reasons += [reason for candidate in found.candidates for reason in candidate.reasons]
        succeeded = sum(trial.state == "complete" for trial in found.trials)
        told = f" The last that failed: {reasons[-1]}" if reasons else " Give more time or more trials."
        raise SearchError(
            f"a trial must succeed, and with every fresh seed. Received: {len(found.ended)} trials that ended, "
            f"{succeeded} that succeeded once.{told}"
        )
    return found


def _run_phase(
    phase: Phase,
    search: Search,
    make_objective: Callable[[int], Objective],
    jobs: int,
    deadline: float,
    tell: Optional[Tell],
) -> None:
    context, study = multiprocessing.get_context("spawn"), search.open()
    working: list[tuple[BaseProcess, Connection]] = []

    def start() -> None:
        receiver, sender = context.Pipe(duplex=False)
        seconds = None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())
        arguments = (phase, search, make_objective, jobs, seconds, sender, os.getpid())
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        sender.close()
        working.append((process, receiver))

    ended, crashes = -1, 0
    try:
        for _ in range(jobs):
            start()
        while working:
            multiprocessing.connection.wait([process.sentinel for process, _ in working], timeout=_POLL_S)
            found = study.read()
            now_ended = len(found.ended) + sum(len(each.scores) for each in found.candidates)
            if now_ended != ended:
                ended, crashes = now_ended, 0
                if tell is not None:
                    tell(phase, found)
            for process, receiver in [each for each in working if each[0].exitcode is not None]:
                working.remove((process, receiver))
                error = _receive(receiver)
                if error is not None:
                    raise error
                if process.exitcode not in (0, _AGAIN):
                    crashes += 1
                    _check_crashes(crashes, process)
                if process.exitcode != 0:
                    start()
    finally:
        for process, receiver in working:
            process.kill()
            process.join()
            receiver.close()
        study.release_interrupted()


def _receive(receiver: Connection) -> Optional[Exception]:
    """The error that a process ended with."""
    with receiver:
        try:
            return pickle.loads(receiver.recv_bytes()) if receiver.poll() else None
        except EOFError:
            return None


def _check_crashes(crashes: int, process: BaseProcess) -> None:
    if crashes > MOST_DEATHS:
        raise RuntimeError(
            f"a process of a search must end a trial. Received: {crashes} ended one after the other without, the last "
            f"with status {process.exitcode}. A status of -9 is mostly for want of memory: take fewer --jobs, or a "
            "space of smaller models."
        )


def _work(
    phase: Phase,
    search: Search,
    make_objective: Callable[[int], Objective],
    jobs: int,
    seconds: Optional[float],
    sender: Connection,
    parent: int,
) -> None:
    """What a process does: its share of trials; it ends with its parent, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)
    try:
        begun = time.monotonic()
        objective = make_objective(jobs)
        study = search.open()
        if phase == "search":
            left = None if seconds is None else seconds - (time.monotonic() - begun)
            count = study.search(objective, left, most=_TRIALS_OF_A_PROCESS)
        else:
            count = study.rescore(objective, most=_TRIALS_OF_A_PROCESS)
    except Exception as error:
        sender.send_bytes(_pickle(error))
        raise
    raise SystemExit(_AGAIN if count == _TRIALS_OF_A_PROCESS else 0)


_PR_SET_PDEATHSIG = 1


def _end_with(parent: int) -> None:
    """Has the system kill this process when its parent ends, however that does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), signal.SIGKILL)


def _pickle(error: Exception) -> bytes:
    """An error for another process; by its text where that has no class for it."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return content
