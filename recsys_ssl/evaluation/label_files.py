"""Labels of vectors that lie in files: a column beside the vectors, or a table that is matched by ids.

- NAME of a column of the vectors' Parquet, or of an array of their .npz;
- a CSV (also TSV, by semicolons, or .gz) or Parquet file with a column of ids and one of labels;
- a .npy with a label a row, in the order of the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys_ssl import artifacts, lists
from recsys_ssl.evaluation.labels import LEFT_OUT, TEST, TRAIN, Labels, from_arrow
from recsys_ssl.evaluation.vectors import IDS, VECTOR, VectorTable, as_text

_DELIMITERS = ",;\t|"


class LabelSource(NamedTuple):
    """Where labels lie, as a user names it."""

    name: str
    """A column or an array of the vectors' file, or a path."""
    column: Optional[str] = None
    """Of a file of labels; None: the only one that is not the ids."""
    id_column: Optional[str] = None
    """Of a file of labels; None: the column of the vectors' ids by name."""
    separator: Optional[str] = None
    """Between several labels of one text; None: each text is one label."""
    split: Optional[str] = None
    """Column beside the labels that says train or test; rows with another word are left out."""


class FoundLabels(NamedTuple):
    """What was found, in the order of the vectors."""

    labels: Labels
    part: Optional[np.ndarray]
    """[num_rows] int8 TRAIN, TEST or LEFT_OUT; None without a split, by chance then."""
    strangers: int
    """Ids of the labels' file that no vector has."""


def read_labels(table: VectorTable, path: str | Path, source: LabelSource) -> FoundLabels:
    """The labels of a table of vectors.

    Ids are held once for the vectors and once for the labels (their bytes and 4 a row each).

    Args:
        table: of `vectors.open_vectors(path)`.

    Raises:
        FileNotFoundError: the name is neither a column nor a file.
        ValueError: a column is missing, an id is there twice, or no id is that of a vector.
    """
    beside = _list_beside(Path(path))
    if source.name in beside:
        split = None if source.split is None else _read_beside(Path(path), beside, source.split)
        return _finish(table, _read_beside(Path(path), beside, source.name), split, source, strangers=0)
    file = Path(source.name)
    if not file.is_file():
        raise FileNotFoundError(
            f"labels must be a column of the vectors ({', '.join(beside) or 'which have none'}) or a file. Received: "
            f"{source.name!r}. Name one."
        )
    if file.suffix == ".npy":
        if source.split is not None:
            raise ValueError(f"a .npy of labels has no column {source.split!r} to split by. Give labels as CSV.")
        return _finish(table, _read_npy(file), None, source, strangers=0)
    label, of_label, strangers = _match(table, _read_table(file), file, source)
    return _finish(table, label, of_label, source, strangers)


def _finish(
    table: VectorTable, label: lists.Column, split: Optional[lists.Column], source: LabelSource, strangers: int
) -> FoundLabels:
    if len(label) != table.num_rows:
        raise ValueError(
            f"there must be a label for each vector. Received: {len(label):,} labels of {source.name!r} for "
            f"{table.num_rows:,} vectors. Give them in the same order, or a file with ids."
        )
    labels = from_arrow(_split_texts(label, source.separator))
    if split is None:
        return FoundLabels(labels, None, strangers)
    words = lists.one_array(as_text(split))
    part = np.full(len(words), LEFT_OUT, np.int8)
    for word, number in (("train", TRAIN), ("test", TEST)):
        part[pc.fill_null(pc.equal(words, word), False).to_numpy(zero_copy_only=False)] = number
    if (part == LEFT_OUT).all():
        told = ", ".join(map(repr, sorted(pc.unique(words.drop_null()).to_pylist())[:5]))
        raise ValueError(f"rows must be of 'train' or 'test', in these words. Received: {told or 'none'}. Rename them.")
    part[labels.counts == 0] = LEFT_OUT
    return FoundLabels(labels, part, strangers)


def _split_texts(column: lists.Column, separator: Optional[str]) -> lists.Column:
    """Strings, or lists of them, without blanks around them."""
    if not _is_list(column.type):
        texts = as_text(column)
        if not separator:
            return pc.utf8_trim_whitespace(texts)
        column = pc.split_pattern(texts, separator)
    values, lengths = lists.flatten(column, pa.string())
    return lists.from_flat(pc.utf8_trim_whitespace(as_text(values)), lengths, layout=pa.ListArray)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


# --- Beside the vectors --------------------------------------------------------------------------------


