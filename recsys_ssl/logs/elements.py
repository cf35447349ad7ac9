"""Cells that hold several records: one line a user with a list of items, one line a page with all that it showed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.batches import Batch, Reject
from recsys_ssl.logs.cells import find_broken_lists, to_elements
from recsys_ssl.logs.times import Faults
from recsys_ssl.logs.values import WRITTEN, as_text, is_empty, is_text, show_text, to_numpy
from recsys_ssl.spec import Explode


def source_columns(columns: Mapping[str, str], explode: Explode) -> dict[str, str]:
    """The columns that a file must have so that `explode_cells` gives those asked -> keys of the spec, for messages."""
    made = explode.into or []
    wanted = {column: key for column, key in columns.items() if column not in made}
    if made or not any(_is_element(column, explode) for column in wanted):
        wanted.setdefault(explode.column, "explode.column")
    return wanted


def explode_cells(
    batch: Batch, file: str, explode: Explode, columns: Sequence[str], rows_per_batch: int
) -> Iterator[Batch]:
    """Makes each element of a cell a record, with what else its line holds.

    Lines stay those of the file; `places` tells the elements of one line apart. A cell without any element, cells of
    one line with different numbers of elements, and an element of the wrong number of parts are rejects.

    Args:
        batch: has the columns `source_columns(columns, explode)`; those below the exploded one, as `items.id`, belong
            together: the first element of each is the first record, and so on.
        columns: those asked.
        rows_per_batch: elements of a batch, since what else a line holds is written once for each of them.
    """
    table = batch.columns
    names = [name for name in table.column_names if _is_element(name, explode)]
    cells, lengths, differ = _align([table[name] for name in names], explode.separator)
    reasons = np.where(lengths == 0, f"{explode.column} has no element", "").astype(object)
    reasons[differ] = f"{' and '.join(names)} have different numbers of elements"
    for name in names:
        for mask, why in find_broken_lists(table[name]):
            reasons[mask] = f"{name} is {why}"
    rejects = _reject(table, batch.lines, reasons, file)
    owners, firsts = lists.owners(lengths), np.cumsum(lengths) - lengths
    for begin in range(0, max(len(owners), 1), rows_per_batch):
        rows = owners[begin : begin + rows_per_batch]
        num_elements = lengths[rows]
        lines, places = batch.lines[rows], (begin + np.arange(len(rows)) - firsts[rows]).astype(np.int32)
        elements = {name: cell.slice(begin, rows_per_batch) for name, cell in zip(names, cells)}
        # A whole cell is never written for each of its elements.
        exploded = pa.table(
            {
                name: elements[name] if name in elements else table[name].take(pa.array(rows))
                for name in table.column_names
            }
        )
        if explode.into is not None:
            parts, whole = _split_parts(elements[explode.column], explode.into, explode.part_separator)
            why = f"an element of {explode.column} does not have {len(explode.into)} parts"
            rejects += _reject(exploded, lines, np.where(whole, "", why), file)
            exploded, lines, places = exploded.filter(pa.array(whole)), lines[whole], places[whole]
            num_elements = num_elements[whole]
            others = [name for name in exploded.column_names if name not in parts]
            exploded = pa.table({**{name: exploded[name] for name in others}, **parts})
        yield Batch(exploded.select(list(columns)), lines, batch.rejects + rejects, places, num_elements)
        batch, rejects = batch._replace(rejects=[]), []


def find_others(batch: Batch, name: str, bad: Faults, explode: Explode | None) -> Faults:
    """The reason of values, bad as they are, that are lists of as many values as the exploded cell of their line."""
    found = np.logical_or.reduce([mask for mask, _ in bad]) if bad else np.zeros(0, bool)
    if explode is None or batch.num_elements is None or _is_element(name, explode) or not found.any():
        return []
    # The records of a line have one cell, which is split once.
    rows = np.flatnonzero(found)
    _, first, line = np.unique(batch.lines[rows], return_index=True, return_inverse=True)
    own, lengths = (
        to_elements(batch.columns[name].take(pa.array(rows[first])), explode.separator)[1],
        batch.num_elements,
    )
    found[rows] = (own[line] == lengths[rows]) & (lengths[rows] > 1)
    told = f"{name} holds as many values as {explode.column} has elements"
    return [(found, f"{told}; put both under one object, or write one record a line")]


def _is_element(column: str, explode: Explode) -> bool:
    return column == explode.column or column.startswith(f"{explode.column}.")


def _align(columns: Sequence[pa.ChunkedArray], separator: str | None) -> tuple[list[pa.Array], np.ndarray, np.ndarray]:
    """The elements of columns that belong together.

    An empty part of a text is no element where the parts beside it are empty too: `a|b` and `1|` have two each.

    Returns:
        The elements of each column [sum of lengths], [num_records] int64 how many each record has, and [num_records]
        bool, True where the columns have different numbers: such a record has none.
    """
    found = [to_elements(column, separator, with_empty=True) for column in columns]
    lengths = found[0][1]
    differ = np.logical_or.reduce([other != lengths for _, other in found])
    cells = [values.filter(pa.array(np.repeat(~differ, own))) for values, own in found]
    lengths = np.where(differ, 0, lengths)
    if all(_is_written(column) for column in columns):
        present = np.logical_or.reduce([~is_empty(as_text(cell)) for cell in cells])
        lengths = np.bincount(lists.owners(lengths)[present], minlength=len(lengths))
        cells = [cell.filter(pa.array(present)) for cell in cells]
    return cells, lengths, differ


def _is_written(column: pa.ChunkedArray) -> bool:
    return is_text(column.type) or column.type == WRITTEN or pa.types.is_dictionary(column.type)


def _split_parts(
    elements: pa.Array, names: Sequence[str], separator: str | None
) -> tuple[dict[str, pa.Array], np.ndarray]:
    """The parts of the elements that have one for each name, and [num_elements] bool, which these are."""
    parts = pc.split_pattern(as_text(elements), separator, max_splits=len(names) - 1, reverse=True)
    whole = to_numpy(pc.equal(pc.list_value_length(parts), len(names)))
    flat = pc.list_flatten(parts.filter(pa.array(whole)))
    places = range(len(names))
    texts = [pc.utf8_trim_whitespace(flat.take(pa.array(np.arange(place, len(flat), len(names))))) for place in places]
    return dict(zip(names, texts)), whole


def _reject(table: pa.Table, lines: np.ndarray, reasons: np.ndarray, file: str) -> list[Reject]:
    """Rejects of the records that have a reason."""
    bad = reasons != ""
    records = show_text(table.filter(pa.array(bad))).to_pylist() if bad.any() else []
    found = zip(reasons[bad].tolist(), lines[bad].tolist(), records)
    return [Reject(reason, file, line, record) for reason, line, record in found]
