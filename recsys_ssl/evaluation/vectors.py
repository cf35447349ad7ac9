"""Tables of vectors that are read in parts, from memory or from files:

- a Parquet file of `recsys-ssl embed` (row, text, vector), a directory of embeddings of a run (items: item_row,
  item_id, vector, train_count; queries: query_id, vector, ...), and any Parquet with a column `vector` of lists of
  equal length; the last number of an item's vector is left out where the run had a popularity prior, of which it is;
- .npy, [num_rows, dim], read where it lies; .npz with an array `vectors`, and `ids` where it has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_ssl import artifacts, lists

VECTOR = "vector"
IDS = ("item_id", "query_id", "text", "id", "item_row", "row")
"""Columns that identify a row, the first of them that a file has."""
BATCH_ROWS = 16_384
_ARRAY_ROWS = 1024
"""Of a group of an array. Small groups make mixed batches of rows that lie in some order."""

Open = Callable[[str], BinaryIO]


class Group(NamedTuple):
    """Rows that lie together, and are read by whoever asks for them, also in another process."""

    path: str
    """Of its Parquet file; "" for rows of an array."""
    place: int
    """Of its row group; of an array the first row."""
    num_rows: int


class GroupReader:
    """Reads row groups of Parquet files; the last file stays open, whose footer may name thousands of groups.

    Args:
        open_file: opens a path for reading; the local disk when None.
    """

    def __init__(self, open_file: Optional[Open] = None):
        self._open_file = open_file
        self._path = ""
        self._parquet: Optional[pq.ParquetFile] = None

    def read(self, group: Group, dim: int, batch_rows: int, num_left_out: int = 0) -> Iterator[np.ndarray]:
        """Yields the vectors of a row group, [<= batch_rows, dim], in order.

        Args:
            num_left_out: numbers at the end of each list that are not read.

        Raises:
            ValueError: a list has another length than `dim + num_left_out`.
        """
        if self._parquet is None or self._path != group.path:
            self._parquet, self._path = pq.ParquetFile(_open(group.path, self._open_file)), group.path
        for batch in self._parquet.iter_batches(batch_rows, row_groups=[group.place], columns=[VECTOR]):
            yield _to_vectors(batch.column(0), dim + num_left_out, group.path)[:, :dim]


@dataclass(frozen=True, eq=False)
class VectorTable:
    """[num_rows, dim] vectors in groups, of which a part is in memory at a time."""

    name: str
    """For messages."""
    groups: tuple[Group, ...]
    dim: int
    array: Optional[np.ndarray] = None
    """The rows where they are an array, in memory or mapped to it."""
    ids: Optional[pa.Array] = None
    """[num_rows] strings, where they are not in the files."""
    id_column: Optional[str] = None
    """Of Parquet files."""
    num_left_out: int = 0
    """Numbers at the end of each list of Parquet files that are no part of the vector."""

    @property
    def num_rows(self) -> int:
        return sum(group.num_rows for group in self.groups)

    def iterate(
        self,
        batch_rows: int = BATCH_ROWS,
        keep: Optional[np.ndarray] = None,
        order: Optional[np.random.Generator] = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields rows in batches of `batch_rows` (the last has fewer), whatever the layout of the file.

        Args:
            keep: [num_rows] bool, which rows; None: all.
            order: draws an order of the groups, and of the rows of each batch; None: that of the table.

        Yields:
            [num_batch_rows] int64 rows of the table, and their vectors [num_batch_rows, dim] float32.

        Raises:
            ValueError: a vector is not finite, or not of the table's length.
        """
        starts = np.cumsum([0, *(group.num_rows for group in self.groups)])
        numbers = np.arange(len(self.groups)) if order is None else order.permutation(len(self.groups))
        rows, vectors, held = [], [], 0
        reader = GroupReader()
        for number in numbers.tolist():
            start = int(starts[number])
            for part in self._read(reader, self.groups[number], batch_rows):
                found = np.arange(start, start + len(part))
                start += len(part)
                if keep is not None:
                    kept = keep[found]
                    found, part = found[kept], part[kept]
                while len(found):
                    taken = batch_rows - held
                    rows.append(found[:taken])
                    vectors.append(self._check(part[:taken], found))
                    held += len(rows[-1])
                    found, part = found[taken:], part[taken:]
                    if held == batch_rows:
                        yield _shuffle(np.concatenate(rows), np.concatenate(vectors), order)
                        rows, vectors, held = [], [], 0
        if held:
            yield _shuffle(np.concatenate(rows), np.concatenate(vectors), order)

    def gather(self, keep: np.ndarray) -> np.ndarray:
        """[num_kept, dim] float32, the vectors of some rows in order; `keep` [num_rows] bool."""
        found = [vectors for _, vectors in self.iterate(keep=keep)]
        return np.concatenate(found) if found else np.empty([0, self.dim], np.float32)

    def read_ids(self) -> Optional[pa.Array]:
        """[num_rows] strings, as many bytes as they have and 4 more a row; None where rows have no ids."""
        if self.id_column is None:
            return self.ids
        paths = dict.fromkeys(group.path for group in self.groups)
        return read_texts(tuple(paths), self.id_column)

    def _read(self, reader: GroupReader, group: Group, batch_rows: int) -> Iterator[np.ndarray]:
        if self.array is not None:
            yield self.array[group.place : group.place + group.num_rows]
        else:
            yield from reader.read(group, self.dim, batch_rows, self.num_left_out)

    def _check(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        vectors = np.asarray(vectors, np.float32)
        wrong = ~np.isfinite(vectors).all(axis=1)
        if wrong.any():
            raise ValueError(
                f"vectors must be finite. Received: NaN or infinity in row {int(rows[: len(vectors)][wrong][0]):,} of "
                f"{self.name}. Leave the row out, or embed it again."
            )
        return vectors


def list_groups(paths: Sequence[str], open_file: Optional[Open] = None) -> tuple[tuple[Group, ...], pa.Schema]:
    """The row groups of Parquet files, and the schema of the first; `open_file` as of `GroupReader`."""
    groups, schema = [], None
    for path in paths:
        with _open(path, open_file) as file, artifacts.reading(path, "Check that it is a Parquet file."):
            parquet = pq.ParquetFile(file)
            schema = schema or parquet.schema_arrow
            metadata = parquet.metadata
            groups += [Group(path, i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]
    if schema is None:
        raise ValueError("vectors need a Parquet file. Received: none. Name one.")
    return tuple(group for group in groups if group.num_rows), schema


def from_array(vectors: np.ndarray, ids: Optional[Sequence[str]] = None, name: str = "the vectors") -> VectorTable:
    """A table of an array [num_rows, dim] of numbers, which is not copied.

    Raises:
        ValueError: it is no matrix with a column, or the ids are not one a row.
        TypeError: it holds no numbers.
    """
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ValueError(f"vectors must be [rows, columns]. Received: shape {vectors.shape} in {name}. Reshape them.")
    if vectors.dtype.kind not in "fiub":
        raise TypeError(f"vectors must be numbers. Received: {vectors.dtype} in {name}. Save them as float32.")
    if ids is not None and len(ids) != len(vectors):
        raise ValueError(
            f"each row must have one id. Received: {len(ids):,} for {len(vectors):,} rows of {name}. Save both again."
        )
    groups = tuple(
        Group("", start, min(_ARRAY_ROWS, len(vectors) - start)) for start in range(0, len(vectors), _ARRAY_ROWS)
    )
    texts = None if ids is None else pa.array(map(_to_text, ids), pa.string())
    return VectorTable(name, groups, vectors.shape[1], array=vectors, ids=texts)


def open_vectors(path: str | Path) -> VectorTable:
    """The vectors of a file or directory, see the module.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another form, or has no rows.
        DamagedError: it cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"vectors must exist. Received: {str(path)!r}. Check the path.")
    if path.suffix in (".npy", ".npz"):
        table = _open_array(path)
    else:
        paths = sorted(str(found) for found in path.glob("*.parquet")) if path.is_dir() else [str(path)]
        if not paths:
            raise ValueError(
                f"a directory of vectors must hold *.parquet. Received: {str(path)!r}. Name that of the items, e.g. "
                "WORKDIR/treatment/items."
            )
        groups, schema = list_groups(paths)
        left_out = int(path.is_dir() and _has_prior(path))
        dim = _find_dim(groups, schema, path) - left_out
        table = VectorTable(str(path), groups, dim, id_column=_find_id(schema), num_left_out=left_out)
    if not table.num_rows:
        raise ValueError(f"vectors must have rows. Received: none in {str(path)!r}. Embed something.")
    return table


def read_texts(paths: Sequence[str], column: str) -> pa.Array:
    """A column of Parquet files as strings; bytes are read as UTF-8."""
    parts = [lists.one_array(as_text(pq.read_table(path, columns=[column])[column])) for path in paths]
    return pa.concat_arrays(parts)


def as_text(column: lists.Column) -> lists.Column:
    """A column as strings; of bytes as UTF-8, those that are none replaced."""
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pa.array([None if value is None else value.decode("utf-8", "replace") for value in column.to_pylist()])
    return pc.cast(column, pa.string())


def _to_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _open_array(path: Path) -> VectorTable:
    with artifacts.reading(path, "Save it again by numpy.save or numpy.savez, without objects."):
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        arrays = {VECTOR + "s": loaded} if path.suffix == ".npy" else dict(loaded)
    if VECTOR + "s" not in arrays:
        raise ValueError(
            f"{path} must have an array 'vectors'. Received: {', '.join(arrays)}. Save it under that name."
        )
    return from_array(arrays[VECTOR + "s"], arrays.get("ids"), str(path))


def _has_prior(directory: Path) -> bool:
    """Whether the items of a run have a last coordinate that counts gave, see `models.popularity`."""
    settings = directory / artifacts.TRAIN_SETTINGS_FILE
    return settings.is_file() and bool(artifacts.read_fields(settings, ()).get("popularity_prior"))


def _find_id(schema: pa.Schema) -> Optional[str]:
    return next((name for name in IDS if name in schema.names), None)


def _find_dim(groups: Sequence[Group], schema: pa.Schema, path: Path) -> int:
    if VECTOR not in schema.names:
        raise ValueError(
            f"{path} must have a column {VECTOR!r}. Received: {', '.join(schema.names)}. Name what `recsys-ssl embed` "
            "or `recsys-ssl index` wrote."
        )
    kind = schema.field(VECTOR).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise ValueError(f"column {VECTOR!r} must hold lists of numbers. Received: {kind} in {path}. Embed again.")
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size
    if not groups:
        return 0
    first = next(pq.ParquetFile(groups[0].path).iter_batches(1, columns=[VECTOR])).column(0)
    return len(first[0].as_py() or [])


def _to_vectors(column: pa.Array, dim: int, path: str) -> np.ndarray:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    values = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    # Some versions say the length of a null of fixed size.
    if column.null_count or (lengths != dim).any() or len(values) != dim * len(column):
        raise ValueError(f"all vectors must have {dim} numbers. Received: others in {path}. Embed again.")
    return values.reshape(len(column), dim)


def _open(path: str, open_file: Optional[Open]) -> BinaryIO:
    return open(path, "rb") if open_file is None else open_file(path)


def _shuffle(
    rows: np.ndarray, vectors: np.ndarray, order: Optional[np.random.Generator]
) -> tuple[np.ndarray, np.ndarray]:
    if order is None:
        return rows, vectors
    places = order.permutation(len(rows))
    return rows[places], vectors[places]
