"""Images for pre-training: a source of images becomes two arrays on disk, to train and to validate on.

The arrays are mapped into memory, so that batches are read at random through the page cache, every epoch has one order
of all images and a run can begin at any step. They must lie on a local disk: size * size * channels bytes an image.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Optional, Union

import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.artifacts import REJECTED_FILE
from recsys_ssl.encoders.image.cells import find_file
from recsys_ssl.encoders.image.files import RawImage, Rejection, load_all, read_images
from recsys_ssl.encoders.image.pixels import HEADER_BYTES, ImageError
from recsys_ssl.encoders.image.reading import ImageSize

SAVE_EVERY = 8192
"""Images of the source between two notes of how far they are written; what a killed run reads again at most."""
TRAIN_FILE, VALIDATION_FILE = "train.u8", "validation.u8"
"""[num_images, size, size, channels] uint8 in C order, without a header."""
_FILES = (TRAIN_FILE, VALIDATION_FILE, REJECTED_FILE)
_PROGRESS_FILE, _SUMMARY_FILE = "progress.json", "summary.json"
_FORMAT = 1
_TELL_EVERY = 2_000

Tell = Callable[[str, int, int], None]
"""Called now and then with the phase, the number of images done and of all."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of a source of images."""

    num_images: int
    num_train: int
    num_validation: int
    rejected: dict[str, int]
    """Reason -> images that gave no pixels for it."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Images of one size, mapped into memory, read only."""

    train: np.ndarray
    """[num_train, size, size, channels] uint8, in the order of the source."""
    validation: np.ndarray
    """[num_validation, size, size, channels] uint8."""
    summary: Summary
    directory: Path
    """With the arrays, and REJECTED_FILE: row, reason and name of what gave no image."""

    @property
    def name(self) -> str:
        """Changes with the source and the settings, see `prepare`."""
        return self.directory.name

    @property
    def rejected(self) -> dict[str, int]:
        """Reason -> number of images."""
        return self.summary.rejected


def prepare(
    source: Union[str, os.PathLike],
    directory: Union[str, os.PathLike],
    size: int,
    channels: int,
    seed: int,
    validation_share: float,
    workers: int = 1,
    tell: Tell = lambda *_: None,
    column: Optional[str] = None,
) -> Prepared:
    """Brings all images of a source to one size and writes them; goes on where an earlier call was killed.

    A subdirectory is taken by the source and the settings, so that other runs share it. Of pixels and of images within
    a table their content counts; of files, and archives, their names, sizes and times of change.

    Args:
        source: see `files.read_images`.
        size, channels: see `reading.ImageSize`.
        seed: of the images that are validated on: a hash of the pixels and the seed is below `validation_share`, so
            that equal images are on one side.
        validation_share: in [0, 1).
        workers: processes; see `chunks.map_chunks`.
        tell: hears of the phases "find images" and "read images".
        column: of a table, see `files.read_images`.

    Raises:
        FileNotFoundError, ValueError: see `files.read_images`; or a setting is out of bounds.
    """
    image_size = ImageSize(size, channels)
    if not 0 <= validation_share < 1:
        raise ValueError(f"validation_share must be in [0, 1). Received: {validation_share}. Use 0.05-0.2.")
    num_images, digest = _fingerprint(read_images(source, column), tell)
    facts = [_FORMAT, digest, size, channels, seed, validation_share]
    directory = Path(directory, hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16])
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / _SUMMARY_FILE).exists():
        writer = _Writer(directory, seed, validation_share)
        first = writer.num_images
        left = itertools.islice(read_images(source, column), first, None)
        told = _told(left, num_images, lambda done, most: tell("read images", done, most), first)
        writer.write(load_all(told, image_size, workers, first))
    return _open(directory, image_size)


def _open(directory: Path, size: ImageSize) -> Prepared:
    summary = artifacts.from_json(Summary, artifacts.read_text(directory / _SUMMARY_FILE))
    shape = (size.size, size.size, size.channels)
    train = _map(directory / TRAIN_FILE, (summary.num_train, *shape))
    validation = _map(directory / VALIDATION_FILE, (summary.num_validation, *shape))
    return Prepared(train, validation, summary, directory)


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    # An empty file cannot be mapped.
    return np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)


