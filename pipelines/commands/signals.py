"""That Ctrl-C and SIGTERM end a command, whatever it is doing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

GRACE_S = 5.0
"""How long a command may take to end by itself."""
_ENDING = (signal.SIGINT, signal.SIGTERM)


class Ended(KeyboardInterrupt):
    """The process was told to end by a signal."""

    def __init__(self, number: int):
        super().__init__(number)
        self.status = 128 + number


def describe_end(status: int) -> str:
    """What a command says that a signal ended, by its exit status."""
    if status == 128 + signal.SIGTERM:
        return "ended by SIGTERM; run the same command to go on."
    return "interrupted. Run the same command again to go on."


@contextlib.contextmanager
def ends_on_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Ended` in the main thread; a process that then goes on is ended after `GRACE_S`.

    The exception alone would not do: Python drops it within destructors and callbacks, libraries may catch it, and
    nothing raises it while C++ runs. A second signal ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    watcher = _Watcher()
    before = {number: signal.signal(number, watcher.handle) for number in _ENDING}
    try:
        yield
    except Ended:
        watcher.is_told = True
        end_children()
        raise  # and the watcher stays: the interpreter may wait for threads of libraries
    except SystemExit as end:  # within, `Ended` was told of already
        watcher.is_told = end.code in [128 + number for number in _ENDING]
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if not watcher.is_told:
            watcher.stop()


class Stop:
    """Whether a signal told a server to end. No event of `threading`: setting one in a handler may wait for itself."""

    def __init__(self):
        self.is_told = False

    def wait(self, step_s: float = 0.1) -> None:
        """Returns when a signal came."""
        while not self.is_told:
            time.sleep(step_s)


@contextlib.contextmanager
def stops_on_signals() -> Iterator[Stop]:
    """What SIGINT and SIGTERM tell, within `ends_on_signals`: for a server, which ends at its own pace."""
    stop = Stop()

    def tell(number: int, frame: FrameType | None) -> None:
        stop.is_told = True

    wakeup = signal.set_wakeup_fd(-1)  # or the watcher would hear of the signal, too
    before = {number: signal.signal(number, tell) for number in _ENDING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)


class _Watcher:
    """A thread that hears of signals while the main thread is busy, and ends the process when that does not."""

    def __init__(self):
        self.is_told = False
        """Whether whoever handles `Ended` says so on the terminal."""
        self._received, self._sent = os.pipe()
        os.set_blocking(self._sent, False)
        self._terminal = os.dup(2)
        self._wakeup = signal.set_wakeup_fd(self._sent, warn_on_full_buffer=False)
        self._is_raised, self._is_watching = False, True
        os.register_at_fork(after_in_child=self._forget)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def handle(self, number: int, frame: FrameType | None) -> None:
        if not self._is_raised:
            self._is_raised = True
            raise Ended(number)

    def _forget(self) -> None:
        """A forked worker ends as any process, and what ends it is no signal to its parent."""
        if self._is_watching:
            self._is_watching = False
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def stop(self) -> None:
        self._is_watching = False
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._sent)
        self._thread.join()
        os.close(self._received)
        os.close(self._terminal)

    def _watch(self) -> None:
        while first := os.read(self._received, 1):  # the interpreter writes the numbers of signals
            if first[0] in _ENDING:
                break
        else:
            return
        select.select([self._received], [], [], GRACE_S)
        end_children()
        if not self.is_told:
            show_cursor = "\033[?25h\n" if os.isatty(self._terminal) else ""
            os.write(self._terminal, f"{show_cursor}error: {describe_end(128 + first[0])}\n".encode())
        os._exit(128 + first[0])


def end_children() -> None:
    """Ends the processes that this one and its children started, such as workers of Beam."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            # The name, in brackets, may hold anything.
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(path.parent.name))
    pending = [os.getpid()]
    while pending:
        children = parents.get(pending.pop(), [])
        pending += children
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
