"""What killed runs leave in a working directory."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from recsys_ssl import artifacts

_CHECKPOINT_PART = re.compile(r"_temp$|^checkpoint\.tmp")
"""What TensorFlow writes before it renames it to a checkpoint."""


class Leftover(NamedTuple):
    """A file or directory that nothing will read any more."""

    path: Path
    num_bytes: int
    what: str


def find_leftovers(workdir: Path) -> list[Leftover]:
    """All that lies below a working directory in which no command is at work."""
    found = [*_walk(workdir, _describe), *_find_executions(workdir)]
    return sorted(found)


def remove(leftover: Leftover) -> None:
    """Deletes it; one that is gone already is no error."""
    if leftover.path.is_dir() and not leftover.path.is_symlink():
        shutil.rmtree(leftover.path, ignore_errors=True)
    else:
        leftover.path.unlink(missing_ok=True)


def _walk(directory: Path, describe: Callable[[Path], str]) -> Iterator[Leftover]:
    """What has a description, and below what has none."""
    with os.scandir(directory) as entries:
        for entry in entries:
            path = Path(entry.path)
            if what := describe(path):
                yield Leftover(path, _count_bytes(path), what)
            elif entry.is_dir(follow_symlinks=False):
                yield from _walk(path, describe)


def _describe(path: Path) -> str:
    if artifacts.is_unfinished(path):
        return "unfinished"
    if _CHECKPOINT_PART.search(path.name) and "checkpoints" in path.parts:
        return "part of a checkpoint"
    is_outdated = (path / artifacts.OUTDATED_FILE).is_file() and not (path / artifacts.MANIFEST_FILE).is_file()
    return "outdated, not made again" if is_outdated else ""


def _count_bytes(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


# --- Executions of the pipeline ------------------------------------------------------------------------


def _find_executions(workdir: Path) -> Iterator[Leftover]:
    """Outputs below tfx/COMPONENT/OUTPUT/EXECUTION that the metadata have no living artifact of."""
    root = workdir / "tfx"
    if not (root / artifacts.METADATA_FILE).is_file():  # of whose outputs nothing is known
        return
    from ml_metadata.proto import metadata_store_pb2

    living = {
        _end_of(artifact.uri)
        for artifact in _open_store(root).get_artifacts()
        if artifact.state == metadata_store_pb2.Artifact.LIVE
    }
    published = workdir / artifacts.PLACES_FILE
    places = published.read_text(encoding="utf-8") if published.is_file() else ""
    for path in sorted([*root.glob("*/*/[0-9]*"), *root.glob("*/.system/*/*")]):
        if path.is_dir() and _end_of(str(path)) not in living and _end_of(str(path)) not in places:
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
