"""Images for pre-training and embedding: a directory, an archive, a table with a column of them, or arrays.

| source | images, in order |
|---|---|
| a directory | files at any depth whose names end as those of images do, sorted by path |
| .zip, .tar | such files, as the archive has them |
| .csv, .tsv, .txt, plain or .gz, .parquet | the cells of a column, see `cells`; paths begin beside the table |
| .npy, .npz | an array [num_images, height, width] or [num_images, height, width, channels] of uint8 |
| IDX, as MNIST's, plain or .gz | the same |
| an image | itself |

Whatever the source, one image is read at a time.
"""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Optional, Union, cast

import numpy as np

from recsys_ssl.encoders.chunks import map_chunks
from recsys_ssl.encoders.image.archives import PACKED, list_members
from recsys_ssl.encoders.image.cells import read_cell
from recsys_ssl.encoders.image.pixels import ImageError, decode, from_array, pack
from recsys_ssl.encoders.image.reading import ARCHIVES, SUFFIXES, ImageSize
from recsys_ssl.encoders.image.tables import is_table, read_table

_CHUNK_SIZE = 64
_DAMAGE = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


class RawImage(NamedTuple):
    """An image that is not decoded yet."""

    name: str
    """What stands for it in tables and lists."""
    cell: Union[str, bytes, np.ndarray]
    """See `cells.read_cell`; or pixels, see `pixels.from_array`."""
    directory: Optional[str] = None
    """Where a path of the cell begins, which it does not leave; None: any path of this machine."""

    def __str__(self) -> str:
        return self.name


class Rejection(NamedTuple):
    """A row of a stream that gives no image."""

    row: int
    reason: str
    """See `cells.read_cell` and `pixels.decode`."""
    image: str
    """The name."""


# --- Sources ---------------------------------------------------------------------------------------------


def read_images(source: Union[str, os.PathLike], column: Optional[str] = None) -> Iterator[RawImage]:
    """Streams the images of a source, see above.

    Args:
        column: of a table, by its name, or by its number from 1 where there is no header; of a .npz the array's name;
            None: the only one, or the first that looks like it.

    Raises:
        FileNotFoundError: there is no such source.
        ValueError: it holds no images, has no such column, or is damaged.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"there must be images to read. Received: no file {str(path)!r}. Check the path.")
    name = path.name.lower()
    if is_table(name):
        for text, cell in read_table(path, column):
            yield RawImage(text, cell, str(path.parent))
        return
    if name.endswith(".npz"):
        yield from _read_npz(path, column)
        return
    if column is not None:
        raise ValueError(
            f"only tables and .npz have columns. Received: column {column!r} of {str(path)!r}. Leave --column out."
        )
    if path.is_dir():
        yield from _read_directory(path)
    elif name.endswith(ARCHIVES):
        yield from _read_archive(path)
    elif PACKED.search(name):
        raise ValueError(
            f"an archive must be one that can be read in any order. Received: {str(path)!r}. Unpack it and name the "
            "directory, or make it a .tar or .zip."
        )
    elif name.endswith(".npy"):
        with open(path, "rb") as file:
            yield from _read_array(file, path)
    elif name.endswith(SUFFIXES):
        yield RawImage(path.name, path.name, str(path.parent))
    else:
        yield from _read_idx(path)


def _read_directory(top: Path) -> Iterator[RawImage]:
    num_images = 0
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                num_images += 1
                path = os.path.relpath(os.path.join(folder, name), top)
                yield RawImage(path, path, str(top))
    if not num_images:
        raise _no_images(top)


def _read_archive(path: Path) -> Iterator[RawImage]:
    try:
        members = [name for name in list_members(str(path)) if name.lower().endswith(SUFFIXES)]
    except ImageError as error:
        raise ValueError(f"an archive must be whole. Received: {str(path)!r}, {error.reason}. Get it again.") from error
    if not members:
        raise _no_images(path)
    for member in members:
        yield RawImage(member, f"{path.name}/{member}", str(path.parent))


def _no_images(source: Path) -> ValueError:
    return ValueError(
        f"there must be images, named {', '.join(SUFFIXES)}. Received: none in {str(source)!r}. Check the path."
    )


# --- Arrays ----------------------------------------------------------------------------------------------


def _read_npz(path: Path, column: Optional[str]) -> Iterator[RawImage]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if column is None and len(names) != 1:
                column = next((name for name in ("x_train", "images", "train_images", "x") if name in names), None)
            chosen = names[0] if column is None and len(names) == 1 else column
            if chosen not in names:
                raise ValueError(
                    f"an array of the file must be named. Received: {column!r} of {str(path)!r}, which has "
                    f"{', '.join(names[:20]) or 'none'}. Name one by --column."
                )
            with archive.open(f"{chosen}.npy") as file:
                yield from _read_array(cast(BinaryIO, file), path)
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _read_array(file: BinaryIO, path: Path) -> Iterator[RawImage]:
    """The images of a .npy."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](file)
    except (ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    if is_fortran or dtype != np.uint8:
        order = ", columns first" if is_fortran else ""
        raise ValueError(
            f"images must be uint8, rows first. Received: {dtype}{order} in {str(path)!r}. "
            "Save np.ascontiguousarray(images, np.uint8), scaled to 0-255."
        )
    yield from _read_pixels(file, shape, path)


def _read_idx(path: Path) -> Iterator[RawImage]:
    """The images of an IDX file: zero, zero, 8 for uint8, number of dimensions; then these, big-endian; then pixels."""
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if is_packed else open(path, "rb") as file:
            head = file.read(4)
            if head not in (b"\0\0\x08\x03", b"\0\0\x08\x04"):
                raise ValueError(
                    f"images must be a directory, an archive, a table, .npy, .npz or IDX. Received: {str(path)!r}, "
                    f"which begins with {head!r}. Name another file."
                )
            shape = struct.unpack(f">{head[3]}I", file.read(4 * head[3]))
            yield from _read_pixels(cast(BinaryIO, file), shape, path)
    except (*_DAMAGE, struct.error) as error:
        raise _damaged(path, error) from error


def _read_pixels(file: BinaryIO, shape: tuple[int, ...], path: Path) -> Iterator[RawImage]:
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)) or not all(shape[1:]):
        raise ValueError(
            f"images must be [num_images, height, width] or [num_images, height, width, channels]. Received: "
            f"{list(shape)} in {str(path)!r}. Put the channels last."
        )
    num_bytes = int(np.prod(shape[1:]))
    for row in range(shape[0]):
        content = file.read(num_bytes)
        if len(content) < num_bytes:
            raise _damaged(path, f"it ends within image {row} of {shape[0]}")
        yield RawImage(f"{path.name}:{row}", np.frombuffer(content, np.uint8).reshape(shape[1:]))


