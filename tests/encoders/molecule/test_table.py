"""Flat molecules inside a graph against the NumPy functions that they repeat."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.molecule.graph import MoleculeGraph, batch_molecules, pad_to, to_bytes
from recsys_ssl.encoders.molecule.grover import GTransformer, embed_molecules
from recsys_ssl.encoders.molecule.settings import GroverConfig
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.encoders.molecule.table import (
    MoleculeRows,
    concat_tables,
    take_molecules,
    unpack_molecules,
)

SMILES = ["CCO", "C", "CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C" * 70, "C1CC1", "[13CH4]"]
GRAPHS = [featurise(smiles) for smiles in SMILES]
PACKED = [to_bytes(graph) for graph in GRAPHS]
MISSING = MoleculeGraph(*(part[:0] for part in GRAPHS[0]))
STRINGS = tf.TensorSpec([None], tf.string)


@pytest.fixture(scope="module")
def table():
    return unpack_molecules(tf.constant(PACKED))


def graph_of(table, molecule):
    """The NumPy graph of one molecule of a table."""
    atoms, bonds = (slice(*splits[molecule : molecule + 2]) for splits in (table.atom_splits, table.bond_splits))
    return MoleculeGraph(table.atoms[atoms], table.masses[atoms], table.bonds[bonds], table.ends[bonds])


def assert_same_arrays(found, expected):
    for name, ours, theirs in zip(expected._fields, found, expected):
        np.testing.assert_array_equal(ours, theirs, name)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name


# --- Unpacking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unpack", [unpack_molecules, tf.function(unpack_molecules, input_signature=[STRINGS])])
@pytest.mark.parametrize("order", [range(7), [], [6], [4, 1, 1]], ids=["all", "none", "one", "some"])
def test_unpacked_molecules_are_those_that_were_packed(unpack, order):
    table = unpack(tf.constant([PACKED[i] for i in order], tf.string))
    assert len(table.atom_splits) == len(table.bond_splits) == len(order) + 1
    for place, i in enumerate(order):
        assert_same_arrays(graph_of(table, place), GRAPHS[i])


def test_an_empty_string_is_a_missing_molecule():
    table = unpack_molecules(tf.constant([b"", PACKED[0], b"", b"", PACKED[2], b""]))
    present = MoleculeRows(table, tf.constant([0, 1, 4, 5, 1], tf.int64)).present()
    assert present.numpy().tolist() == [False, True, True, False, True]
    assert_same_arrays(graph_of(table, 1), GRAPHS[0])
    assert_same_arrays(graph_of(table, 2), MISSING)
    assert_same_arrays(graph_of(table, 4), GRAPHS[2])


OUTSIDE = to_bytes(GRAPHS[0]._replace(ends=np.array([[0, 1], [1, 3]], np.int32)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"CCO", "be longer than its header"),
        (b"\0" * 8, "be longer than its header"),
        (PACKED[0][:-1], "have the length that its header tells"),
        (PACKED[0] + b"\0", "have the length that its header tells"),
        (b"a SMILES, not a graph", "have the length that its header tells"),
        (OUTSIDE, "have bonds between its own atoms"),
    ],
    ids=["SMILES", "no atoms", "short", "long", "text", "bond to nowhere"],
)
def test_what_is_no_packed_molecule_is_refused(bad, message):
    for unpack in (unpack_molecules, tf.function(unpack_molecules, input_signature=[STRINGS])):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"a packed molecule must {message}"):
            unpack(tf.constant([PACKED[1], bad]))


def test_tables_lie_one_after_the_other(table):
    pieces = [unpack_molecules(tf.constant(part, tf.string)) for part in (PACKED[:3], [], [*PACKED[3:], b""])]
    whole = unpack_molecules(tf.constant([*PACKED, b""]))
    assert_same_arrays(concat_tables(pieces), whole)
    assert_same_arrays(concat_tables([table]), table)


# --- Batches ------------------------------------------------------------------------------------------

ROWS = [list(range(7)), [3, 0, 0, 6, 2], [4], [], [2] * 40]
IDS = ["all", "repeated", "one", "none", "many"]


@pytest.mark.parametrize("rows", ROWS, ids=IDS)
def test_a_batch_is_laid_out_as_by_numpy(table, rows):
    found = take_molecules(MoleculeRows(table, tf.constant(rows, tf.int64)))
    assert_same_arrays(found, batch_molecules([GRAPHS[row] for row in rows]))


def test_a_missing_molecule_has_no_atoms():
    table = unpack_molecules(tf.constant([PACKED[0], b"", PACKED[2]]))
    found = take_molecules(MoleculeRows(table, tf.constant([2, 1, 0], tf.int64)))
    assert_same_arrays(found, batch_molecules([GRAPHS[2], MISSING, GRAPHS[0]]))


@pytest.mark.parametrize("copies", [1, 12, 13, 15, 16, 31, 200])
def test_padding_is_that_of_numpy(copies):
    """Molecules of five atoms: 64 and 65 rows lie at the border of two buckets, so do 80 and 81."""
    packed = to_bytes(featurise("CCCCC"))
    table = unpack_molecules(tf.constant([packed] * copies))
    found = take_molecules(MoleculeRows(table, tf.range(copies, dtype=tf.int64)))
    assert len(found.atoms) == pad_to(5 * copies + 1)
    assert len(found.sources) == pad_to(8 * copies)


def test_one_trace_serves_all_sizes_and_gives_the_vectors_of_numpy_batches(table):
    traces, encoder = [], GTransformer(GroverConfig(hidden_dim=8, num_heads=2))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def embed(rows):
        traces.append(rows)
        return embed_molecules(encoder, take_molecules(MoleculeRows(table, rows)))

    for rows in ROWS:
        expected = embed_molecules(encoder, batch_molecules([GRAPHS[row] for row in rows]))
        np.testing.assert_allclose(embed(tf.constant(rows, tf.int64)), expected, rtol=1e-5, atol=1e-5)
    assert len(traces) == 1
