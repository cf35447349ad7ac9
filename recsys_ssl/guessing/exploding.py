"""Logs whose cells hold several items, as one line a user or an order: the sample with a record for each of them."""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.guessing.cells import Several
from recsys_ssl.guessing.columns import describe
from recsys_ssl.guessing.labels import Label
from recsys_ssl.guessing.roles import Choice
from recsys_ssl.guessing.sample import ELEMENT
from recsys_ssl.guessing.tables import Table

_MARKED = ("item", "clicked")
"""Columns of the elements that have a mark."""
_SEPARATORS = (",", ";", "|", " ")
_LEAST_ALIKE = 0.9
"""Of the records with several items, those whose other cell has as many values."""


class Exploded(NamedTuple):
    """A log with a record for each item."""

    log: Table
    item: Choice
    keys: dict[str, object]
    """Of `explode` in the spec."""
    label: Optional[Label]
    """What the marks of the elements say; None without marks."""
    beside: list[str]
    """Columns with a value for each item, which `explode` does not take apart: left out of the log."""


def explode_log(log: Table, query: Choice, item: Choice, several: Several) -> Exploded:
    """The sample as ingestion would explode it."""
    own_type = log.columns[item.column].own_type
    root = own_type.removeprefix(ELEMENT) if own_type.startswith(ELEMENT) else item.column
    names = [
        name
        for name, column in log.columns.items()
        if name == item.column or (own_type and column.own_type == own_type)
    ]
    table = log.sample.table
    cells = {name: _to_lists(table[name], several.separator) for name in names}
    lengths = cells[item.column][1]
    names = [name for name in names if np.array_equal(cells[name][1], lengths)]
    others = [name for name in table.column_names if name not in cells]
    beside = _find_beside(table.select([name for name in others if name != query.column]), table[item.column], several)
    others = [name for name in others if name not in beside]
    exploded = table.select(others).take(pa.array(lists.owners(lengths)))
    keys: dict[str, object] = {
        "column": root,
        **({} if several.separator is None else {"separator": several.separator}),
    }
    label = None
    if several.kind == "marked":
        marks = pc.split_pattern(cells[item.column][0], several.part_separator, max_splits=1, reverse=True)
        parts = pc.list_flatten(marks)
        cells = {
            name: (parts.take(pa.array(np.arange(place, len(parts), 2))), lengths) for place, name in enumerate(_MARKED)
        }
        names, item = list(_MARKED), item._replace(column=_MARKED[0])
        keys |= {"into": list(_MARKED), "part_separator": several.part_separator}
        rule: dict[str, object] = {"event_type": _MARKED[1], "positive": {"1": 1.0}, "impressions": ["0"]}
        label = Label(rule, _MARKED[1], "1 was chosen, 0 only shown")
    for name in names:
        exploded = exploded.append_column(name, cells[name][0])
    own_types = {name: kind for name, kind in log.sample.own_types.items() if name not in (*names, *beside)}
    sample = log.sample._replace(table=exploded.combine_chunks(), own_types=own_types)
    return Exploded(log._replace(sample=sample, columns=describe(sample.table, own_types)), item, keys, label, beside)


def _find_beside(others: pa.Table, items: pa.ChunkedArray, several: Several) -> list[str]:
    """The columns whose cells have as many values as those of the items."""
    lengths = _count_values(items, several.separator or ",")
    compared = lengths > 1
    found = []
    for name in others.column_names:
        is_list = pa.types.is_large_list(others[name].type)
        if not compared.any() or (not is_list and len(np.unique(lengths[compared])) == 1):
            continue  # a day and an hour are two words beside two items
        separators = [","] if is_list else [*filter(None, [several.separator]), *_SEPARATORS]
        counts = (_count_values(others[name], separator) for separator in separators)
        if any(np.mean((count == lengths)[compared]) >= _LEAST_ALIKE for count in counts):
            found.append(name)
    return found


def _count_values(column: pa.ChunkedArray, separator: str) -> np.ndarray:
    """[num_records] values of each cell, the empty ones too."""
    if pa.types.is_large_list(column.type):
        counts = pc.list_value_length(column)
    else:
        counts = pc.add(pc.count_substring(column, separator), 1)
    return pc.fill_null(counts, 0).to_numpy()


def _to_lists(column: pa.ChunkedArray, separator: Optional[str]) -> tuple[pa.Array, np.ndarray]:
    """The elements that are not empty, [sum of lengths] text, and how many each record has."""
    array = lists.one_array(column)
    if not pa.types.is_large_list(array.type):
        text = pc.fill_null(array, "")
        if separator is None:  # a list as text
            text, separator = pc.replace_substring_regex(text, r"[\[\]'\" ]", ""), ","
        array = pc.split_pattern(text, separator)
    values, lengths = lists.flatten(array, pa.large_string())
    values = pc.utf8_trim_whitespace(values)
    kept = ~pc.fill_null(pc.equal(values, ""), True).to_numpy(zero_copy_only=False)
    return values.filter(pa.array(kept)), np.bincount(lists.owners(lengths)[kept], minlength=len(lengths))
