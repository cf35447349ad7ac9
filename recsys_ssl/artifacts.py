"""What stages leave on disk: its names, its JSON, and that a file or directory is there whole or not at all.

Everything is written beside its place, under a name that no other process of any host has, and then renamed: a worker
that is killed or retried, or two of them at once, leave one whole artifact.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import functools
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Optional, TypeVar, Union, cast

from pydantic import ConfigDict, TypeAdapter

# --- Names ---------------------------------------------------------------------------------------------

SUMMARY_FILE = "summary.json"
"""Of the interactions: what became of the log's records."""
ENCODING_FILE = "encoding.json"
"""Of a transformation: the encoded features that it makes."""
CORRELATIONS_FILE, HEAT_MAP_FILE = "correlations.json", "correlations.png"
TRAIN_RESULT_FILE = "train_result.json"
"""Of an arm's run."""
TRAIN_SETTINGS_FILE = "train_settings.json"
"""Of towers, and of the items that they embedded: the settings of their training."""
TRAIN_CAUTIONS_FILE = "train_cautions.json"
"""Beside the settings: sentences for whoever reads figures of the arm."""
INDEX_REPORT_FILE = "index.json"
"""Of an index: how it was built, what it recalls and how long it takes."""
REPORT_FILE, REPORT_PAGE = "report.json", "report.html"
PLACES_FILE = "places.json"
"""Of a working directory: where the parts of its recommender lie."""
ENCODER_DIR, PRETRAIN_RESULT_FILE = "encoder", "pretrain.json"
"""Of a pre-training's working directory."""
REJECTED_FILE = "rejected.jsonl"
"""SMILES that give no molecule, beside what was made of the others."""
MANIFEST_FILE = "manifest.json"
"""Of each output of a stage: what made it. It is written last."""
OUTDATED_FILE = "outdated.json"
"""The manifest of an output that is being made again, or would have been but for a kill."""

PathLike = Union[str, "os.PathLike[str]"]
Kind = TypeVar("Kind")


# --- JSON ----------------------------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """A dataclass, or dicts and lists of them, as the JSON of a file that people read too."""
    return dump_json(value, dataclasses.asdict, indent=2) + "\n"


def dump_json(value: Any, default: Callable[[Any], Any], indent: Optional[int] = None) -> str:
    """JSON that every parser reads: of NaN and infinities, for which it has no numbers, the names as text.

    Args:
        default: turns what JSON has no form for into what it has.
    """
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=default)
    except ValueError:
        return json.dumps(_name_infinite(value), indent=indent, ensure_ascii=False, allow_nan=False, default=default)


def _name_infinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else json.dumps(value)
    if isinstance(value, dict):
        return {_name_infinite(key): _name_infinite(of_key) for key, of_key in value.items()}
    if isinstance(value, (list, tuple)):
        return [_name_infinite(element) for element in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _name_infinite(dataclasses.asdict(value))
    return value


def from_json(kind: type[Kind], text: str) -> Kind:
    """The value that `to_json` wrote.

    Args:
        kind: the dataclass, or e.g. tuple[it, ...].

    Raises:
        ValueError: the text is no JSON, a key is unknown or missing, or a value has another type.
    """
    adapter: TypeAdapter[tuple[Kind]] = _adapter(cast(Hashable, kind))  # as every class and alias is
    return adapter.validate_json(f"[{text}]")[0]


@functools.cache
def _adapter(kind: Any) -> TypeAdapter:
    # Dataclasses within a tuple are refused unknown keys; for one by itself pydantic takes no such setting.
    return TypeAdapter(tuple[kind], config=ConfigDict(extra="forbid"))


# --- Files ---------------------------------------------------------------------------------------------


class FileSystem(NamedTuple):
    """What writing a file whole asks of the place where it lies."""

    create: Callable[[str], BinaryIO]
    """Opens a new file for writing."""
    make_dirs: Callable[[str], object]
    """Makes a directory and those above it, where they are missing."""
    replace: Callable[[str, str], object]
    """Renames a file to a name that another may have, which is gone then."""
    remove: Callable[[str], object]


def _create(path: str) -> BinaryIO:
    return open(path, "wb")


_LOCAL = FileSystem(
    create=_create,
    make_dirs=functools.partial(os.makedirs, exist_ok=True),
    replace=os.replace,
    remove=os.remove,
)


def _file_system(path: str) -> FileSystem:
    """The local disk; TensorFlow's file systems for a path such as gs://bucket/name."""
    if "://" not in path:
        return _LOCAL
    import tensorflow as tf  # not loaded by workers that write to the local disk

    return FileSystem(
        create=functools.partial(tf.io.gfile.GFile, mode="wb"),
        make_dirs=tf.io.gfile.makedirs,
        replace=functools.partial(tf.io.gfile.rename, overwrite=True),
        remove=tf.io.gfile.remove,
    )


def unfinished_name(path: PathLike) -> str:
    """A name beside `path` for what is being written: no process has it, on whatever host, whatever its id."""
    return f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"


_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.tmp$")


def is_unfinished(path: PathLike) -> bool:
    """Whether a name is one of `unfinished_name`: what is being written, or what a killed process left."""
    return _UNFINISHED.search(os.fspath(path)) is not None


def finished_name(path: PathLike) -> str:
    """The name that what is written under `path` will have."""
    return _UNFINISHED.sub("", os.fspath(path))


@contextlib.contextmanager
def whole_file(path: PathLike, file_system: Optional[FileSystem] = None) -> Iterator[str]:
    """Yields the name to write a file under, which becomes `path` at the end; after an error nothing is left.

    Args:
        file_system: where the file lies; the local disk or what TensorFlow reaches when None.
    """
    path = os.fspath(path)
    files = file_system or _file_system(path)
    if os.path.dirname(path):
        files.make_dirs(os.path.dirname(path))
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        files.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(Exception):  # it may not exist yet, and the first error says more
            files.remove(unfinished)
        raise


def write_bytes(path: PathLike, content: bytes, file_system: Optional[FileSystem] = None) -> None:
    """Writes a file whole or not at all; arguments as `whole_file`."""
    path = os.fspath(path)
    files = file_system or _file_system(path)
    with whole_file(path, files) as unfinished, files.create(unfinished) as file:
        file.write(content)


def write_text(path: PathLike, text: str, file_system: Optional[FileSystem] = None) -> None:
    """Writes a file of UTF-8 whole or not at all; arguments as `whole_file`."""
    write_bytes(path, text.encode("utf-8"), file_system)


def read_text(path: PathLike) -> str:
    """The text of a file on the local disk or where TensorFlow reaches.

    Raises:
        FileNotFoundError: there is none.
    """
    path = os.fspath(path)
    if "://" not in path:
        return Path(path).read_text(encoding="utf-8")
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path) as file:
            return file.read()
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error