def _list_beside(path: Path) -> list[str]:
    """Columns or arrays of the vectors' file, but the vectors."""
    if path.suffix == ".npy":
        return []
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return [name for name in arrays.files if name != f"{VECTOR}s"]
    return [name for name in pq.read_schema(_list_files(path)[0]).names if name != VECTOR]


def _read_beside(path: Path, beside: Sequence[str], name: str) -> lists.Column:
    if name not in beside:
        raise ValueError(f"{path} must have a column {name!r}. Received: {', '.join(beside)}. Name one of them.")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return _from_numpy(arrays[name], path)
    parts = [pq.read_table(file, columns=[name])[name] for file in _list_files(path)]
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def _list_files(path: Path) -> list[str]:
    return sorted(str(file) for file in path.glob("*.parquet")) if path.is_dir() else [str(path)]


def _read_npy(path: Path) -> lists.Column:
    with artifacts.reading(path, "Save it again by numpy.save, without objects."):
        array = np.load(path, allow_pickle=False)
    return _from_numpy(array, path)


def _from_numpy(array: np.ndarray, path: Path) -> lists.Column:
    if array.ndim != 1:
        raise ValueError(f"labels must be one a row. Received: an array of shape {array.shape} in {path}. Flatten it.")
    return pa.array(array.tolist(), from_pandas=True)  # NaN is no label


# --- By ids --------------------------------------------------------------------------------------------


def _read_table(path: Path) -> pa.Table:
    """The columns of a CSV as strings, of Parquet as they are."""
    with artifacts.reading(path, "Give labels as CSV or Parquet, in UTF-8, with a header."):
        if path.suffix == ".parquet":
            return pq.read_table(path)
        with pa.input_stream(str(path)) as stream:  # which inflates .gz
            head = stream.read(1 << 16).decode("utf-8", "replace").splitlines()
        delimiter = max(_DELIMITERS, key=(head or [""])[0].count)
        parsing = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        with pa_csv.open_csv(str(path), parse_options=parsing) as opened:
            names = opened.schema.names
        texts = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        )
        return pa_csv.read_csv(str(path), parse_options=parsing, convert_options=texts)


def _match(
    table: VectorTable, columns: pa.Table, path: Path, source: LabelSource
) -> tuple[lists.Column, Optional[lists.Column], int]:
    """The labels and the split in the order of the vectors, null where they have none, and the number of strangers."""
    ids = table.read_ids()
    if ids is None:
        raise ValueError(
            f"labels of a file with ids need vectors with ids. Received: {table.name} without. Give the labels as .npy "
            "in the order of the vectors, or save the vectors as .npz with `ids`."
        )
    id_column = source.id_column or _find_id(table, columns, path)
    for name in (id_column, source.column, source.split):
        if name is not None and name not in columns.column_names:
            raise ValueError(
                f"{path} must have a column {name!r}. Received: {', '.join(columns.column_names)}. Name one of them."
            )
    label = source.column or _find_label(columns, id_column, source.split, path)
    keys = lists.one_array(as_text(columns[id_column]))
    if pc.count_distinct(keys).as_py() < len(keys) - keys.null_count:
        twice = pc.value_counts(keys.drop_null()).to_pylist()
        first = next(each["values"] for each in twice if each["counts"] > 1)
        raise ValueError(
            f"each id must have one row of labels. Received: {first!r} in several of {path}. Join its labels in one "
            "cell, and name what is between them by --separator."
        )
    places = pc.index_in(ids, value_set=keys, skip_nulls=True)
    if places.null_count == len(places):
        raise ValueError(
            f"ids of the labels must be those of the vectors. Received: none of {len(keys):,} in {path}, e.g. "
            f"{keys[0].as_py() if len(keys) else 'none'!r}, is one of the vectors', e.g. {ids[0].as_py()!r}. Name the "
            "right column by --id-column."
        )
    matched = len(pc.unique(places.drop_null()))
    split = None if source.split is None else columns[source.split].take(places)
    return columns[label].take(places), split, len(keys) - matched


def _find_id(table: VectorTable, columns: pa.Table, path: Path) -> str:
    names = [name for name in (table.id_column, *IDS) if name in columns.column_names]
    if not names:
        raise ValueError(
            f"{path} must have a column of ids. Received: {', '.join(columns.column_names)}. Name it by --id-column."
        )
    return str(names[0])


def _find_label(columns: pa.Table, id_column: str, split: Optional[str], path: Path) -> str:
    names = [name for name in columns.column_names if name not in (id_column, split)]
    if len(names) != 1:
        raise ValueError(
            f"the column of labels must be named where there are several. Received: {', '.join(names) or 'none'} in "
            f"{path}. Name it by --label-column."
        )
    return names[0]
