"""Vectors of one encoder with one seed, and their labels: ARM-SEED.npz in a directory, or in one below it.

The name of a directory below is the budget of its encoders, 0 for what was not trained. Arrays: train [num_train, dim],
train_labels [num_train], test [num_test, dim], test_labels [num_test].
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.clustering.arms import Domain
from recsys_ssl import artifacts

PARTS = ("train", "test")
_NAMES = tuple(name for part in PARTS for name in (part, f"{part}_labels"))
_FILE = re.compile(r"(?P<arm>[a-z0-9_]+)-(?P<seed>\d+)\.npz")
_BUDGET = re.compile(r"|\d+(\.\d+)?")


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


def list_files(directory: Path, domain: Domain) -> list[VectorFile]:
    """The files of a directory and those below, in the order of the arms, then of the seeds.

    Raises:
        ValueError: there is none, or a name is no ARM-SEED.npz of the domain.
    """
    files = []
    for path in sorted(directory.rglob("*.npz")):
        match, budget = _FILE.fullmatch(path.name), "" if path.parent == directory else path.parent.name
        if match is None or match["arm"] not in domain.arms or not _BUDGET.fullmatch(budget):
            raise ValueError(
                "vectors must be in files ARM-SEED.npz or BUDGET/ARM-SEED.npz, ARM one of "
                f"{', '.join(domain.arms)}. Received: {path}. Rename it."
            )
        arm = match["arm"] + (f"@{budget}" if budget.strip("0") else "")
        files.append(VectorFile(path, arm, int(match["seed"])))
    if not files:
        raise ValueError(f"{directory} must hold files ARM-SEED.npz. Received: none. Name the directory that has them.")
    return sorted(files, key=lambda file: (domain.place(file.arm), file.seed))


def hash_file(path: Path) -> str:
    """Names the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def read(path: Path, most_train: int | None = None) -> Vectors:
    """The content of a file.

    Args:
        most_train: rows of train that are kept, by chance and the same in all files of as many rows; None: all.

    Raises:
        ValueError: an array is missing, does not fit the others, or is not finite.
    """
    with artifacts.reading(path, "Save it again by numpy.savez, without objects."):
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        missing = [name for name in _NAMES if name not in arrays]
        if missing:
            raise ValueError(f"no {', '.join(missing)} in it")
    for part, most in (("train", most_train), ("test", None)):
        rows = np.sort(np.random.default_rng(0).permutation(len(arrays[part]))[:most])
        names = (part, f"{part}_labels")
        if len(arrays[names[0]]) == len(arrays[names[1]]):
            arrays |= {name: arrays[name][rows] for name in names}
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