def delete_file(path: PathLike) -> None:
    """Deletes a file on the local disk or where TensorFlow reaches; one that is not there is no error."""
    path = os.fspath(path)
    if "://" not in path:
        Path(path).unlink(missing_ok=True)
        return
    import tensorflow as tf

    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


# --- Damaged files ---------------------------------------------------------------------------------------

METADATA_FILE = "metadata.db"
"""Of the artifact store of whole runs: which executions made what."""


class DamagedError(ValueError):
    """A library cannot read what lies on disk; the message names it and says what to delete."""


@contextlib.contextmanager
def reading(path: PathLike, advice: Optional[str] = None) -> Iterator[None]:
    """Whatever a library raises while it reads `path` becomes a `DamagedError`, unless the system is to blame.

    Libraries raise many things at a file that is cut off: TensorFlow eight kinds of errors for one SavedModel.

    Args:
        advice: what to do; by default to have it made again.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        yield
    except Exception as error:
        if _is_of_the_system(error):
            raise
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        told = told if len(told) <= 200 else f"{told[:197]}..."
        raise DamagedError(
            f"{os.fspath(path)} is damaged, or not whole. Received: {told.rstrip('.')}. {advice or make_again(path)}"
        ) from error


def read_fields(path: PathLike, names: Sequence[str]) -> dict[str, Any]:
    """The fields of a JSON file, `names` among them.

    Raises:
        DamagedError: it is no JSON, or a field is missing.
    """
    with reading(path):
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
        missing = [name for name in names if name not in facts] if isinstance(facts, dict) else names
        if missing:
            raise ValueError(f"no {', '.join(missing)} in it")
    return facts


def _is_of_the_system(error: Exception) -> bool:
    if isinstance(error, (MemoryError, ImportError, DamagedError)):
        return True
    if type(error).__name__ == "ResourceExhaustedError" or "Op type not registered" in str(error):
        return True
    return isinstance(error, OSError) and error.errno not in (None, errno.ENOENT)


def make_again(path: PathLike) -> str:
    if store := find_store(path):
        return f"Delete {store} and run the same command again: training goes on at its checkpoints."
    return f"Delete {os.fspath(path)} and run the command that makes it again."


def find_store(path: PathLike) -> Optional[Path]:
    """The metadata of the artifact store that a path lies in."""
    stores = (parent / METADATA_FILE for parent in Path(path).absolute().parents)
    return next((store for store in stores if store.is_file()), None)


# --- Directories -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def whole_directory(path: PathLike, keep_older: bool = False) -> Iterator[Path]:
    """Yields an empty directory of the local disk, which replaces `path` at the end; after an error it is deleted.

    Whoever lists `path` meanwhile finds the old directory or the new one. On Linux they change places in one step;
    elsewhere the old is renamed first, and a process that is killed just then leaves it under its temporary name.

    Args:
        keep_older: whether a directory that is there already stays, as for several makers of the same.

    Raises:
        NotADirectoryError: see `require_place`.
    """
    path = Path(path)
    require_place(path)
    unfinished = Path(unfinished_name(path))
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        _put(unfinished, path, keep_older)
    finally:
        # What failed, or what the new directory changed places with.
        shutil.rmtree(unfinished, ignore_errors=True)


def require_place(path: PathLike) -> None:
    """Raises NotADirectoryError where `whole_directory` could not put a directory at the end of the work."""
    path = Path(path)
    if path.is_symlink():  # to whatever: no directory changes places with a link
        raise NotADirectoryError(f"{path} must be a directory. Received: a link. Move it away.")
    for place in (path, *path.parents):
        if place.is_file():
            raise NotADirectoryError(f"{place} must be a directory. Received: a file. Move it away.")


def copy_dir(source: PathLike, target: PathLike) -> None:
    """Replaces a directory of the local disk by a copy of another, if there is one, never leaving half of it."""
    if not os.path.isdir(source):
        return
    with whole_directory(target) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)


def _put(directory: Path, path: Path, keep_older: bool) -> None:
    replaced = []
    while True:
        try:
            os.rename(directory, path)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if keep_older or _exchange(directory, path):
            break
        replaced.append(unfinished_name(path))
        with contextlib.suppress(FileNotFoundError):  # another writer was first to rename it
            os.rename(path, replaced[-1])
    for old in replaced:
        shutil.rmtree(old, ignore_errors=True)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(left: Path, right: Path) -> bool:
    """Lets two names change places in one step, or returns False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE) == 0