def _fingerprint(images: Iterable[RawImage], tell: Tell) -> tuple[int, str]:
    """The number of images, and a hash that changes when they do."""
    num_images, digest = 0, hashlib.sha256()
    for image in images:
        if num_images % _TELL_EVERY == 0:
            tell("find images", num_images, num_images)
        digest.update(f"{image.name}\n".encode("utf-8", "surrogateescape"))
        digest.update(_version(image))
        num_images += 1
    return num_images, digest.hexdigest()


def _version(image: RawImage) -> bytes:
    cell = image.cell
    if isinstance(cell, np.ndarray):
        return repr(cell.shape).encode() + cell.tobytes()
    if isinstance(cell, bytes):
        return hashlib.sha256(cell).digest()
    if cell[:5].lower() == "data:":
        return cell.encode("utf-8", "surrogateescape")
    try:
        status = os.stat(find_file(cell, image.directory).path)
        return f"{cell} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
    except ImageError as error:
        return f"{cell} {error.reason}\n".encode("utf-8", "surrogateescape")


def _told(
    images: Iterator[RawImage], num_images: int, tell: Callable[[int, int], None], first: int
) -> Iterator[RawImage]:
    for row, image in enumerate(images, start=first):
        if row % _TELL_EVERY == 0:
            tell(row, num_images)
        yield image


# --- Writing ---------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Progress:
    """How far the files are good; what is behind was not noted before a kill."""

    summary: Summary
    num_bytes: dict[str, int]
    """Of each of `_FILES`."""


class _Writer:
    """Appends images to the arrays, after those that an earlier call noted."""

    def __init__(self, directory: Path, seed: int, validation_share: float):
        self._directory, self._key = directory, str(seed).encode()
        self._limit = validation_share * 2.0**64
        self._counts = {TRAIN_FILE: 0, VALIDATION_FILE: 0}
        self._rejected: Counter[str] = Counter()
        self._num_bytes = dict.fromkeys(_FILES, 0)
        if (directory / _PROGRESS_FILE).exists():
            noted = artifacts.from_json(_Progress, artifacts.read_text(directory / _PROGRESS_FILE))
            self._counts = {TRAIN_FILE: noted.summary.num_train, VALIDATION_FILE: noted.summary.num_validation}
            self._rejected.update(noted.summary.rejected)
            self._num_bytes = noted.num_bytes

    @property
    def num_images(self) -> int:
        """Images of the source that are done."""
        return sum(self._counts.values()) + self._rejected.total()

    def write(self, results: Iterator[Union[bytes, Rejection]]) -> None:
        """Writes all that is left, and the summary last."""
        files = {name: _open_at(self._directory / name, end) for name, end in self._num_bytes.items()}
        try:
            while some := list(itertools.islice(results, SAVE_EVERY)):
                for result in some:
                    self._write(result, files)
                self._note(files)
        finally:
            for file in files.values():
                file.close()
        artifacts.write_text(self._directory / _SUMMARY_FILE, artifacts.to_json(self._summarise()))

    def _write(self, result: Union[bytes, Rejection], files: dict[str, BinaryIO]) -> None:
        if isinstance(result, Rejection):
            files[REJECTED_FILE].write(json.dumps(result._asdict()).encode() + b"\n")
            self._rejected[result.reason] += 1
            return
        number = int.from_bytes(hashlib.blake2b(result, digest_size=8, key=self._key).digest(), "little")
        name = VALIDATION_FILE if number < self._limit else TRAIN_FILE
        files[name].write(result[HEADER_BYTES:])
        self._counts[name] += 1

    def _note(self, files: dict[str, BinaryIO]) -> None:
        for name, file in files.items():
            file.flush()
            os.fsync(file.fileno())
            self._num_bytes[name] = file.tell()
        noted = _Progress(self._summarise(), self._num_bytes)
        artifacts.write_text(self._directory / _PROGRESS_FILE, artifacts.to_json(noted))

    def _summarise(self) -> Summary:
        num_train, num_validation = self._counts[TRAIN_FILE], self._counts[VALIDATION_FILE]
        return Summary(self.num_images, num_train, num_validation, dict(self._rejected))


def _open_at(path: Path, end: int) -> BinaryIO:
    """A file to append to, cut off at its good end."""
    file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115  (closed by whoever writes)
    file.truncate(end)
    file.seek(end)
    return file
