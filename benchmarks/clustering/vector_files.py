"""Vectors of one encoder with one seed, and their labels: ARM-SEED.npz in a directory.

Arrays: train [num_train, dim], train_labels [num_train], test [num_test, dim], test_labels [num_test].
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recsys_ssl import artifacts

PARTS = ("train", "test")
_NAMES = tuple(name for part in PARTS for name in (part, f"{part}_labels"))
_FILE = re.compile(r"(?P<arm>[a-z0-9_]+)-(?P<seed>\d+)\.npz")


class VectorFile(NamedTuple):
    """A file by its name."""

    path: Path
    arm: str
    seed: int


class Vectors(NamedTuple):
    """What one holds."""

    train: np.ndarray
    """[num_train, dim] float32."""
    train_labels: np.ndarray
    """[num_train] str."""
    test: np.ndarray
    """[num_test, dim] float32."""
    test_labels: np.ndarray
    """[num_test] str."""

    @property
    def digest(self) -> str:
        """Names the content."""
        found = hashlib.sha256()
        for array in self:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]


def list_files(directory: Path, arms: Sequence[str]) -> list[VectorFile]:
    """The files of a directory, in the order of the arms, then of the seeds.

    Raises:
        ValueError: there is none, or a name is no ARM-SEED.npz of one of the arms.
    """
    files = []
    for path in sorted(directory.glob("*.npz")):
        match = _FILE.fullmatch(path.name)
        if match is None or match["arm"] not in arms:
            raise ValueError(
                f"vectors must be in files ARM-SEED.npz, ARM one of {', '.join(arms)}. Received: {path}. Rename it."
            )
        files.append(VectorFile(path, match["arm"], int(match["seed"])))
    if not files:
        raise ValueError(f"{directory} must hold files ARM-SEED.npz. Received: none. Name the directory that has them.")
    return sorted(files, key=lambda file: (arms.index(file.arm), file.seed))


def read(path: Path) -> Vectors:
    """The content of a file.

    Raises:
        ValueError: an array is missing, does not fit the others, or is not finite.
    """
    with artifacts.reading(path, "Save it again by numpy.savez, without objects."):
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        missing = [name for name in _NAMES if name not in arrays]
        if missing:
            raise ValueError(f"no {', '.join(missing)} in it")
    vectors = {part: arrays[part].astype(np.float32) for part in PARTS}
    labels = {f"{part}_labels": arrays[f"{part}_labels"].astype(str) for part in PARTS}
    for part in PARTS:
        own = vectors[part]
        if own.ndim != 2 or own.shape[1:] != vectors["train"].shape[1:] or len(own) != len(labels[f"{part}_labels"]):
            raise ValueError(
                f"{part} must be [rows, dim], as wide as train, with a label a row. Received: {own.shape} and "
                f"{labels[f'{part}_labels'].shape} labels in {path}. Save both again."
            )
        if not np.isfinite(own).all():
            raise ValueError(f"vectors must be finite. Received: others in {part} of {path}. Embed again.")
    return Vectors(**vectors, **labels)


def write(directory: Path, arm: str, seed: int, vectors: Vectors) -> Path:
    """Writes ARM-SEED.npz whole or not at all."""
    path = directory / f"{arm}-{seed}.npz"
    with artifacts.whole_file(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, **vectors._asdict())
    return path


def split(vectors: np.ndarray, labels: np.ndarray, is_test: np.ndarray) -> Vectors:
    """Both parts of rows [num_rows, dim] with labels [num_rows] str."""
    rows = vectors.astype(np.float32)
    return Vectors(rows[~is_test], labels[~is_test], rows[is_test], labels[is_test])
