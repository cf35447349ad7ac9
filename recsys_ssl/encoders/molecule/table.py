"""Many molecules as flat tensors: unpacked, and laid out as the batch that an encoder takes, inside a graph.

The TensorFlow counterpart of `molecule_graph`: no Python loop over molecules, and one trace serves all sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from recsys_ssl.encoders.molecule.graph import ATOM_COLUMNS, BOND_COLUMNS, MoleculeBatch, pad_to

_HEADER_BYTES = 8
# All that `pad_to` returns of what an int32 can count.
_BUCKETS = tuple(pad_to((16 + part) << power) for power in range(2, 27) for part in range(16))


class MoleculeTable(NamedTuple):
    """Molecules laid flat, in their order: 22 bytes an atom, 12 bytes a bond and 16 bytes a molecule.

    A molecule without atoms is a missing one.
    """

    atoms: tf.Tensor
    """[num_atoms, 18] uint8 codes, see `MoleculeGraph`."""
    masses: tf.Tensor
    """[num_atoms] float32."""
    bonds: tf.Tensor
    """[num_bonds, 4] uint8 codes."""
    ends: tf.Tensor
    """[num_bonds, 2] int32, atoms counted from the first of the molecule."""
    atom_splits: tf.Tensor
    """[num_molecules + 1] int64, where the atoms of each molecule begin, and the number of atoms."""
    bond_splits: tf.Tensor
    """[num_molecules + 1] int64, as `atom_splits`."""


class MoleculeRows(NamedTuple):
    """The molecules of some records; none is copied before it is asked for."""

    table: MoleculeTable
    rows: tf.Tensor
    """[num_records] int64 place of the record's molecule in the table."""

    def present(self) -> tf.Tensor:
        """[num_records] bool, whether the record has a molecule."""
        splits = self.table.atom_splits
        return tf.gather(splits, self.rows + 1) > tf.gather(splits, self.rows)

    def gather(self, records: tf.Tensor) -> MoleculeRows:
        """The molecules of the records at these places, [num_chosen] int64."""
        return self._replace(rows=tf.gather(self.rows, records))


# --- Unpacking -------------------------------------------------------------------------------------------


def unpack_molecules(packed: tf.Tensor) -> MoleculeTable:
    """The molecules that `molecule_graph.to_bytes` packed.

    Args:
        packed: [num_molecules] string, "" for a missing molecule.

    Raises:
        InvalidArgumentError: a string is no packed molecule: too short or too long for its header, or a bond that ends
            outside of its molecule.
    """
    sizes = tf.cast(tf.strings.length(packed, unit="BYTE"), tf.int64)
    present = tf.where(sizes > 0)[:, 0]
    with tf.control_dependencies([_check((sizes == 0) | (sizes > _HEADER_BYTES), "be longer than its header")]):
        content = tf.io.decode_raw(tf.strings.reduce_join(packed), tf.uint8)
    starts = tf.cumsum(sizes, exclusive=True)

    header = _read_pieces(content, tf.gather(starts, present), tf.fill([tf.size(present)], _HEADER_BYTES), tf.int32, 2)
    counts = tf.scatter_nd(present[:, tf.newaxis], tf.cast(header, tf.int64), [tf.size(packed, tf.int64), 2])
    num_atoms, num_bonds = tf.unstack(counts, axis=1)
    # What a wrong header asks for may be more than memory holds: nothing is read before it is checked.
    expected = _HEADER_BYTES + (4 + len(ATOM_COLUMNS)) * num_atoms + (8 + len(BOND_COLUMNS)) * num_bonds
    whole = (sizes == 0) | ((num_atoms > 0) & (num_bonds >= 0) & (sizes == expected))
    with tf.control_dependencies([_check(whole, "have the length that its header tells")]):
        num_atoms, num_bonds = tf.identity(num_atoms), tf.identity(num_bonds)
    ends_at = starts + _HEADER_BYTES
    masses_at = ends_at + 8 * num_bonds
    atoms_at = masses_at + 4 * num_atoms
    bonds_at = atoms_at + len(ATOM_COLUMNS) * num_atoms

    ends = _read_pieces(content, ends_at, 8 * num_bonds, tf.int32, 2)
    limits = tf.repeat(tf.cast(num_atoms, tf.int32), num_bonds)[:, tf.newaxis]
    with tf.control_dependencies([_check((ends >= 0) & (ends < limits), "have bonds between its own atoms")]):
        ends = tf.identity(ends)
    return MoleculeTable(
        atoms=_read_pieces(content, atoms_at, len(ATOM_COLUMNS) * num_atoms, tf.uint8, len(ATOM_COLUMNS)),
        masses=_read_pieces(content, masses_at, 4 * num_atoms, tf.float32, 1)[:, 0],
        bonds=_read_pieces(content, bonds_at, len(BOND_COLUMNS) * num_bonds, tf.uint8, len(BOND_COLUMNS)),
        ends=ends,
        atom_splits=_to_splits(num_atoms),
        bond_splits=_to_splits(num_bonds),
    )


