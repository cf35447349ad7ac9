"""Which files the paths of a spec mean; ingestion, its cache and the checks of a spec all ask here.

A path names a file, a directory, which stands for every file below it, or is a glob of either: `*`, `?` and `[...]`
stand for characters of one name, `**` for any number of directories. Only the path is a glob, never the data directory.
Names that begin with `_` or `.` are side files (`_SUCCESS`, `.part-0.crc`, `._events.csv`): they are left out unless
the path itself spells the mark.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from recsys_ssl.logs.batches import LogError

_MAGIC = re.compile(r"[*?\[]")
_SIDE_MARKS = ("_", ".")


class Found(NamedTuple):
    """A file that a path means."""

    path: str
    name: str
    """Relative to the data directory, with `/`; what rejects and messages call it."""
    num_bytes: int
    changed: float
    """Seconds since 1970; 0 where the file system does not tell."""


def find_files(paths: Sequence[str], data_dir: str, key: str) -> list[Found]:
    """The files of all paths, each once, in order of path.

    Local directories are followed through symbolic links; other file systems are those of Beam.

    Args:
        key: the key of the spec that holds the paths, for messages.

    Raises:
        LogError: a path matches no file, or `**` is not a part of its own; or a match cannot be read.
    """
    found: dict[str, Found] = {}
    for path in paths:
        matches = list(_find(path, data_dir, key))
        if not matches:
            raise LogError(f"{key}: no file matches {path!r} in {data_dir!r}. {_why_none(path, data_dir, key)}")
        found.update((match.path, match) for match in matches)
    return [found[path] for path in sorted(found)]


def _why_none(path: str, data_dir: str, key: str) -> str:
    left_out = next(_find(path, data_dir, key, side_files=True), None)
    if left_out is None:
        return "Check the path and the data directory."
    return (
        f"{left_out.name!r} is left out: names that begin with _ or . are side files, unless the path spells the mark. "
        "Name it, or rename it."
    )


def _find(path: str, data_dir: str, key: str, side_files: bool = False) -> Iterator[Found]:
    parts = _split(path)
    if _MAGIC.search(path) and FileSystems.exists(os.path.join(data_dir, *parts)):
        num_literal = len(parts)  # a name may hold the characters of a glob
    else:
        num_literal = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    glob = _Glob([_compile(part, key) for part in parts[num_literal:]], side_files)
    start = [data_dir, *parts[:num_literal]]
    if FileSystems.get_scheme(data_dir) is None:
        yield from _walk(os.path.join(*start), "/".join(parts[:num_literal]), glob)
    else:
        yield from _list(FileSystems.join(*start), len(FileSystems.join(data_dir, "")), glob)


def _split(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    spread: list[str] = []
    for part in parts:  # as `**.csv` is written by some
        spread += ["**", part[1:]] if part.startswith("**") and len(part) > 2 else [part]
    return spread


# --- Names -------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    text: str
    name: Optional[re.Pattern[str]]
    """None: any number of directories."""


class _Glob:
    """What is left of a path after its literal beginning; a state is the number of parts that are matched.

    The states that names lead to are followed together, so that a name is looked at once for each part.
    """

    def __init__(self, parts: Sequence[_Part], side_files: bool):
        self._parts, self._side_files = parts, side_files
        self.start = self._pass_stars([0])

    def matches(self, states: frozenset[int]) -> bool:
        """Whether a file is meant, or a directory with all files below it."""
        return len(self._parts) in states

    def step(self, states: frozenset[int], name: str) -> frozenset[int]:
        """The states after one more name; with none, nothing below the name can match."""
        plain = self._side_files or not name.startswith(_SIDE_MARKS)
        reached = []
        for state in states:
            if state == len(self._parts) or self._parts[state].name is None:
                reached += [state] if plain else []
            else:
                text, pattern = self._parts[state]
                if pattern.match(name) and (plain or text.startswith(name[0])):  # type: ignore[union-attr]
                    reached.append(state + 1)
        return self._pass_stars(reached)

    def _pass_stars(self, states: Sequence[int]) -> frozenset[int]:
        """With the states behind each `**`, which also stands for no directory."""
        passed = set(states)
        for state in range(len(self._parts)):
            if state in passed and self._parts[state].name is None:
                passed.add(state + 1)
        return frozenset(passed)


def _compile(part: str, key: str) -> _Part:
    if part == "**":
        return _Part(part, None)
    if "**" in part:
        raise LogError(f"{key}: `**` stands for directories. Received: {part!r}. Put it between slashes of its own.")
    # Its expressions do not go back over what a star has taken, so that no name takes long.
    return _Part(part, re.compile(fnmatch.translate(part.replace("[^", "[!"))))  # as shells take it


# --- File systems ------------------------------------------------------------------------------------


def _walk(start: str, name: str, glob: _Glob) -> Iterator[Found]:
    """The files of this machine; a directory that is met again below itself, by a link, is not entered."""
    pending = [(start, name, glob.start, frozenset[tuple[int, int]]())]
    while pending:
        path, name, states, above = pending.pop()
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if path == start:
                return
            raise LogError(f"{name}: this link leads to no file. Mend or remove it.") from error
        except OSError as error:
            raise LogError(f"{name}: this cannot be looked at: {error.strerror}. Check its permissions.") from error
        identity = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            if identity not in above:
                pending += [(*entry, above | {identity}) for entry in _enter(path, name, states, glob)]
        elif glob.matches(states):
            if not stat.S_ISREG(status.st_mode):
                raise LogError(f"{name}: this is no file but a pipe or a device. Name a file.")
            yield Found(path, name, status.st_size, status.st_mtime)


def _enter(path: str, name: str, states: frozenset[int], glob: _Glob) -> Iterator[tuple[str, str, frozenset[int]]]:
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise LogError(f"{name or path}: this cannot be listed: {error.strerror}. Check its permissions.") from error
    for below in names:
        reached = glob.step(states, below)
        if reached:
            yield os.path.join(path, below), f"{name}/{below}" if name else below, reached


def _list(start: str, len_root: int, glob: _Glob) -> Iterator[Found]:
    """The files of another file system, by its prefix."""
    matches = match_below(start, "**")
    if len(start) > len_root:  # it may be the file itself
        folder, name = start.rsplit("/", 1)
        matches += [match for match in match_below(folder, _MAGIC.sub("?", name)) if match.path == start]
    for match in matches:
        if match.path.endswith("/"):  # as some stores mark directories
            continue
        states = glob.start
        for name in match.path.removeprefix(start).split("/")[1:]:
            states = glob.step(states, name)
        if glob.matches(states):
            yield Found(match.path, match.path[len_root:], match.size_in_bytes, match.last_updated_in_seconds or 0)


def match_below(directory: str, pattern: str) -> list[FileMetadata]:
    """The files in a directory, whose name is no glob, that a glob of Beam matches."""
    quoted = _MAGIC.sub("?", directory.rstrip("/"))  # for which Beam's globs have no other way
    matches = FileSystems.match([f"{quoted}/{pattern}"])[0].metadata_list
    return [match for match in matches if match.path.startswith(f"{directory.rstrip('/')}/")]
