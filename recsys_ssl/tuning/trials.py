"""Trials in a storage that many processes share: who works on which, and which were left by a process that ended.

A trial has a slot, its place in the search. A process claims a slot by creating a trial that names it and then looks
whether an earlier one has claimed the same: storages number trials in one order that all processes see, so that of two
claims the earlier one holds, without a lock. What a killed process left gives its slot free.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Optional, Union

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

SLOT = "slot"
"""The attribute of a trial that holds its place in the search, counted from 0."""
OWNER, BEAT, REASON, DIED, VOID, REPEATS = "owner", "beat", "reason", "died", "void", "repeats"
"""Attributes of a trial: who works on it, when they last said so, why it failed, that its process ended or that its
slot was claimed before, and the slot of which it repeats the settings."""
MOST_DEATHS = 3
"""Processes that may end at one slot; then it counts as a trial that failed, since it may be what ends them."""
_BEAT_S, _GRACE_S = 30.0, 300.0


def open_storage(url: Union[str, os.PathLike, None]) -> BaseStorage:
    """A database by its URL, or a journal file by its path, made where there is none; None: memory of this process.

    Raises:
        ValueError: the database cannot be reached.
    """
    if url is None:
        return optuna.storages.InMemoryStorage()
    url = os.fspath(url)
    if "://" not in url:
        Path(url).parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileSymlinkLock(url)
        _end_last_line(url, lock)
        return JournalStorage(JournalFileBackend(url, lock_obj=lock))
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # Many processes write to one file of SQLite in turn.
        arguments = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else None
        # As a study would wrap it: there must be one cache.
        return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=arguments))
    except (ImportError, optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        # The message of the library may hold the password.
        raise ValueError(
            f"--storage must be the path of a file, or the URL of a database that is reached. Received: "
            f"{url.partition('://')[0]}://..., {type(error).__name__}. Check host, name, password and driver."
        ) from None


def _end_last_line(path: str, lock: JournalFileSymlinkLock) -> None:
    """Removes a line that a power cut left without its end; what is written next would be lost with it."""
    if not os.path.exists(path):
        return
    lock.acquire()
    try:
        content = Path(path).read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


class Ledger:
    """The trials of one study."""

    def __init__(self, storage: BaseStorage, name: str):
        self._storage, self._study_id = storage, storage.get_study_id_from_name(name)

    def list_trials(self) -> list[FrozenTrial]:
        """The trials that count, by their numbers: those that run and those that have ended, whatever their end."""
        return [trial for trial in self._read() if _counts(trial)]

    def _read(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def claim(self, slots: Iterable[str]) -> Optional[int]:
        """Begins a trial at the first slot that is free and returns its id; None where there is none now.

        Trials whose process ended are released first.
        """
        self.release_dead()
        taken = {trial.user_attrs[SLOT] for trial in self.list_trials()}
        for slot in slots:
            if slot in taken:
                continue
            owner = {SLOT: slot, OWNER: _describe_process(), BEAT: time.time()}
            template = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=owner)
            trial_id = self._storage.create_new_trial(self._study_id, template_trial=template)
            number = self._storage.get_trial(trial_id).number
            rivals = [t for t in self.list_trials() if t.user_attrs[SLOT] == slot and t.number < number]
            if not rivals:
                return trial_id
            self._end(trial_id, VOID, f"another process began slot {slot} before")
        return None

    def release_dead(self, interrupted: bool = False) -> None:
        """Marks trials whose process has ended, so that their slots are free; see `MOST_DEATHS`.

        Args:
            interrupted: whether the processes were ended on purpose, which says nothing of their trials.
        """
        trials = self._read()
        deaths = Counter(trial.user_attrs[SLOT] for trial in trials if DIED in trial.user_attrs)
        for trial in trials:
            if trial.state is not TrialState.RUNNING or not _is_dead(trial.user_attrs):
                continue
            slot = trial.user_attrs[SLOT]
            if interrupted:
                self.release(trial._trial_id)
            elif deaths[slot] + 1 < MOST_DEATHS:
                self._end(trial._trial_id, DIED, "its process ended")
            else:
                self._end(trial._trial_id, REASON, f"its process ended, as {MOST_DEATHS - 1} did before at it")

    def release(self, trial_id: int) -> None:
        """Gives a slot free whose trial was interrupted."""
        self._end(trial_id, VOID, "interrupted")

    def _end(self, trial_id: int, attribute: str, reason: str) -> None:
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another process was first
            self._storage.set_trial_user_attr(trial_id, attribute, reason)
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)

    @contextlib.contextmanager
    def beating(self, trial_id: int) -> Iterator[None]:
        """Says every half minute that a trial is being worked on, for processes of other machines."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(_BEAT_S):
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                    self._storage.set_trial_user_attr(trial_id, BEAT, time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _counts(trial: FrozenTrial) -> bool:
    return DIED not in trial.user_attrs and VOID not in trial.user_attrs


def _describe_process() -> dict[str, Any]:
    """This process as those of the same machine, and of the same container there, can look for it."""
    return {"host": _host(), "pid": os.getpid(), "started": _started(os.getpid())}


def _host() -> str:
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> Optional[str]:
    """When a process began, in ticks; another one may have its id later. None: there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _is_dead(attributes: dict[str, Any]) -> bool:
    """Whether the process of a trial has ended: looked up on this machine, else by its silence."""
    owner = attributes[OWNER]
    if owner["host"] == _host():
        return _started(owner["pid"]) != owner["started"]
    return time.time() - attributes[BEAT] > _GRACE_S