def _check(sound: tf.Tensor, must: str) -> tf.Operation | None:
    message = f"a packed molecule must {must}. Pack it with molecule_graph.to_bytes; an empty string is a missing one."
    return tf.debugging.assert_equal(sound, True, message)


def _read_pieces(content: tf.Tensor, starts: tf.Tensor, sizes: tf.Tensor, dtype: tf.DType, width: int) -> tf.Tensor:
    """[sum(sizes) / (width * dtype.size), width], the pieces of the content one after the other."""
    sizes = tf.cast(sizes, tf.int64)
    pieces = tf.gather(content, tf.ragged.range(starts, starts + sizes).flat_values)
    if dtype == tf.uint8:
        return tf.reshape(pieces, [-1, width])
    return tf.bitcast(tf.reshape(pieces, [-1, width, dtype.size]), dtype)


def _to_splits(sizes: tf.Tensor) -> tf.Tensor:
    return tf.concat([[0], tf.cumsum(sizes)], axis=0)


def concat_tables(tables: Sequence[MoleculeTable]) -> MoleculeTable:
    """The molecules of all tables, in order."""
    atoms, masses, bonds, ends, *splits = zip(*tables)
    sizes = [tf.concat([part[1:] - part[:-1] for part in parts], axis=0) for parts in splits]
    flat = [tf.concat(parts, axis=0) for parts in (atoms, masses, bonds, ends)]
    return MoleculeTable(*flat, *map(_to_splits, sizes))


# --- Batches ---------------------------------------------------------------------------------------------


def take_molecules(molecules: MoleculeRows) -> MoleculeBatch:
    """The molecules as `molecule_graph.batch_molecules` lays them out, padding included.

    A molecule may come several times; a missing one has no atoms.
    """
    table, rows = molecules
    atom_rows, owners = _ranges(table.atom_splits, rows)
    bond_rows, bond_owners = _ranges(table.bond_splits, rows)
    num_molecules = tf.size(rows)
    num_atoms, num_bonds = tf.size(atom_rows), tf.size(bond_rows)
    padded_atoms, padded_bonds = _pad_to(num_atoms + 1), _pad_to(2 * num_bonds) // 2

    sizes = tf.gather(table.atom_splits, rows + 1) - tf.gather(table.atom_splits, rows)
    first_atoms = tf.cast(tf.cumsum(sizes, exclusive=True), tf.int32)
    ends = tf.gather(table.ends, bond_rows) + tf.gather(first_atoms, bond_owners)[:, tf.newaxis]
    edges = tf.reshape(tf.concat([ends, ends[:, ::-1]], axis=1), [-1, 2])
    edges = tf.pad(edges, [[0, 2 * (padded_bonds - num_bonds)], [0, 0]], constant_values=padded_atoms - 1)
    return MoleculeBatch(
        atoms=tf.pad(tf.gather(table.atoms, atom_rows), [[0, padded_atoms - num_atoms], [0, 0]]),
        masses=tf.pad(tf.gather(table.masses, atom_rows), [[0, padded_atoms - num_atoms]]),
        bonds=tf.pad(tf.gather(table.bonds, bond_rows), [[0, padded_bonds - num_bonds], [0, 0]]),
        sources=edges[:, 0],
        targets=edges[:, 1],
        molecules=tf.pad(tf.cast(owners, tf.int32), [[0, padded_atoms - num_atoms]], constant_values=num_molecules),
        num_molecules=num_molecules,
    )


def _ranges(splits: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Places of all elements of the rows, and which of the rows each belongs to."""
    ranges = tf.ragged.range(tf.gather(splits, rows), tf.gather(splits, rows + 1))
    return ranges.flat_values, ranges.value_rowids()


def _pad_to(size: tf.Tensor) -> tf.Tensor:
    """`molecule_graph.pad_to` of a scalar int32 tensor."""
    buckets = tf.constant(_BUCKETS, tf.int32)
    return tf.gather(buckets, tf.searchsorted(buckets, [size])[0])
