"""Files of photon patterns: Dragonfly's sparse `.emc` and its HDF5 form, and `.npz`. What a file is, its content tells.

Photons are kept sparse, 8 bytes for each pixel that has any.

References:
    Ayyer, Lan, Elser and Loh 2016, J. Appl. Cryst. 49, 1320, and the documentation of Dragonfly.
"""

from __future__ import annotations

import io
import math
import os
from typing import NamedTuple, NoReturn, Optional

import h5py
import numpy as np
import scipy.sparse as sp

from recsys_ssl import artifacts

_HEADER = 256  # int32 numbers; what they mean is known of the first three
_SPARSE, _DENSE_INT, _DENSE_DOUBLE = 0, 1, 2
_HDF5_MAGIC, _ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK"


class Patterns(NamedTuple):
    """Patterns of one detector, and their truth where they were made up."""

    counts: sp.csr_matrix
    """[num_patterns, num_pixels], photons."""
    quaternions: Optional[np.ndarray] = None
    """[num_patterns, 4] float64."""
    fluence: Optional[np.ndarray] = None
    """[num_patterns] float64."""


def read_patterns(path: str | os.PathLike) -> Patterns:
    """Reads a file of patterns, or a directory of `.npz` in the order of their names.

    `.npz`: a sparse matrix as `scipy.sparse.save_npz` writes it, or `patterns`, [num_patterns, ...] photons; with
    `quaternions` and `fluence` where they are known.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is truncated, or of none of these formats.
        ValueError: counts are negative or not finite, there are no patterns or photons, or files are of several
            detectors.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return _read_directory(path)
    with open(path, "rb") as file:
        start = file.read(8)
    with artifacts.reading(path, "Give a file of photons: .emc, HDF5 with place_ones, or .npz."):
        if start == _HDF5_MAGIC:
            patterns = Patterns(_read_hdf5(path))
        elif start.startswith(_ZIP_MAGIC):
            patterns = _read_npz(path)
        else:
            patterns = Patterns(_read_emc(path))
    _check(path, patterns.counts)
    return patterns


def _read_directory(path: str) -> Patterns:
    names = sorted(name for name in os.listdir(path) if name.endswith(".npz"))
    if not names:
        raise FileNotFoundError(f"no .npz in {path}. Check the path.")
    parts = [read_patterns(os.path.join(path, name)) for name in names]
    sizes = sorted({part.counts.shape[1] for part in parts})
    if len(sizes) > 1:
        raise ValueError(f"files of {path} must be of one detector. Received: of {sizes} pixels. Separate them.")
    truth = []
    for name in ("quaternions", "fluence"):
        known = [getattr(part, name) for part in parts]
        truth.append(None if any(values is None for values in known) else np.concatenate(known))
    return Patterns(sp.vstack([part.counts for part in parts], format="csr"), *truth)


def write_patterns(path: str | os.PathLike, patterns: Patterns) -> None:
    """Writes `.npz`, or `.emc` without the truth where the name ends so; whole or not at all."""
    if os.fspath(path).endswith(".emc"):
        artifacts.write_bytes(path, _to_emc(sp.csr_matrix(patterns.counts)))
        return
    artifacts.write_bytes(path, to_npz(patterns))


def to_npz(patterns: Patterns) -> bytes:
    """The content of a `.npz`, see `read_patterns`."""
    counts, content = sp.csr_matrix(patterns.counts), io.BytesIO()
    arrays = {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr, "shape": np.array(counts.shape)}
    truth = {"quaternions": patterns.quaternions, "fluence": patterns.fluence}
    arrays |= {name: value for name, value in truth.items() if value is not None}
    np.savez_compressed(content, format=np.array(b"csr"), **arrays)
    return content.getvalue()


def _check(path: str, counts: sp.csr_matrix) -> None:
    if not counts.shape[0]:
        raise ValueError(f"{path} must have patterns. Received: none. Check the file.")
    is_wrong = ~(np.isfinite(counts.data) & (counts.data >= 0))
    if is_wrong.any():
        first = int(np.searchsorted(counts.indptr, is_wrong.argmax(), side="right")) - 1
        raise ValueError(
            f"{path} must hold photons: finite, not negative. Received: {int(is_wrong.sum()):,} others, the first in "
            f"pattern {first}. Set pixels without a count to 0, and mask them in the detector."
        )
    if not counts.data.sum():
        raise ValueError(f"{path} must hold photons. Received: {counts.shape[0]:,} patterns without any.")


def _damaged(what: str) -> NoReturn:
    # `artifacts.reading` says which file and what to do.
    raise ValueError(what)


# --- Dragonfly -------------------------------------------------------------------------------------------


def _read_emc(path: str) -> sp.csr_matrix:
    """int32: a header, the numbers of one-photon and many-photon pixels of each pattern, their places, the counts."""
    size = os.path.getsize(path)
    if size < 4 * _HEADER:
        _damaged(f"{size:,} bytes, fewer than a header of {4 * _HEADER:,}")
    header = np.fromfile(path, "<i4", _HEADER)
    num_patterns, num_pixels, kind = (int(value) for value in header[:3])
    if num_patterns < 1 or num_pixels < 1 or kind not in (_SPARSE, _DENSE_INT, _DENSE_DOUBLE):
        _damaged(f"a header of {num_patterns:,} patterns, {num_pixels:,} pixels and type {kind}")
    if kind != _SPARSE:
        dtype = np.dtype("<i4" if kind == _DENSE_INT else "<f8")
        _check_size(size, 4 * _HEADER + num_patterns * num_pixels * dtype.itemsize)
        dense = np.memmap(path, dtype, "r", 4 * _HEADER, (num_patterns, num_pixels))
        return sp.vstack([sp.csr_matrix(dense[i : i + 1024]) for i in range(0, num_patterns, 1024)], format="csr")
    _check_size(size, 4 * (_HEADER + 2 * num_patterns), is_least=True)
    ones, many = np.fromfile(path, "<i4", 2 * num_patterns, offset=4 * _HEADER).reshape(2, -1).astype(np.int64)
    if min(ones.min(), many.min()) < 0:
        _damaged("negative numbers of pixels")
    _check_size(size, 4 * (_HEADER + 2 * num_patterns + ones.sum() + 2 * many.sum()))
    rest = np.fromfile(path, "<i4", offset=4 * (_HEADER + 2 * num_patterns))
    place_ones, place_many, count_many = np.split(rest, [ones.sum(), ones.sum() + many.sum()])
    return _to_csr(ones, place_ones, many, place_many, count_many, num_pixels)


def _check_size(size: int, expected: int, is_least: bool = False) -> None:
    if size < expected or (size > expected and not is_least):
        _damaged(f"{size:,} bytes in place of {expected:,}")


def _read_hdf5(path: str) -> sp.csr_matrix:
    """The same numbers, an array a pattern."""
    with h5py.File(path) as file:
        missing = [name for name in ("num_pix", "place_ones", "place_multi", "count_multi") if name not in file]
        if missing:
            _damaged(f"no {', '.join(missing)} in it")
        num_pixels = int(np.ravel(file["num_pix"][()])[0])
        parts = [file[name][()] for name in ("place_ones", "place_multi", "count_multi")]
    lengths = [np.array([len(row) for row in part], np.int64) for part in parts]
    if not (len(lengths[0]) == len(lengths[1]) == len(lengths[2])) or (lengths[1] != lengths[2]).any():
        _damaged("places and counts of different lengths")
    flat = [np.concatenate([*part, np.zeros(0, np.int32)]).astype(np.int64) for part in parts]
    return _to_csr(lengths[0], flat[0], lengths[1], flat[1], flat[2], num_pixels)


def _to_csr(ones, place_ones, many, place_many, count_many, num_pixels: int) -> sp.csr_matrix:
    """[num_patterns, num_pixels] from the numbers of pixels of each pattern, and places and counts of all."""
    rows = np.concatenate([np.repeat(np.arange(len(ones)), ones), np.repeat(np.arange(len(many)), many)])
    columns = np.concatenate([place_ones, place_many])
    if len(columns) and not 0 <= columns.min() <= columns.max() < num_pixels:
        _damaged(f"photons outside of its {num_pixels:,} pixels")
    values = np.concatenate([np.ones(len(place_ones), np.int32), count_many])
    return sp.csr_matrix((values, (rows, columns)), shape=(len(ones), num_pixels))


def _to_emc(counts: sp.csr_matrix) -> bytes:
    whole = counts.data.astype(np.int32)
    if (whole != counts.data).any():
        raise ValueError("a .emc file holds whole photons. Received: others. Write .npz.")
    is_one, is_many = whole == 1, whole > 1
    header = np.zeros(_HEADER, np.int32)
    header[:2] = counts.shape
    numbers = [np.add.reduceat(np.append(of, False), counts.indptr[:-1], dtype=np.int32) for of in (is_one, is_many)]
    for number in numbers:
        number[np.diff(counts.indptr) == 0] = 0  # reduceat gives the next element for an empty row
    places = counts.indices.astype(np.int32)
    parts = [header, *numbers, places[is_one], places[is_many], whole[is_many]]
    return b"".join(part.astype("<i4").tobytes() for part in parts)


def _read_npz(path: str) -> Patterns:
    with np.load(path) as arrays:
        if "patterns" in arrays:
            dense = arrays["patterns"]
            counts = sp.csr_matrix(dense.reshape(len(dense), math.prod(dense.shape[1:])))
        elif "format" in arrays:
            counts = sp.csr_matrix(sp.load_npz(path))
            counts.check_format(full_check=True)
        elif {"data", "indices", "indptr", "shape"} <= set(arrays):
            counts = sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))
            counts.check_format(full_check=True)
        else:
            _damaged(f"neither `patterns` nor a sparse matrix in it, but {', '.join(arrays) or 'nothing'}")
        truth = [arrays.get(name) for name in ("quaternions", "fluence")]
    return Patterns(counts, *truth)
