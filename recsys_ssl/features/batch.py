"""Integer-coded features as flat bags: what the towers read.

All vocabularies are laid end to end in one index space, so that one gather and one segment sum embed all
features of a batch, whatever their number and however ragged they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_ssl import examples, lists
from recsys_ssl.encoders.molecule.table import MoleculeRows, MoleculeTable, concat_tables, unpack_molecules
from recsys_ssl.features.preprocessing import EncodedFeature


class FeatureBatch(NamedTuple):
    """Features of `num_records` records."""

    codes: tf.Tensor
    """[num_values] int64 row of the shared embedding table."""
    records: tf.Tensor
    """[num_values] int64 record of the value, 0..num_records-1."""
    slots: tf.Tensor
    """[num_values] int64 slot (position of the feature) of the value."""
    dense: dict[str, tf.Tensor]
    """name -> [num_records, dim] float32; a missing vector is all NaN. Molecules too, where their vectors are known."""
    molecules: dict[str, MoleculeRows]
    """name -> the molecules of the records, to be encoded."""
    num_records: tf.Tensor
    """Scalar int64."""


@dataclass(frozen=True)
class FeatureLayout:
    """Where the features of one tower lie in the shared index space.

    Attributes:
        features: the encoded features; a feature's position is its slot.
        offsets: first index of each feature's vocabulary in the shared table.
        multi_valued: per slot, whether a record may have several values (value dropout applies there).
    """

    features: tuple[EncodedFeature, ...]
    offsets: tuple[int, ...]
    multi_valued: tuple[bool, ...]

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
        sparse: name -> [num_records, width] codes (int64), elements (float32) of a dense feature, or packed graphs
            (string) of a molecule.
    """
    codes, records, slots, dense, molecules = [], [], [], {}, {}
    num_records = tf.cast(num_records, tf.int64)
    for slot, (feature, offset) in enumerate(zip(layout.features, layout.offsets)):
        tensor = sparse[feature.name]
        if feature.dim:
            rows = tf.fill([num_records, feature.dim], np.nan)
            dense[feature.name] = tf.tensor_scatter_nd_update(rows, tensor.indices, tensor.values)
            continue
        if feature.is_molecule:
            packed = tf.tensor_scatter_nd_update(tf.fill([num_records], ""), tensor.indices[:, :1], tensor.values)
            molecules[feature.name] = MoleculeRows(unpack_molecules(packed), tf.range(num_records))
            continue
        codes.append(tensor.values + offset)
        records.append(tensor.indices[:, 0])
        slots.append(tf.fill(tf.shape(tensor.values), tf.constant(slot, tf.int64)))
    empty = tf.zeros([0], tf.int64)
    return FeatureBatch(
        codes=tf.concat([empty, *codes], axis=0),
        records=tf.concat([empty, *records], axis=0),
        slots=tf.concat([empty, *slots], axis=0),
        dense=dense,
        molecules=molecules,
        num_records=num_records,
    )


class Catalogue:
    """The encoded catalogue in memory: 16 bytes per feature value and 16 bytes per item, plus the ids.

    A molecule of 30 atoms and 33 bonds takes 1.1 kB, see `MoleculeTable`; 8 * hidden_dim bytes once vectors stand for
    the molecules, see `replace_molecules`.

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
        rows, ids, counts, parts = [], [], [], []
        dense: dict[str, list[np.ndarray]] = {f.name: [] for f in layout.features if f.dim}
        tables: dict[str, list[MoleculeTable]] = {f.name: [] for f in layout.features if f.is_molecule}
        for batch in examples.read_batches(examples.list_shards(catalogue_dir, examples.CATALOGUE_SPLIT)):
            first_record = sum(len(part) for part in rows)
            rows.append(lists.flat(batch, "item_row", pa.int64())[0])
            ids.append(lists.flat(batch, "item_id", pa.large_binary())[0])
            counts.append(lists.flat(batch, "train_count", pa.int64())[0])
            parts.append(_flatten_records(batch, layout, first_record))
            for name, vectors in dense.items():
                dim = next(f.dim for f in layout.features if f.name == name)
                vectors.append(lists.stack(name, *lists.flat(batch, name, pa.float32()), dim))
            for name, pieces in tables.items():
                packed = lists.only(name, *lists.flat(batch, name, pa.large_binary()), b"")
                pieces.append(unpack_molecules(tf.constant(packed, tf.string)))
        self.item_ids = np.concatenate(ids)
        self.train_counts = np.concatenate(counts)
        if not np.array_equal(np.concatenate(rows), np.arange(self.num_items)):
            raise ValueError(f"{catalogue_dir}: catalogue rows must be 0..{self.num_items - 1} in order. Ingest again.")
        records, slots, codes = (np.concatenate(column) for column in zip(*parts))
        splits = np.searchsorted(records, np.arange(self.num_items + 1))
        self._splits, self._slots, self._codes = (tf.constant(x, tf.int64) for x in (splits, slots, codes))
        self._dense = {name: tf.constant(np.concatenate(vectors)) for name, vectors in dense.items()}
        self._molecules = {name: concat_tables(pieces) for name, pieces in tables.items()}

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
            molecules={name: MoleculeRows(table, rows) for name, table in self._molecules.items()},
            num_records=tf.size(rows, tf.int64),
        )

    def encode_molecules(self, embed: Callable[[MoleculeRows], tf.Tensor], most: int) -> dict[str, tf.Tensor]:
        """Vectors of at most so many molecules of each feature that has one, spread evenly over the catalogue.

        Args:
            embed: as in `replace_molecules`.
        """
        found = {}
        for name, table in self._molecules.items():
            present = np.flatnonzero(MoleculeRows(table, tf.range(self.num_items, dtype=tf.int64)).present())
            if len(present):
                rows = present[np.linspace(0, len(present) - 1, min(most, len(present))).astype(np.int64)]
                found[name] = embed(MoleculeRows(table, tf.constant(rows)))
        return found

    def replace_molecules(self, embed: Callable[[MoleculeRows], tf.Tensor]) -> None:
        """Lets vectors stand for the molecules, which are encoded once and dropped; a missing one is all NaN.

        Args:
            embed: molecules that are all present -> [num_molecules, dim] float32.
        """
        for name, table in self._molecules.items():
            every = MoleculeRows(table, tf.range(self.num_items, dtype=tf.int64))
            present = tf.where(every.present())
            vectors = embed(MoleculeRows(table, present[:, 0]))
            missing = tf.fill([self.num_items, vectors.shape[1]], np.nan)
            self._dense[name] = tf.tensor_scatter_nd_update(missing, present, vectors)
        self._molecules = {}


def _flatten_records(batch, layout: FeatureLayout, first_record: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Begins with no values, for a layout of dense features only.
    columns = [(np.zeros(0, np.int64),) * 3]
    for slot, (feature, offset) in enumerate(zip(layout.features, layout.offsets)):
        if feature.dim or feature.is_molecule:
            continue
        values, lengths = lists.flat(batch, feature.name, pa.int64())
        columns.append((lists.owners(lengths), np.full(len(values), slot), values + offset))
    records, slots, codes = (np.concatenate(column) for column in zip(*columns))
    order = np.argsort(records, kind="stable")
    return records[order] + first_record, slots[order], codes[order]