def _damaged(path: Path, why: object) -> ValueError:
    return ValueError(f"a file of images must be whole. Received: {str(path)!r}, damaged ({why}). Get it again.")


# --- Images of one size ----------------------------------------------------------------------------------


def load_all(
    images: Iterator[Union[RawImage, str, bytes]], size: ImageSize, workers: int = 1, first_row: int = 0
) -> Iterator[Union[bytes, Rejection]]:
    """Brings a stream to one size: one result per image, in their order, packed by `pixels.pack` or why there is none.

    Memory does not grow with the stream: at most 64 * (2 * workers + 1) images are held. Workers, and what is raised,
    are those of `chunks.map_chunks`.

    Args:
        images: a text is a path of this machine or a data URI.
        first_row: number of the first image, for rejections.
    """
    rows = enumerate(map(_as_raw, images), start=first_row)
    chunks = map_chunks(partial(_load_chunk, size=size), rows, workers, _CHUNK_SIZE)
    return (result for chunk in chunks for result in chunk)


def _as_raw(image: Union[RawImage, str, bytes]) -> RawImage:
    if isinstance(image, RawImage):
        return image
    return RawImage(image if isinstance(image, str) else f"{len(image):,} bytes", image)


def _load_chunk(rows: list[tuple[int, RawImage]], size: ImageSize) -> list[Union[bytes, Rejection]]:
    results: list[Union[bytes, Rejection]] = []
    for row, image in rows:
        try:
            results.append(pack(_load(image, size)))
        except ImageError as error:
            results.append(Rejection(row, error.reason, image.name))
    return results


def _load(image: RawImage, size: ImageSize) -> np.ndarray:
    if isinstance(image.cell, np.ndarray):
        return from_array(image.cell, size)
    if not image.cell:
        raise ImageError("empty")
    return decode(read_cell(image.cell, image.directory), size)
