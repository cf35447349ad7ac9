"""Integer-coded features as flat bags: what the towers read.

All vocabularies are laid end to end in one index space, so that one gather and one segment sum embed all
features of a batch, whatever their number and however ragged they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_ssl import examples, kinds, lists
from recsys_ssl.features.encoding import EncodedFeature


class History(NamedTuple):
    """What the query of each record chose, in order: one entry a choice, record by record, the oldest first."""

    codes: tf.Tensor
    """[num_choices] int64 row of the shared embedding table, as in `FeatureBatch`."""
    records: tf.Tensor
    """[num_choices] int64 record of the choice, ascending."""


NO_HISTORY = History(np.zeros(0, np.int64), np.zeros(0, np.int64))
"""Of items, and of queries whose layout names no item sequence."""


class FeatureBatch(NamedTuple):
    """Features of `num_records` records, laid flat: one entry a value, however many values a record has.

    Three films with the features film (slot 0, 5 values, offset 0) and genres (slot 1, 4 values, offset 5):

        record  film   genres           codes    0  5  7    1    2  5  6  8
             0     0   0, 2             records  0  0  0    1    2  2  2  2
             1     1                    slots    0  1  1    0    0  1  1  1
             2     2   0, 1, 3                   film 0     1    film 2

    A code is the value plus the offset of its feature: the row of the one embedding table. Film 1 has no genre, and so
    no entry in slot 1: the tower takes its default embedding there.

    Examples:
        >>> from recsys_ssl.features.encoding import EncodedFeature
        >>> features = EncodedFeature("film", "film", 5), EncodedFeature("genres", "genres", 4)
        >>> (layout,), num_rows = lay_out([(features, [False, True])])
        >>> film = tf.ragged.constant([[0], [1], [2]], tf.int64).to_sparse()
        >>> genres = tf.ragged.constant([[0, 2], [], [0, 1, 3]], tf.int64).to_sparse()
        >>> batch = batch_from_sparse(layout, {"film": film, "genres": genres}, 3)
        >>> sorted(zip(*(part.numpy().tolist() for part in (batch.records, batch.slots, batch.codes))))
        [(0, 0, 0), (0, 1, 5), (0, 1, 7), (1, 0, 1), (2, 0, 2), (2, 1, 5), (2, 1, 6), (2, 1, 8)]
    """

    codes: tf.Tensor
    """[num_values] int64 row of the shared embedding table."""
    records: tf.Tensor
    """[num_values] int64 record of the value, 0..num_records-1."""
    slots: tf.Tensor
    """[num_values] int64 slot (position of the feature) of the value."""
    dense: dict[str, tf.Tensor]
    """name -> [num_records, dim] float32; a missing vector is all NaN. Of content too, where its vectors are known."""
    contents: dict[str, Any]
    """name -> `contract.Content` of the records, to be encoded."""
    num_records: tf.Tensor
    """Scalar int64."""
    history: History = NO_HISTORY
    """The whole item sequence that the layout names."""


@dataclass(frozen=True)
class FeatureLayout:
    """Where the features of one tower lie in the shared index space.

    Attributes:
        features: the encoded features; a feature's position is its slot.
        offsets: first index of each feature's vocabulary in the shared table.
        multi_valued: per slot, whether a record may have several values (value dropout applies there).
        last: name of an item sequence -> how many of its last values are features; all where it is not named.
        history: name of the item sequence that `FeatureBatch.history` holds as a whole; None: it is empty.
    """

    features: tuple[EncodedFeature, ...]
    offsets: tuple[int, ...]
    multi_valued: tuple[bool, ...]
    last: Mapping[str, int] = field(default_factory=dict)
    history: str | None = None

    @property
    def num_slots(self) -> int:
        return len(self.features)


def lay_out(
    sides: Sequence[tuple[Sequence[EncodedFeature], Sequence[bool]]],
) -> tuple[list[FeatureLayout], int]:
    """Lays the vocabularies of all towers end to end; a vocabulary that two features share lies there once.

    Args:
        sides: per tower its features and which of them are multi-valued.

    Returns:
        A layout per tower and the number of rows of the shared table.
    """
    starts: dict[str, int] = {}
    num_rows = 0
    for features, _ in sides:
        for feature in features:
            if feature.vocabulary not in starts:
                starts[feature.vocabulary] = num_rows
                num_rows += feature.size
    layouts = [
        FeatureLayout(tuple(features), tuple(starts[f.vocabulary] for f in features), tuple(multi_valued))
        for features, multi_valued in sides
    ]
    return layouts, num_rows


def batch_from_sparse(
    layout: FeatureLayout, sparse: dict[str, tf.SparseTensor], num_records: tf.Tensor
) -> FeatureBatch:
    """Flattens the encoded features of a batch of records.

    Args:
        sparse: name -> [num_records, width] codes (int64), elements (float32) of a dense feature, or packed content
            (string).
    """
    codes, records, slots, dense, contents = [], [], [], {}, {}
    num_records, empty = tf.cast(num_records, tf.int64), tf.zeros([0], tf.int64)
    history = History(empty, empty)
    for slot, (feature, offset) in enumerate(zip(layout.features, layout.offsets)):
        tensor = sparse[feature.name]
        if feature.dim:
            rows = tf.fill([num_records, feature.dim], np.nan)
            dense[feature.name] = tf.tensor_scatter_nd_update(rows, tensor.indices, tensor.values)
            continue
        if feature.content:
            packed = tf.tensor_scatter_nd_update(tf.fill([num_records], ""), tensor.indices[:, :1], tensor.values)
            contents[feature.name] = kinds.load(feature.content, "encoder").unpack(packed)
            continue
        if feature.name == layout.history:
            history = History(tensor.values + offset, tensor.indices[:, 0])
        if feature.name in layout.last:
            tensor = keep_last(tensor, layout.last[feature.name])
        codes.append(tensor.values + offset)
        records.append(tensor.indices[:, 0])
        slots.append(tf.fill(tf.shape(tensor.values), tf.constant(slot, tf.int64)))
    return FeatureBatch(
        codes=tf.concat([empty, *codes], axis=0),
        records=tf.concat([empty, *records], axis=0),
        slots=tf.concat([empty, *slots], axis=0),
        dense=dense,
        contents=contents,
        num_records=num_records,
        history=history,
    )


def keep_last(values: tf.SparseTensor, length: int) -> tf.SparseTensor:
    """The last `length` values of each record, which may stand anywhere in its row; indices must be in order."""
    records = values.indices[:, 0]
    return tf.sparse.retain(values, count_later(records, values.dense_shape[0]) < length)


def count_later(records: tf.Tensor, num_records: tf.Tensor) -> tf.Tensor:
    """[num_values] int64, how many values of its own record come after each; `records` must ascend."""
    counts = tf.math.unsorted_segment_sum(tf.ones_like(records), records, num_records)
    return tf.gather(tf.cumsum(counts), records) - tf.range(1, tf.size(records, tf.int64) + 1)


class Catalogue:
    """The encoded catalogue in memory: 16 bytes per feature value and 16 bytes per item, plus the ids.

    Content takes what its kind says of it, and 4 bytes an element once vectors stand for it, see `replace_contents`.

    Attributes:
        item_ids: [num_items] bytes.
        train_counts: [num_items] int64, train positives of each item.
    """

    def __init__(self, catalogue_dir: str, layout: FeatureLayout):
        """Reads a transformed catalogue.

        Raises:
            ValueError: the rows of the shards are not 0..num_items-1 in order.
        """
        self.layout = layout
        rows: list[np.ndarray] = []
        ids, counts, parts = [], [], []
        dense: dict[str, list[np.ndarray]] = {f.name: [] for f in layout.features if f.dim}
        contents: dict[str, list] = {f.name: [] for f in layout.features if f.content}
        modules = {f.name: kinds.load(f.content, "encoder") for f in layout.features if f.content}
        for batch in examples.read_batches(examples.list_shards(catalogue_dir, examples.CATALOGUE_SPLIT)):
            first_record = sum(len(part) for part in rows)
            rows.append(lists.flat(batch, "item_row", pa.int64())[0])
            ids.append(lists.flat(batch, "item_id", pa.large_binary())[0])
            counts.append(lists.flat(batch, "train_count", pa.int64())[0])
            parts.append(_flatten_records(batch, layout, first_record))
            for name, vectors in dense.items():
                dim = next(f.dim for f in layout.features if f.name == name)
                vectors.append(lists.stack(name, *lists.flat(batch, name, pa.float32()), dim))
            for name, pieces in contents.items():
                packed = lists.only(name, *lists.flat(batch, name, pa.large_binary()), b"")
                pieces.append(modules[name].unpack(tf.constant(packed, tf.string)))
        self.item_ids = np.concatenate(ids)
        self.train_counts = np.concatenate(counts)
        if not np.array_equal(np.concatenate(rows), np.arange(self.num_items)):
            raise ValueError(f"{catalogue_dir}: catalogue rows must be 0..{self.num_items - 1} in order. Ingest again.")
        records, slots, codes = (np.concatenate(column) for column in zip(*parts))
        splits = np.searchsorted(records, np.arange(self.num_items + 1))
        self._splits, self._slots, self._codes = (tf.constant(x, tf.int64) for x in (splits, slots, codes))
        self._dense = {name: tf.constant(np.concatenate(vectors)) for name, vectors in dense.items()}
        self._contents = {name: modules[name].concat(pieces) for name, pieces in contents.items()}

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    def gather(self, rows: tf.Tensor) -> FeatureBatch:
        """The features of the items at `rows`, [num_rows] int64."""
        positions = tf.ragged.range(tf.gather(self._splits, rows), tf.gather(self._splits, rows + 1))
        return FeatureBatch(
            codes=tf.gather(self._codes, positions.flat_values),
            records=positions.value_rowids(),
            slots=tf.gather(self._slots, positions.flat_values),
            dense={name: tf.gather(vectors, rows) for name, vectors in self._dense.items()},
            contents={name: content.gather(rows) for name, content in self._contents.items()},
            num_records=tf.size(rows, tf.int64),
        )

    def read_codes(self, slot: int) -> np.ndarray:
        """[num_items] int64 code of the one value that each item has of a feature; -1 where it has none."""
        splits, slots, codes = (part.numpy() for part in (self._splits, self._slots, self._codes))
        found = np.full(self.num_items, -1, np.int64)
        own = np.flatnonzero(slots == slot)
        found[np.searchsorted(splits, own, side="right") - 1] = codes[own]
        return found

    def encode_some(self, name: str, embed: Callable[[Any], tf.Tensor], most: int) -> tf.Tensor | None:
        """Vectors of the content of at most so many items, spread evenly over the catalogue; None where none has any.

        Args:
            name: of the feature.
            embed: as in `replace_contents`.
        """
        content = self._contents[name]
        present = np.flatnonzero(content.present())
        if not len(present):
            return None
        rows = present[np.linspace(0, len(present) - 1, min(most, len(present))).astype(np.int64)]
        return embed(content.gather(tf.constant(rows)))

    def replace_contents(self, name: str, embed: Callable[[Any], tf.Tensor]) -> None:
        """Lets vectors stand for the content, which is encoded once and dropped; a missing one is all NaN.

        Args:
            name: of the feature.
            embed: content that is all present -> [num_records, dim] float32.
        """
        content = self._contents.pop(name)
        present = tf.where(content.present())
        vectors = embed(content.gather(present[:, 0]))
        missing = tf.fill([self.num_items, vectors.shape[1]], np.nan)
        self._dense[name] = tf.tensor_scatter_nd_update(missing, present, vectors)


def _flatten_records(batch, layout: FeatureLayout, first_record: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Begins with no values, for a layout of dense features only.
    columns = [(np.zeros(0, np.int64),) * 3]
    for slot, (feature, offset) in enumerate(zip(layout.features, layout.offsets)):
        if feature.dim or feature.content:
            continue
        values, lengths = lists.flat(batch, feature.name, pa.int64())
        columns.append((lists.owners(lengths), np.full(len(values), slot), values + offset))
    records, slots, codes = (np.concatenate(column) for column in zip(*columns))
    order = np.argsort(records, kind="stable")
    return records[order] + first_record, slots[order], codes[order]
