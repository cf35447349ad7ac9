"""Molecules within a tower: what is encoded how often, and that each record gets the vector of its molecule."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.contract import Mask, Pass
from recsys_ssl.encoders.molecule import encoder as molecule
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.graph import batch_molecules, to_bytes
from recsys_ssl.encoders.molecule.grover import embed_molecules
from recsys_ssl.encoders.molecule.settings import GroverConfig
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.encoders.molecule.table import MoleculeRows, unpack_molecules
from recsys_ssl.encoders.molecule.views import mask_molecules
from recsys_ssl.features.batch import batch_from_sparse, lay_out
from recsys_ssl.features.encoding import EncodedFeature
from recsys_ssl.models.two_tower import TowerConfig, TwoTower

GRAPHS = [featurise(smiles) for smiles in ("CCO", "c1ccccc1", "CC(=O)O", "CN", "C1CC1C")]
PACKED = [to_bytes(graph) for graph in GRAPHS]
ITEM = (
    EncodedFeature("brand", "item/brand", 4),
    EncodedFeature("structure", "item/structure", 0, content="molecule"),
)
CONFIG = TowerConfig(3, (), 4, trainable_default=True)


@pytest.fixture(scope="module")
def encoder():
    return MoleculeEncoder(GroverConfig(hidden_dim=4, num_heads=2, depth=2, dropout=0.0))


@pytest.fixture(scope="module")
def model(encoder):
    (layout,), num_rows = lay_out([(ITEM, [False, False])])
    return TwoTower(layout, layout, num_rows, CONFIG, encoders={"molecule": encoder})


@pytest.fixture(scope="module")
def vectors(encoder):
    """[5, 8]."""
    return embed_molecules(encoder, batch_molecules(GRAPHS)).numpy()


@pytest.fixture
def encoded_batches(monkeypatch):
    """The batches that are encoded while a test runs."""
    batches = []

    def record(encoder, batch, **how):
        batches.append(batch)
        return embed_molecules(encoder, batch, **how)

    monkeypatch.setattr(molecule, "embed_molecules", record)
    return batches


def make_batch(layout, brands, packed):
    """[num_records] brand code and packed molecule of each record; None and b"" are missing."""
    rows = [row for row, brand in enumerate(brands) if brand is not None]
    brand = tf.SparseTensor(
        np.array([[row, 0] for row in rows], np.int64).reshape(-1, 2),
        tf.constant([brands[row] for row in rows], tf.int64),
        [len(brands), 1],
    )
    structure = tf.sparse.from_dense(tf.constant(packed)[:, tf.newaxis])
    return batch_from_sparse(layout, {"brand": brand, "structure": structure}, len(brands))


def project(model, vectors):
    layer = next(layer for layer in model.item_encoder.submodules if layer.name == "structure")
    kernel, bias = layer.get_weights()
    return vectors / np.sqrt(vectors.shape[1]) @ kernel + bias


def defaults_of(model):
    return next(variable for variable in model.item_encoder.variables if "default" in variable.name).numpy()


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [3, 3, 0], [2], []], ids=["all", "repeated", "one", "none"])
def test_chunks_give_the_vectors_of_one_batch(monkeypatch, encoder, vectors, rows):
    monkeypatch.setattr(molecule, "_CHUNK", 2)
    molecules = MoleculeRows(unpack_molecules(tf.constant(PACKED)), tf.constant(rows, tf.int64))
    found = encoder.encode(molecules)
    assert found.shape == (len(rows), 8)
    np.testing.assert_allclose(found, vectors[rows], rtol=1e-5, atol=1e-6)


def test_a_molecule_is_its_projected_vector_and_a_missing_one_the_default(model, vectors):
    batch = make_batch(model.item_layout, [1, None, 2], [PACKED[4], PACKED[0], b""])
    found = model.item_encoder(batch).numpy().reshape(3, 2, 3)
    np.testing.assert_allclose(found[:2, 1], project(model, vectors[[4, 0]]), rtol=1e-4, atol=1e-6)
    default, table = defaults_of(model), model.table.numpy()
    np.testing.assert_array_equal(found[2, 1], default[1])
    np.testing.assert_allclose(found[:, 0], [table[1], default[0], table[2]], rtol=1e-6)


def test_vectors_that_are_known_give_the_same_embeddings_and_nothing_is_encoded(model, vectors, encoded_batches):
    batch = make_batch(model.item_layout, [1, 0, 2], [PACKED[4], b"", PACKED[1]])
    expected = model.embed_items(batch)
    assert len(encoded_batches) == 1
    known = np.stack([vectors[4], np.full(8, np.nan), vectors[1]]).astype(np.float32)
    frozen = batch._replace(contents={}, dense={"structure": tf.constant(known)})
    np.testing.assert_allclose(model.embed_items(frozen), expected, rtol=1e-4, atol=1e-6)
    assert len(encoded_batches) == 1


# Of the molecules of four records, the last of which has none, the views show: both the first, the second view the
# second, none the third.
VISIBLE = np.array([[[1, 1], [1, 0], [1, 0], [1, 1]], [[0, 1], [0, 1], [1, 0], [1, 1]]], bool)


def test_what_no_view_shows_is_not_encoded(model, vectors, encoded_batches):
    batch = make_batch(model.item_layout, [0, 1, 2, 3], [*PACKED[:3], b""])
    found = model.item_encoder(batch, tf.constant(VISIBLE)).numpy().reshape(2, 4, 2, 3)
    (encoded,) = encoded_batches
    assert int(encoded.num_molecules) == 2
    default, projected = defaults_of(model)[1], project(model, vectors)
    expected = [[projected[0], default, default, default], [projected[0], projected[1], default, default]]
    np.testing.assert_allclose(found[:, :, 1], expected, rtol=1e-4, atol=1e-6)


def test_masked_molecules_are_encoded_once_for_each_view_that_shows_them(model, encoder, encoded_batches):
    batch = make_batch(model.item_layout, [0, 1, 2, 3], [*PACKED[:3], b""])

    seed = tf.constant([1, 2], tf.int64)

    def mask(molecules):
        return mask_molecules(molecules, 0.4, seed)

    passes = {"molecule": Pass(mask=Mask(0.4, seed))}
    found = model.item_encoder(batch, tf.constant(VISIBLE), None, passes).numpy().reshape(2, 4, 2, 3)
    (encoded,) = encoded_batches
    shown = batch_molecules([GRAPHS[0], GRAPHS[0], GRAPHS[1]])
    for ours, theirs in zip(encoded, mask(shown)):
        np.testing.assert_array_equal(ours, theirs)
    # The two views of the first molecule hide other parts of it.
    assert (encoded.atoms[:3] != encoded.atoms[3:6]).numpy().any()
    projected = project(model, embed_molecules(encoder, mask(shown)).numpy())
    np.testing.assert_allclose(found[[0, 1, 1], [0, 0, 1], 1], projected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_views_without_any_molecule_are_defaults(model, masked):
    batch = make_batch(model.item_layout, [0, 1], PACKED[:2])
    passes = {"molecule": Pass(mask=Mask(0.4, tf.constant([1, 3], tf.int64)))}
    visible = tf.constant([[[True, False]], [[True, False]]])
    found = model.item_encoder(batch, visible, None, passes if masked else {}).numpy().reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(found[:, :, 1], np.broadcast_to(defaults_of(model)[1], [2, 2, 3]))


def test_both_towers_share_one_encoder(model, encoder):
    names = [variable.ref() for variable in model.trainable_variables]
    assert len(names) == len(set(names))
    assert {variable.ref() for variable in encoder.trainable_variables} < set(names)
    # The table; per tower a projection, the defaults and an MLP of one layer.
    assert len(names) == len(encoder.trainable_variables) + 1 + 2 * (2 + 1 + 2)


def test_a_molecule_needs_an_encoder():
    (layout,), num_rows = lay_out([(ITEM, [False, False])])
    with pytest.raises(
        ValueError,
        match=r"content needs an encoder of its kind\. Received: feature 'structure'",
    ):
        TwoTower(layout, layout, num_rows, CONFIG)


@pytest.mark.parametrize("frozen", [False, True])
def test_both_towers_standardise_a_molecule_encoded_or_not(encoder, vectors, frozen):
    (layout,), num_rows = lay_out([(ITEM, [False, False])])
    model = TwoTower(layout, layout, num_rows, CONFIG, encoders={"molecule": encoder})
    model.whiten("structure", tf.constant(vectors), decorrelate=False)
    batch = make_batch(layout, [None] * 5, PACKED)
    if frozen:
        batch = batch._replace(contents={}, dense={"structure": tf.constant(vectors)})
    for tower in (model.query_encoder, model.item_encoder):
        kernel, bias = next(layer for layer in tower.submodules if layer.name == "structure").get_weights()
        standardised = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
        expected = standardised / np.sqrt(vectors.shape[1]) @ kernel + bias
        np.testing.assert_allclose(tower(batch)[0, :, CONFIG.feature_dim :], expected, rtol=1e-3, atol=1e-4)
