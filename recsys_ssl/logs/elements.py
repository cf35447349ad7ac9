"""Cells that hold several records: one line a user with a list of items, one line a page with all that it showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.logs.batches import Batch, Reject
from recsys_ssl.logs.cells import to_elements
from recsys_ssl.logs.values import as_text, show_text
from recsys_ssl.spec import Explode


def source_columns(columns: Mapping[str, str], explode: Explode) -> dict[str, str]:
    """The columns that a file must have so that `explode_cells` gives those asked -> keys of the spec, for messages."""
    made = explode.into or []
    wanted = {column: key for column, key in columns.items() if column not in made}
    if made or not any(_is_element(column, explode) for column in wanted):
        wanted.setdefault(explode.column, "explode.column")
    return wanted


def explode_cells(batch: Batch, file: str, explode: Explode, columns: Sequence[str]) -> Batch:
    """Makes each element of a cell a record, with what else its line holds.

    Lines stay those of the file; `places` tells the elements of one line apart. A cell without any element, and an
    element of the wrong number of parts, is a reject.

    Args:
        batch: has the columns `source_columns(columns, explode)`; those below the exploded one, as `items.id`, are
            lists of equal lengths.
        columns: those asked.
    """
    table = batch.columns
    names = [name for name in table.column_names if _is_element(name, explode)]
    cells = {name: to_elements(table[name], explode.separator) for name in names}
    lengths = cells[names[0]][1]
    rejects = _reject(table, batch.lines, lengths == 0, f"{explode.column} has no element", file)
    owners = lists.owners(lengths)
    exploded = table.take(pa.array(owners))
    for name, (elements, _) in cells.items():
        exploded = exploded.set_column(exploded.column_names.index(name), name, elements)
    lines, places = (
        batch.lines[owners],
        (np.arange(len(owners)) - (np.cumsum(lengths) - lengths)[owners]).astype(np.int32),
    )
    if explode.into is not None:
        parts = pc.split_pattern(
            as_text(exploded[explode.column]), explode.part_separator, max_splits=len(explode.into) - 1, reverse=True
        )
        whole = pc.fill_null(pc.equal(pc.list_value_length(parts), len(explode.into)), False)
        why = f"an element of {explode.column} does not have {len(explode.into)} parts"
        rejects += _reject(exploded, lines, ~whole.to_numpy(zero_copy_only=False), why, file)
        kept = whole.to_numpy(zero_copy_only=False)
        exploded, lines, places = exploded.filter(whole), lines[kept], places[kept]
        flat = pc.list_flatten(parts.filter(whole))
        for place, name in enumerate(explode.into):
            rows = pa.array(np.arange(place, len(flat), len(explode.into)))
            exploded = exploded.append_column(name, pc.utf8_trim_whitespace(flat.take(rows)))
    return Batch(exploded.select(list(columns)), lines, batch.rejects + rejects, places)


def _is_element(column: str, explode: Explode) -> bool:
    return column == explode.column or column.startswith(f"{explode.column}.")


def _reject(table: pa.Table, lines: np.ndarray, bad: np.ndarray, reason: str, file: str) -> list[Reject]:
    if not bad.any():
        return []
    records = show_text(table.filter(pa.array(bad))).to_pylist()
    return [Reject(reason, file, line, record) for line, record in zip(lines[bad].tolist(), records)]
