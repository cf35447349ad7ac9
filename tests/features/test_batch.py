"""Flat bags of codes, and the catalogue in memory, against a loop over records."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.encoders.molecule.graph import batch_molecules, to_bytes
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.encoders.molecule.table import MoleculeRows, take_molecules
from recsys_ssl.features.batch import Catalogue, FeatureLayout, batch_from_sparse, lay_out
from recsys_ssl.features.encoding import EncodedFeature

ITEM = (
    EncodedFeature("id", "item/id", 5),
    EncodedFeature("tags", "item/tags", 4),
    EncodedFeature("shape", "item/shape", 0, dim=2),
)
QUERY = (EncodedFeature("taste", "query/taste", 3), EncodedFeature("history", "item/id", 5))


def bags(batch):
    """(record, slot) -> sorted codes."""
    found = {}
    for record, slot, code in zip(batch.records.numpy(), batch.slots.numpy(), batch.codes.numpy()):
        found.setdefault((record, slot), []).append(code)
    return {key: sorted(codes) for key, codes in found.items()}


# --- Layout -------------------------------------------------------------------------------------------


def test_vocabularies_lie_end_to_end_and_a_shared_one_lies_there_once():
    (query, item), num_rows = lay_out([(QUERY, [False, True]), (ITEM, [False, True, False])])
    assert query.offsets == (0, 3)
    assert item.offsets == (3, 3 + 5, 3 + 5 + 4)
    assert num_rows == 3 + 5 + 4
    assert (query.num_slots, item.num_slots) == (2, 3)
    assert item.multi_valued == (False, True, False)


def test_towers_over_the_same_features_share_all_rows():
    (query, item), num_rows = lay_out([(ITEM, [False] * 3)] * 2)
    assert query == item
    assert num_rows == 5 + 4


# --- Batches of records -------------------------------------------------------------------------------


def test_sparse_features_become_flat_codes_with_record_and_slot():
    (layout,), _ = lay_out([(ITEM, [False, True, False])])
    sparse = {
        "id": tf.sparse.from_dense([[3], [1], [2]]),
        "tags": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], [0, 3, 1], [3, 2]),
        "shape": tf.SparseTensor([[1, 0], [1, 1]], [0.5, -1.0], [3, 2]),
    }
    sparse = {
        n: tf.SparseTensor(s.indices, tf.cast(s.values, tf.float32 if n == "shape" else tf.int64), s.dense_shape)
        for n, s in sparse.items()
    }
    batch = batch_from_sparse(layout, sparse, 3)
    assert bags(batch) == {(0, 0): [3], (1, 0): [1], (2, 0): [2], (0, 1): [5 + 0, 5 + 3], (2, 1): [5 + 1]}
    np.testing.assert_array_equal(batch.dense["shape"], [[np.nan] * 2, [0.5, -1.0], [np.nan] * 2])
    assert batch.num_records.dtype == tf.int64
    assert int(batch.num_records) == 3


def test_records_without_any_value_are_a_batch():
    (layout,), _ = lay_out([(ITEM, [False] * 3)])
    empty = {f.name: tf.sparse.from_dense(tf.zeros([2, 0], tf.float32 if f.dim else tf.int64)) for f in ITEM}
    batch = batch_from_sparse(layout, empty, 2)
    assert bags(batch) == {}
    assert np.isnan(batch.dense["shape"]).all()
    assert int(batch.num_records) == 2


def test_of_a_sequence_the_last_values_are_features_and_the_history_holds_all():
    """A tag sequence of offset 5: gaps in a row count for nothing, an empty row has no history."""
    (layout,), _ = lay_out([(ITEM[:2], [False, True])])
    layout = dataclasses.replace(layout, last={"tags": 2}, history="tags")
    values = tf.constant([0, 3, 1, 1, 2, 3], tf.int64)
    rows = tf.constant([[0, 0], [0, 2], [0, 3], [2, 1], [3, 0], [3, 1]], tf.int64)
    sparse = {"id": tf.sparse.from_dense(tf.ones([4, 1], tf.int64)), "tags": tf.SparseTensor(rows, values, [4, 4])}
    batch = batch_from_sparse(layout, sparse, 4)
    assert batch.history.codes.numpy().tolist() == [5 + 0, 5 + 3, 5 + 1, 5 + 1, 5 + 2, 5 + 3]
    assert batch.history.records.numpy().tolist() == [0, 0, 0, 2, 3, 3]
    assert {key: value for key, value in bags(batch).items() if key[1] == 1} == {
        (0, 1): [5 + 1, 5 + 3],
        (2, 1): [5 + 1],
        (3, 1): [5 + 2, 5 + 3],
    }
    plain = batch_from_sparse(dataclasses.replace(layout, last={}, history=None), sparse, 4)
    assert len(plain.history.codes) == 0
    assert bags(plain)[0, 1] == [5 + 0, 5 + 1, 5 + 3]


# --- Catalogue ----------------------------------------------------------------------------------------

ITEMS = [
    {"id": [0], "tags": [1, 1, 3], "shape": [1.0, 2.0]},
    {"id": [4], "tags": [], "shape": []},
    {"id": [], "tags": [2], "shape": [3.0, 4.0]},
    {"id": [1], "tags": [], "shape": []},
    {"id": [3], "tags": [], "shape": []},
]


@pytest.fixture
def write_catalogue(tmp_path, make_records):
    def write(items, cuts, rows=None):
        rows = range(len(items)) if rows is None else rows
        items = [
            item | {"item_row": [row], "item_id": [b"i%d" % row], "train_count": [10 * row]}
            for row, item in zip(rows, items)
        ]
        batch = make_records({name: [item[name] for item in items] for name in items[0]})
        for shard, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(items)])):
            examples.write_shard(batch.slice(start, stop - start), tmp_path, "catalogue", f"part-{shard}")
        return str(tmp_path)

    return write


def item_layout(features=ITEM):
    (layout,), _ = lay_out([(features, [False] * len(features))])
    return layout


@pytest.mark.parametrize(
    "rows", [[0, 1, 2, 3, 4], [4, 0, 0, 2], [3], [], [1, 3, 4]], ids=["all", "repeated", "one", "none", "all empty"]
)
# The last shard has neither tags nor shapes.
@pytest.mark.parametrize("cuts", [[], [1, 2, 3]], ids=["one shard", "four shards"])
@pytest.mark.parametrize("batch_size", [2, 4096])
def test_gathered_rows_have_the_features_of_their_items(monkeypatch, write_catalogue, rows, cuts, batch_size):
    monkeypatch.setattr(examples, "read_batches", functools.partial(examples.read_batches, batch_size=batch_size))
    catalogue = Catalogue(write_catalogue(ITEMS, cuts), item_layout())
    for gather in (catalogue.gather, tf.function(catalogue.gather)):
        batch = gather(tf.constant(rows, tf.int64))
        expected = {}
        for record, row in enumerate(rows):
            for slot, (name, offset) in enumerate((("id", 0), ("tags", 5))):
                if ITEMS[row][name]:
                    expected[record, slot] = sorted(offset + code for code in ITEMS[row][name])
        assert bags(batch) == expected
        shapes = [ITEMS[row]["shape"] or [np.nan, np.nan] for row in rows]
        np.testing.assert_array_equal(batch.dense["shape"], np.reshape(shapes, [-1, 2]))
        assert int(batch.num_records) == len(rows)


def test_the_catalogue_knows_its_ids_and_counts(write_catalogue):
    catalogue = Catalogue(write_catalogue(ITEMS, [2]), item_layout())
    assert catalogue.num_items == 5
    assert catalogue.item_ids.tolist() == [b"i0", b"i1", b"i2", b"i3", b"i4"]
    assert catalogue.train_counts.tolist() == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("name", ["shape", "tags"], ids=["only dense features", "only a bag"])
def test_a_catalogue_of_one_feature(write_catalogue, name):
    feature = next(f for f in ITEM if f.name == name)
    catalogue = Catalogue(write_catalogue(ITEMS, []), item_layout((feature,)))
    batch = catalogue.gather(tf.constant([2, 1], tf.int64))
    assert bags(batch) == ({} if name == "shape" else {(0, 0): [2]})
    if name == "shape":
        np.testing.assert_array_equal(batch.dense["shape"], [[3.0, 4.0], [np.nan, np.nan]])


@pytest.mark.parametrize("rows", [[1, 0, 2, 3, 4], [0, 1, 2, 3, 5], [0, 1, 1, 2, 3]], ids=str)
def test_rows_out_of_order_are_refused(write_catalogue, rows):
    with pytest.raises(ValueError, match=r"rows must be 0\.\.4 in order"):
        Catalogue(write_catalogue(ITEMS, [2], rows), item_layout())


def test_a_layout_counts_its_slots():
    assert FeatureLayout((), (), ()).num_slots == 0


# --- Molecules ----------------------------------------------------------------------------------------

GRAPHS = {row: featurise(smiles) for row, smiles in ((1, "CCO"), (3, "c1ccccc1"), (4, "C"))}
STRUCTURE = EncodedFeature("structure", "item/structure", 0, content="molecule")


@pytest.fixture
def molecules(write_catalogue):
    """Two items without molecule, one of them alone in its shard."""
    packed = [[to_bytes(GRAPHS[row])] if row in GRAPHS else [] for row in range(5)]
    items = [item | {"structure": values} for item, values in zip(ITEMS, packed)]
    return Catalogue(write_catalogue(items, [1, 3]), item_layout((*ITEM, STRUCTURE)))


def assert_same_batches(found, expected):
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rows", [[1, 3, 4], [4, 0, 4, 3, 2], [0, 2]], ids=["all", "repeated", "missing"])
def test_gathered_rows_have_the_molecules_of_their_items(molecules, rows):
    def gather(rows):
        found = molecules.gather(rows).contents["structure"]
        return found.present(), take_molecules(MoleculeRows(found.table, tf.boolean_mask(found.rows, found.present())))

    expected = batch_molecules([GRAPHS[row] for row in rows if row in GRAPHS])
    for function in (gather, tf.function(gather)):
        present, batch = function(tf.constant(rows, tf.int64))
        assert present.numpy().tolist() == [row in GRAPHS for row in rows]
        assert_same_batches(batch, expected)


def test_other_features_beside_a_molecule_are_as_before(molecules):
    batch = molecules.gather(tf.constant([0, 2], tf.int64))
    assert bags(batch) == {(0, 0): [0], (0, 1): [5 + 1, 5 + 1, 5 + 3], (1, 1): [5 + 2]}
    np.testing.assert_array_equal(batch.dense["shape"], [[1.0, 2.0], [3.0, 4.0]])


def test_vectors_may_stand_for_the_molecules(molecules):
    def embed(rows):
        batch = take_molecules(rows)
        sizes = tf.math.bincount(batch.molecules, minlength=batch.num_molecules + 1)[:-1]
        return tf.stack([tf.cast(sizes, tf.float32), tf.ones_like(sizes, tf.float32)], axis=1)

    molecules.replace_contents("structure", embed)
    batch = molecules.gather(tf.constant([4, 0, 3, 1], tf.int64))
    assert batch.contents == {}
    np.testing.assert_array_equal(batch.dense["structure"], [[1, 1], [np.nan, np.nan], [6, 1], [3, 1]])


@pytest.mark.parametrize(("most", "rows"), [(9, [1, 3, 4]), (2, [1, 4]), (1, [1])])
def test_some_molecules_are_encoded(molecules, most, rows):
    found = molecules.encode_some("structure", lambda content: content.rows, most)
    assert found.numpy().tolist() == rows


def test_packed_molecules_of_a_server_are_read():
    (layout,), _ = lay_out([((STRUCTURE,), [False])])
    packed = tf.sparse.from_dense(tf.constant([[b""], [to_bytes(GRAPHS[1])], [to_bytes(GRAPHS[3])]]))
    found = batch_from_sparse(layout, {"structure": packed}, 3).contents["structure"]
    assert found.present().numpy().tolist() == [False, True, True]
    rows = MoleculeRows(found.table, tf.constant([1, 2], tf.int64))
    assert_same_batches(take_molecules(rows), batch_molecules([GRAPHS[1], GRAPHS[3]]))
