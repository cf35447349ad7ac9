"""Files within tar and ZIP archives, read by an index that is made once per process."""

from __future__ import annotations

import functools
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Union

from recsys_ssl.encoders.image.pixels import ImageError

MAX_BYTES = 256 << 20
"""Of an encoded image; larger files are rejected unread."""

PACKED = re.compile(r"(?i)\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)$")
"""Names of archives that can only be read from their beginning."""
PACKED_ADVICE = "packed_archive: unpack it, or make it a .tar or .zip"
"""The reason for a file within such an archive, with what to do."""

_MOST_OPEN = 16
_PACKED_BEGINNINGS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


def read_member(path: str, name: str) -> bytes:
    """The bytes of a file within an archive.

    Raises:
        ImageError: `no_file`, the archive has no such file; `bad_archive`, it is damaged, no archive, or encrypted;
            `unreadable`, without permission; `too_large`, the file has more than MAX_BYTES; `corrupt`, it is damaged;
            PACKED_ADVICE.
    """
    archive = _find(path)
    if isinstance(archive, str):
        raise ImageError(archive)
    return archive.read(name)


def list_members(path: str) -> Iterator[str]:
    """The names of the files within an archive, in its order.

    Raises:
        ImageError: see `read_member`.
    """
    archive = _find(path)
    if isinstance(archive, str):
        raise ImageError(archive)
    return archive.names()


def _find(path: str) -> Union[_Tar, _Zip, str]:
    status = os.stat(path)
    return _open(path, status.st_size, status.st_mtime_ns, os.getpid())


@functools.lru_cache(maxsize=_MOST_OPEN)
def _open(path: str, num_bytes: int, changed_ns: int, process: int) -> Union[_Tar, _Zip, str]:
    """The open archive, or why there is none, which is not looked for again either.

    Args:
        num_bytes, changed_ns: so that one that was written again is opened again.
        process: a forked one shares the place in an open file with its parent, and needs a file of its own.
    """
    try:
        return _Tar(path) if path.lower().endswith(".tar") else _Zip(path)
    except PermissionError:
        return "unreadable"
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError):
        with open(path, "rb") as file:
            return PACKED_ADVICE if file.read(6).startswith(_PACKED_BEGINNINGS) else "bad_archive"


class _Span(NamedTuple):
    start: int
    num_bytes: int


class _Tar:
    """A tar archive: some 200 bytes of memory a file."""

    def __init__(self, path: str):
        self._spans: dict[str, _Span] = {}
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                if member.isreg() and not member.issparse():
                    self._spans[_plain(member.name)] = _Span(member.offset_data, member.size)
                tar.members = []  # type: ignore[attr-defined]  # which would hold all of them, a kilobyte each
        self._file = open(path, "rb")  # noqa: SIM115  (closed with the process, or when others are open)

    def names(self) -> Iterator[str]:
        return iter(self._spans)

    def read(self, name: str) -> bytes:
        span = self._spans.get(name)
        if span is None:
            raise ImageError("no_file")
        if span.num_bytes > MAX_BYTES:
            raise ImageError("too_large")
        return os.pread(self._file.fileno(), span.num_bytes, span.start)  # by which threads do not meet


class _Zip:
    """A ZIP archive: some kilobyte of memory a file."""

    def __init__(self, path: str):
        self._archive = zipfile.ZipFile(path)
        self._members = {_plain(member.filename): member for member in self._archive.infolist() if not member.is_dir()}

    def names(self) -> Iterator[str]:
        return iter(self._members)

    def read(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise ImageError("no_file")
        if member.file_size > MAX_BYTES:
            raise ImageError("too_large")
        try:
            return self._archive.read(member)
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or of a rare method
            raise ImageError("bad_archive") from error
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError) as error:
            raise ImageError("corrupt") from error


def _plain(name: str) -> str:
    """A name as paths of cells have it: archives of `tar -cf a.tar .` begin each with ./."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))
