"""The features of records: columns to lists of values, what of them cannot be a value, and why.

A fault is told with the option of the spec that would mend it, where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import kinds, lists
from recsys_ssl.logs.batches import is_list
from recsys_ssl.logs.cells import find_broken_lists, split_cells, to_elements
from recsys_ssl.logs.ids import count_null_words, is_null_word
from recsys_ssl.logs.times import Faults
from recsys_ssl.logs.values import PLAIN, TEXT, Marks, as_float, as_text, find_marks, is_binary, is_empty, to_numpy
from recsys_ssl.spec import (
    CategoricalFeature,
    ContentFeature,
    DenseFeature,
    Feature,
    NumericFeature,
    TableFeature,
    TextFeature,
)


def check_feature(
    column: pa.ChunkedArray, feature: TableFeature, marks: Marks, files: str
) -> tuple[pa.LargeListArray, Faults]:
    """See `read_feature`, and the faults found; `files` is the key of the spec with the marks of numbers."""
    values, bad = read_feature(column, feature, marks)
    if isinstance(feature, NumericFeature):
        return values, explain_numbers(column, bad, _feature_reason(feature), marks, files, may_miss=True)
    faults = [(bad, _feature_reason(feature))]
    if isinstance(feature, DenseFeature) or (isinstance(feature, CategoricalFeature) and feature.multi_valued):
        faults = [(mask, f"{feature.name} is {why}") for mask, why in find_broken_lists(column)] + faults
    return values, faults


def read_content(
    column: pa.ChunkedArray, feature: ContentFeature, data_dir: str
) -> tuple[pa.LargeListArray, list[tuple[np.ndarray, str]]]:
    """[num_records] lists of packed content, and the faults found; what occurs several times is read once.

    Args:
        data_dir: where the paths of the spec begin, for cells that name files.
    """
    cells, bad = _read_bytes(column) if holds_bytes(column, feature) else read_feature(column, feature)
    values, lengths = lists.flatten(cells, TEXT)
    encoded = values.dictionary_encode()
    reader = kinds.load(feature.kind, "column")
    packed, found = reader.read(lists.single(encoded.dictionary), feature.column_config, data_dir)
    place = np.full(len(cells), len(packed))  # of what is missing
    place[lengths > 0] = encoded.indices.to_numpy(zero_copy_only=False)
    packed = pa.concat_arrays([packed, lists.empty(1, packed.type.value_type)]).take(pa.array(place))
    reasons = [
        (np.append(mask, False)[place], f"{feature.name} is no {feature.kind}: {why}") for why, mask in found.items()
    ]
    return packed, [(bad, _feature_reason(feature)), *reasons]


def holds_bytes(column: lists.Column, feature: ContentFeature) -> bool:
    """Whether the cells of a column are content as it is, by its own type."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return feature.reads_bytes and is_binary(kind)


def _read_bytes(column: lists.Column) -> tuple[pa.LargeListArray, np.ndarray]:
    """See `read_feature`; no bytes are a missing value, as an empty cell is."""
    values = lists.one_array(column)
    values = (values.dictionary_decode() if pa.types.is_dictionary(values.type) else values).cast(pa.large_binary())
    present = to_numpy(pc.greater(pc.binary_length(values), 0))
    return lists.from_flat(values.filter(pa.array(present)), present), np.zeros(len(values), bool)


def read_feature(
    column: pa.ChunkedArray, feature: TableFeature, marks: Marks = PLAIN
) -> tuple[pa.LargeListArray, np.ndarray]:
    """A raw feature as lists: text values, or float32 values for numeric and dense.

    An empty cell, null and NaN are missing: an empty list.

    Returns:
        [num_records] lists, and [num_records] bool, True where the value cannot be a value of this feature.
    """
    if isinstance(feature, DenseFeature):
        return _read_dense(column, feature.dim, feature.separator, marks)
    if isinstance(feature, NumericFeature):
        values, missing, bad = as_float(column, marks)
        present = ~(missing | bad)
        return lists.from_flat(values[present].astype(np.float32), present), bad
    if isinstance(feature, CategoricalFeature) and feature.multi_valued:
        return lists.from_flat(*split_cells(column, feature.separator)), np.zeros(len(column), bool)
    text, bad = as_text(column), np.zeros(len(column), bool)
    if is_list(column.type):
        words, lengths = split_cells(column, None)
        short = lists.from_flat(words, lengths, pa.string(), layout=pa.ListArray)
        text = pc.binary_join(short, " ")  # has no kernel for large lists
        bad = (lengths > 1) & (not isinstance(feature, TextFeature))
    present = ~is_empty(text) & ~bad
    return lists.from_flat(text.filter(pa.array(present)), present, TEXT), bad


