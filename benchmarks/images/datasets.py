"""Fashion-MNIST, or any other data set of its form, from IDX files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import records

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_ADVICE = "Debian has them: apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist*.deb DIR."


class LabelledImages(NamedTuple):
    """A data set with classes."""

    train_images: np.ndarray
    """[num_train, size, size, 1] uint8."""
    train_labels: np.ndarray
    """[num_train] uint8."""
    test_images: np.ndarray
    """[num_test, size, size, 1] uint8."""
    test_labels: np.ndarray
    """[num_test] uint8."""

    @property
    def digest(self) -> str:
        """Names the content."""
        return records.hash_arrays(self)


def read_labelled(directory: Path) -> LabelledImages:
    """The four files of a directory, plain or .gz, or of one below it.

    Raises:
        ValueError: one is missing, damaged or does not fit the others.
    """
    arrays = {part: _read_idx(_find(directory, name)) for part, name in FILES.items()}
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.ndim != 3 or images.shape[1] != images.shape[2] or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{part} must have square images and as many labels. Received: {images.shape} and {labels.shape}. "
                "Get the files again."
            )
        arrays[f"{part}_images"] = images[..., np.newaxis]
    return LabelledImages(**arrays)


def _find(directory: Path, name: str) -> Path:
    found = sorted(path for end in ("", ".gz") for path in directory.rglob(f"{name}{end}"))
    if not found:
        raise ValueError(f"{directory} must hold {name}, plain or .gz. Received: no such file. {_ADVICE}")
    return found[0]


def _read_idx(path: Path) -> np.ndarray:
    """The array of uint8 of an IDX file: zero, zero, 8, number of dimensions; these, big-endian; then the values."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} must be an IDX file of bytes. Received: {content[:4]!r} first. {_ADVICE}")
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    if values.size != int(np.prod(shape)):
        raise ValueError(f"{path} must have {shape} values. Received: {values.size}. {_ADVICE}")
    return values.reshape(shape)
