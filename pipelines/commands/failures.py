"""What a person reads when a command fails: one message that says what to do."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.commands.signals import Ended, describe_end


class _Trouble(NamedTuple):
    """A failure of the system, not of the input: how it is known, and what to say and to do."""

    errnos: frozenset[int]
    text: re.Pattern[str]
    """How libraries in C++ and workers in other processes tell of it."""
    what: str
    advice: str


_SYSTEM = (
    _Trouble(
        frozenset({errno.ENOSPC, errno.EDQUOT}),
        re.compile(r"No space left on device|Disk quota exceeded|database or disk is full"),
        "the disk is full",
        "Free some space, e.g. by `recsys-ssl clean --workdir DIR`, and run the same command again.",
    ),
    _Trouble(
        frozenset({errno.EMFILE, errno.ENFILE}),
        re.compile(r"Too many open files"),
        "too many files are open",
        "Raise the limit, e.g. `ulimit -n 4096`, and run the same command again.",
    ),
    _Trouble(
        frozenset({errno.EAGAIN}),
        re.compile(
            r"can't start new thread|Resource temporarily unavailable|pthread_create|[Tt]hread creation .*failed"
        ),
        "no more threads or processes can be started",
        "Raise the limit (`ulimit -u`, or the container's) or give fewer --workers, and run the same command again.",
    ),
    _Trouble(
        frozenset({errno.ENOMEM}),
        re.compile(r"bad_alloc|Cannot allocate memory|OOM when allocating|[Oo]ut of memory|MemoryError|malloc of size"),
        "there is not enough memory",
        "Close other programs or take a larger machine; a smaller train.batch_size or ingest.rows_per_batch, and a "
        "larger ingest.num_partitions, need less. Then run the same command again.",
    ),
    _Trouble(
        frozenset({errno.EACCES, errno.EPERM, errno.EROFS}),
        re.compile(r"Permission denied|Read-only file system|Operation not permitted|readonly database"),
        "a file or directory cannot be read or written",
        "Change its permissions, or name another place.",
    ),
    _Trouble(
        frozenset({errno.EIO, errno.ESTALE}),
        re.compile(r"Input/output error|Stale file handle"),
        "the disk or the network drive fails",
        "Check it, and run the same command again.",
    ),
)
_WITHIN = re.compile(r"^\S*(?:DamagedError|LogError): ([^\n]*?)(?: \[while running [^\n]*)?$", re.MULTILINE)
"""An error of this project within the trace that a worker sends."""


def explain(error: BaseException, log_path: Path) -> tuple[str, int]:
    """A message of what failed and what to do, and the exit status."""
    if isinstance(error, Ended):
        return describe_end(error.status), error.status
    if isinstance(error, KeyboardInterrupt):
        return describe_end(130), 130
    system = explain_plainly(error)
    return system or f"{type(error).__name__}: {error}\nThe whole story is in {log_path}.", 1


def explain_plainly(error: BaseException) -> str | None:
    """A message that says what to do; None for a library's, of which more must be known."""
    if _is_own(error):
        return str(error)
    if told := _WITHIN.search(str(error)):
        return told[1]
    if system := explain_system(error):
        return system
    if isinstance(error, OSError) and error.filename is not None and error.strerror and _is_raised_here(error):
        return f"{error.strerror}: {error.filename}. Check the path."
    return None


def explain_system(error: BaseException) -> str | None:
    """One line on a failure of the system, such as a full disk; None when it is none."""
    for cause in _causes(error):
        number, text = getattr(cause, "errno", None), f"{type(cause).__name__}: {cause}"
        # The texts of this project and of files may hold any words.
        is_told = number is None and not _is_own(cause)
        for trouble in _SYSTEM:
            found = trouble.text.search(text) if is_told else None
            if (isinstance(cause, OSError) and number in trouble.errnos) or found:
                detail = _detail(cause, text, found)
                return f"{trouble.what} ({detail}). {trouble.advice}"
    return None


def _detail(cause: BaseException, text: str, found: re.Match[str] | None) -> str:
    """The file, where there is one, else the line that tells."""
    name = getattr(cause, "filename", None)
    if name:
        return f"{getattr(cause, 'strerror', None) or type(cause).__name__}: {name}"
    if not found:
        return str(cause)
    start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    line = text[start : end if end >= 0 else None].strip()
    return line if len(line) <= 200 else f"{line[:197]}..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was raised from or while handling, up to one `from None`."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _is_own(error: BaseException) -> bool:
    """Whether an error was raised by a source of `pipelines` or `recsys_ssl`, with a message for people."""
    # What Python's own functions raise has a number, and the frame of their caller.
    has_message = isinstance(error, (OSError, ValueError)) and getattr(error, "errno", None) is None
    return has_message and _is_raised_here(error)


def _is_raised_here(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and _is_ours(frames[-1].f_code.co_filename)


def _is_ours(source: str) -> bool:
    root = Path(__file__).resolve().parent.parent.parent
    return any(Path(source).resolve().is_relative_to(root / package) for package in ("pipelines", "recsys_ssl"))