def _read_dense(
    column: pa.ChunkedArray, dim: int, separator: str, marks: Marks
) -> tuple[pa.LargeListArray, np.ndarray]:
    elements, lengths = to_elements(column, separator)
    values, missing, bad = as_float(pa.chunked_array([elements]), marks)
    rows = lists.owners(lengths)
    num_missing = np.bincount(rows, missing, len(lengths)).astype(np.int64)
    wrong = (lengths > 0) & (lengths != dim) | (np.bincount(rows, bad, len(lengths)) > 0)
    wrong |= (num_missing > 0) & (num_missing < lengths)  # a vector is known as a whole or not at all
    kept = ~wrong & (num_missing == 0)
    return lists.from_flat(values[kept[rows]].astype(np.float32), np.where(kept, lengths, 0)), wrong


def explain_numbers(
    column: pa.ChunkedArray, bad: np.ndarray, reason: str, marks: Marks, files: str, may_miss: bool = False
) -> Faults:
    """The reason why some values are no numbers, with the option of the spec that would read them, if there is one."""
    if not bad.any() or is_list(column.type):
        return [(bad, reason)]
    text = pc.utf8_trim_whitespace(pc.fill_null(as_text(column).filter(pa.array(bad)), ""))
    encoded = text.dictionary_encode()
    place = encoded.indices.to_numpy(zero_copy_only=False)

    def widen(mask: np.ndarray) -> np.ndarray:
        wide = np.zeros(len(bad), bool)
        wide[bad] = mask[place]
        return wide

    faults, words = [(bad, reason)], encoded.dictionary
    other, is_read = find_marks(words, marks)
    if other is not None:
        now, then = marks._asdict(), other._asdict()
        options = ", ".join(f"{name}: {json.dumps(mark)}" for name, mark in then.items() if mark != now[name])
        faults.insert(0, (widen(is_read), f"{reason}; set {options} in {files}"))
    if not may_miss:
        return faults
    is_word = to_numpy(pc.match_substring_regex(words, r"^[^\d]+$")) & ~np.isin(words.to_pylist(), ["inf", "-inf"])
    faults.insert(0, (widen(is_word), f"{reason} but a word; name it in {files}.missing if it means unknown"))
    return faults


def explain_words(column: pa.ChunkedArray, bad: np.ndarray, label_column: str) -> Faults:
    """The reasons of labels that are words, with the options of the spec that read them; none for words for nothing."""
    if not bad.any() or is_list(column.type):
        return []
    words = pc.utf8_lower(pc.utf8_trim_whitespace(pc.fill_null(as_text(column), "")))
    is_word = bad & to_numpy(pc.match_substring_regex(words, r"^[^\d]*\p{L}[^\d]*$")) & ~is_null_word(words)
    is_word &= ~to_numpy(pc.is_in(words, pa.array(["inf", "-inf"], TEXT)))
    told = f"label is not a number but a word; write label.event_type: {label_column} with positive"
    faults = [(is_word, f'{told}: {{"WORD": 1.0}}')]
    for pair in _YES_AND_NO:
        faults.insert(0, (is_word & to_numpy(pc.is_in(words, pa.array(pair, TEXT))), f'{told}: {{"{pair[0]}": 1.0}}'))
    return faults


_YES_AND_NO = [("t", "f"), ("y", "n"), ("yes", "no"), ("on", "off")]


def _feature_reason(feature: TableFeature) -> str:
    wanted = "one value"
    if isinstance(feature, DenseFeature):
        wanted = f"{feature.dim} numbers"
    elif isinstance(feature, NumericFeature):
        wanted = "a number"
    return f"{feature.name} is not {wanted}"


def count_words(columns: Mapping[str, pa.Array], sound: np.ndarray, features: Sequence[Feature]) -> dict[str, int]:
    """How often categories are words for nothing, see `ids.count_null_words`."""
    notes: dict[str, int] = {}
    for feature in features:
        if isinstance(feature, CategoricalFeature):
            values, _ = lists.flatten(columns[feature.name].filter(pa.array(sound)), TEXT)
            notes |= count_null_words(values, feature.name)
    return notes
