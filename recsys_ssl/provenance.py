"""What made an output of a stage: its manifest, by which outputs are known to be whole, equal or outdated."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from recsys_ssl import artifacts
from recsys_ssl.artifacts import MANIFEST_FILE, OUTDATED_FILE, DamagedError, PathLike, is_unfinished


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What made an output of a stage (manifest.json); equal manifests are of equal outputs.

    Attributes:
        stage: the command that makes it, e.g. `train --arm control`.
        spec: the feature spec.
        settings: the part of the settings that the stage reads.
        code: hash of the sources that made it, see `pipelines.source_code`.
        inputs: name -> digest, of the data for ingestion, else of the manifests of all stages before.
        files: path within the output -> bytes. It tells of damages only and is no part of the digest; None in manifests
            of earlier versions, and where TensorFlow writes.
    """

    stage: str
    spec: dict[str, Any]
    settings: dict[str, Any]
    code: str
    inputs: dict[str, str]
    files: Optional[dict[str, int]] = dataclasses.field(default=None, compare=False)

    @property
    def digest(self) -> str:
        facts = dataclasses.asdict(self)
        del facts["files"]
        return digest(json.dumps(facts, sort_keys=True))

    def write(self, *directories: PathLike) -> None:
        """Signs outputs, after all that they hold was written."""
        for directory in directories:
            signed = dataclasses.replace(self, files=_list_sizes(directory))
            artifacts.write_text(os.path.join(directory, MANIFEST_FILE), artifacts.to_json(signed))


def _list_sizes(directory: PathLike) -> Optional[dict[str, int]]:
    """The bytes of all files below a directory of the local disk, without its manifest."""
    if "://" in os.fspath(directory):
        return None
    files = (path for path in sorted(Path(directory).rglob("*")) if path.is_file() and not is_unfinished(path))
    sizes = {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}
    return {name: size for name, size in sizes.items() if name not in (MANIFEST_FILE, OUTDATED_FILE)}


def digest(text: str) -> str:
    """16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_manifest(directory: PathLike) -> Manifest:
    """What made an output.

    Raises:
        FileNotFoundError: it has no manifest: it is not there, or not whole.
        ValueError: the manifest is damaged.
    """
    path = os.path.join(directory, MANIFEST_FILE)
    text = artifacts.read_text(path)
    try:
        return artifacts.from_json(Manifest, text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged. Delete {os.fspath(directory)} and write it again.") from error


def read_whole(directory: PathLike) -> Manifest:
    """What made an output, of which every file is there as it was written; others may have been added.

    Raises:
        FileNotFoundError: it has no manifest: it is not there, or not whole.
        DamagedError: a file is missing, or has another size.
        ValueError: the manifest is damaged.
    """
    manifest = read_manifest(directory)
    if "://" in os.fspath(directory):
        return manifest
    for name, size in (manifest.files or {}).items():
        path = os.path.join(directory, name)
        try:
            found = os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedError(f"{path} is missing. {_run_again(directory, manifest)}") from None
        if found != size:
            raise DamagedError(
                f"{path} is damaged, or not whole. Received: {found:,} bytes of {size:,}. "
                f"{_run_again(directory, manifest)}"
            )
    return manifest


def _run_again(directory: PathLike, manifest: Manifest) -> str:
    if artifacts.find_store(directory):
        return artifacts.make_again(directory)
    return f"Run `recsys-ssl {manifest.stage}` again."


def load_saved_model(directory: PathLike):
    """A SavedModel.

    TensorFlow reads a vocabulary that is cut off as a shorter one, so the sizes of its manifest count where it has one.

    Raises:
        DamagedError: it cannot be read, or is not whole.
    """
    import tensorflow as tf

    with contextlib.suppress(FileNotFoundError):
        read_whole(directory)
    with artifacts.reading(directory):
        return tf.saved_model.load(os.fspath(directory))


def derive_manifest(
    stage: str, spec: Union[str, dict[str, Any]], settings: Any, code: str, inputs: Mapping[str, PathLike]
) -> Manifest:
    """The manifest of what a stage makes of others' outputs: their digests, and those of what they were made of.

    Args:
        spec: as JSON, or as it is in a manifest.
        settings: a dataclass, or a dict.
        inputs: name -> directory. One without a manifest counts by its absence.

    Raises:
        DamagedError: an input is not whole, see `read_whole`.
    """
    settings = settings if isinstance(settings, dict) else dataclasses.asdict(settings)
    digests: dict[str, str] = {}
    for name, directory in inputs.items():
        try:
            manifest = read_whole(directory)
        except FileNotFoundError:
            continue
        digests |= {**manifest.inputs, name: manifest.digest}
    # Through JSON, so that tuples are what they are once read.
    spec = json.loads(spec) if isinstance(spec, str) else spec
    return Manifest(stage, spec, json.loads(json.dumps(settings)), code, digests)


def outdate(*directories: PathLike) -> list[PathLike]:
    """Takes the manifests away from outputs of the local disk that are to be made again; returns which had one."""
    outdated = []
    for directory in directories:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.replace(os.path.join(directory, MANIFEST_FILE), os.path.join(directory, OUTDATED_FILE))
            outdated.append(directory)
    return outdated


def restore(*directories: PathLike) -> None:
    """Gives outputs that `outdate` took them from their manifests back."""
    for directory in directories:
        os.replace(os.path.join(directory, OUTDATED_FILE), os.path.join(directory, MANIFEST_FILE))
