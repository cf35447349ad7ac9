"""One command at a time in a working directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

LOCK_FILE = "lock"


class LockedError(ValueError):
    """Another process is at work in the working directory."""


@contextlib.contextmanager
def locked(workdir: Path, command: str, part: str | None = None) -> Iterator[None]:
    """Keeps other commands out of a working directory; the system lets go of it when the process ends, however.

    Args:
        part: what the command writes to, when it leaves the rest alone: commands with other parts may run beside it.

    Raises:
        LockedError: another command is at work there.
        ValueError: the lock is a directory.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        _take(stack, workdir / LOCK_FILE, command, fcntl.LOCK_EX if part is None else fcntl.LOCK_SH)
        if part is not None:
            _take(stack, workdir / f"{LOCK_FILE}.{part}", command, fcntl.LOCK_EX)
        yield


def keep_free(directory: Path, stack: contextlib.ExitStack) -> bool:
    """Whether no command is at work in a directory; none begins there until the stack ends."""
    try:
        file = stack.enter_context((directory / LOCK_FILE).open(encoding="utf-8"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no lock, thus no working directory; a file system without locks
        return True
    return True


def _take(stack: contextlib.ExitStack, path: Path, command: str, kind: int) -> None:
    try:
        file = stack.enter_context(path.open("a+", encoding="utf-8"))
    except IsADirectoryError:
        raise ValueError(f"{path} must be a file, which commands lock. Received: a directory. Move it away.") from None
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(
            f"one command at a time may work in {path.parent}. Received: {_read_holder(path)} is at work there. "
            "Wait for it, end it, or name another --workdir."
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a file system without locks
            return
        raise
    stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
    # A forked worker would hold the lock beyond a kill of this process.
    os.register_at_fork(after_in_child=file.close)
    if kind == fcntl.LOCK_EX:
        file.truncate(0)
        file.write(f"process {os.getpid()}, `recsys-ssl {command}`, since {datetime.now():%Y-%m-%d %H:%M:%S},")
        file.flush()


def _read_holder(path: Path) -> str:
    """Who holds a lock, or, where it is shared, the lock of a part."""
    for each in (path, *sorted(path.parent.glob(f"{LOCK_FILE}.*"))):
        with each.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read() or "another process"
    return "another process"
