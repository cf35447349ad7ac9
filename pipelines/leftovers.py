"""What killed runs leave in a working directory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.locks import keep_free
from recsys_ssl import artifacts

_CHECKPOINT_PART = re.compile(r"ckpt-\d+_temp|checkpoint\.tmp[0-9a-f]{32}")
"""What TensorFlow writes before it renames it to a checkpoint, by its own names."""


class Leftover(NamedTuple):
    """A file or directory that nothing will read any more."""

    path: Path
    num_bytes: int
    what: str


class Found(NamedTuple):
    leftovers: list[Leftover]
    at_work: list[Path]
    """Directories below in which other commands are at work; what they hold is no leftover."""


@contextlib.contextmanager
def find_leftovers(workdir: Path) -> Iterator[Found]:
    """All that lies below a working directory in which no command is at work.

    Until the end none can begin in a working directory below it that was looked into.
    """
    with contextlib.ExitStack() as stack:
        found = Found([], [])
        _walk(workdir, workdir, frozenset(), stack, found)
        found.leftovers.extend(_find_executions(workdir))
        found.leftovers.sort()
        yield found


def remove(leftover: Leftover) -> None:
    """Deletes it; one that is gone already is no error."""
    if leftover.path.is_dir() and not leftover.path.is_symlink():
        shutil.rmtree(leftover.path, ignore_errors=True)
    else:
        leftover.path.unlink(missing_ok=True)


def _walk(directory: Path, workdir: Path, in_use: Collection[Path], stack: contextlib.ExitStack, found: Found) -> None:
    """Adds what has a description, and below what has none."""
    in_use = {*in_use, *_read_places(directory)}
    with os.scandir(directory) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False) and not keep_free(path, stack):
                found.at_work.append(path)
            elif what := _describe(path, path.relative_to(workdir), in_use):
                found.leftovers.append(Leftover(path, _count_bytes(path), what))
            elif entry.is_dir(follow_symlinks=False):
                _walk(path, workdir, in_use, stack, found)


def _describe(path: Path, below: Path, in_use: Collection[Path]) -> str:
    """What a leftover is; nothing for what is none.

    Args:
        below: its path within the working directory.
        in_use: what a recommender is made of.
    """
    if artifacts.is_unfinished(path):
        return "unfinished"
    if _CHECKPOINT_PART.fullmatch(path.name) and "checkpoints" in below.parts:
        return "part of a checkpoint"
    is_outdated = (path / artifacts.OUTDATED_FILE).is_file() and not (path / artifacts.MANIFEST_FILE).is_file()
    return "outdated, not made again" if is_outdated and path not in in_use else ""


def _read_places(directory: Path) -> Iterator[Path]:
    """What places.json names, wherever the directory was when it was written: each end of a path may be below it."""
    try:
        places = json.loads(artifacts.read_text(directory / artifacts.PLACES_FILE))
    except (FileNotFoundError, ValueError):
        return
    for place in places.values() if isinstance(places, dict) else ():
        parts = Path(str(place)).parts
        yield from (directory.joinpath(*parts[start:]) for start in range(len(parts)))


def _count_bytes(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


# --- Executions of the pipeline ------------------------------------------------------------------------


def _find_executions(workdir: Path) -> Iterator[Leftover]:
    """Outputs of executions that did not finish, by the metadata: without a living artifact, or another state."""
    root = workdir / "tfx"
    if not (root / artifacts.METADATA_FILE).is_file():  # of whose outputs nothing is known
        return
    from ml_metadata.proto import metadata_store_pb2

    store = _open_store(root)
    living = {
        _end_of(artifact.uri)
        for artifact in store.get_artifacts()
        if artifact.state == metadata_store_pb2.Artifact.LIVE
    }
    finished = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED
    ended = {str(execution.id) for execution in store.get_executions() if execution.last_known_state in finished}
    in_use = set(_read_places(workdir))
    outputs = [path for path in root.glob("*/*/[0-9]*") if _end_of(str(path)) not in living and path not in in_use]
    # What executions tell the runner, COMPONENT/.system/executor_execution/EXECUTION, and their working directories,
    # which the runner removes at the end.
    told = [path for path in root.glob("*/.system/executor_execution/*") if path.name not in ended]
    for path in sorted([*outputs, *told, *root.glob("*/.system/stateful_working_dir/*")]):
        if path.is_dir():
            yield Leftover(path, _count_bytes(path), "of an execution that did not finish")


def _end_of(path: str) -> str:
    """COMPONENT/OUTPUT/EXECUTION, which a move of the working directory does not change."""
    return "/".join(path.rstrip("/").split("/")[-3:])


def cancel_executions(workdir: Path) -> int:
    """Marks executions that were running when their process ended as cancelled, and returns their number."""
    root = workdir / "tfx"
    if not (root / artifacts.METADATA_FILE).is_file():
        return 0
    from ml_metadata.proto import metadata_store_pb2

    store = _open_store(root)
    running = metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING
    stale = [execution for execution in store.get_executions() if execution.last_known_state in running]
    for execution in stale:
        execution.last_known_state = metadata_store_pb2.Execution.CANCELED
    if stale:
        store.put_executions(stale)
    return len(stale)


def _open_store(root: Path):
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    path = root / artifacts.METADATA_FILE
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    with artifacts.reading(path):
        return MetadataStore(config)
