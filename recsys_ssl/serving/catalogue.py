"""The raw catalogue in memory, for people: ids, titles and single records."""

from __future__ import annotations

import pyarrow as pa

from recsys_ssl import examples, lists
from recsys_ssl.spec import FeatureSpec


class RawCatalogue:
    """Raw item records as Arrow columns: as many bytes as the example files uncompressed.

    Attributes:
        item_ids: [num_items] in row order.
        titles: [num_items] what people read for an item; its id where it has no title.
    """

    def __init__(self, table: pa.Table, title: str | None):
        self._table = table
        self.item_ids = [item_id.decode("utf-8") for item_id in lists.flat(table, "item_id", pa.large_binary())[0]]
        self.titles = self.item_ids
        if title is not None:
            shown = lists.first(*lists.flat(table, title, pa.large_binary()), None)
            self.titles = [i if t is None else t.decode("utf-8") for t, i in zip(shown, self.item_ids, strict=True)]
        self._row_of = {item_id: row for row, item_id in enumerate(self.item_ids)}

    def title_of(self, item_id: str) -> str:
        return self.titles[self._row_of[item_id]]

    def find(self, item_id: str) -> int | None:
        """The row of an item, or None where the catalogue has no such item."""
        return self._row_of.get(item_id)

    def record(self, row: int) -> dict[str, list]:
        """Column name -> raw values of one item, [] where missing."""
        return lists.record(self._table, row)


def read_catalogue(spec: FeatureSpec, catalogue_dir: str) -> RawCatalogue:
    """Reads a raw catalogue; its titles are the feature `items.title`, or the ids."""
    shards = examples.list_shards(catalogue_dir, examples.CATALOGUE_SPLIT)
    # A shard in which a feature is missing everywhere has a column of nulls there.
    table = lists.concat_tables([pa.Table.from_batches([batch]) for batch in examples.read_batches(shards)])
    return RawCatalogue(table, spec.items.title)
