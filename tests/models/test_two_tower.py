"""The towers against a loop over records, slots and views that reads the model's weights."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.features.batch import FeatureBatch, lay_out
from recsys_ssl.features.encoding import EncodedFeature
from recsys_ssl.models.history import States
from recsys_ssl.models.two_tower import FeatureEncoder, TowerConfig, TwoTower

DIM = 4
ITEM = (
    EncodedFeature("id", "item/id", 5),
    EncodedFeature("shape", "item/shape", 0, dim=2),
    EncodedFeature("tags", "item/tags", 4),
    EncodedFeature("colour", "item/colour", 0, dim=3),
)
QUERY = (EncodedFeature("taste", "query/taste", 3), EncodedFeature("history", "item/id", 5))
CONFIG = TowerConfig(DIM, (8,), 3, trainable_default=True)
NAN = float("nan")

# slot -> values per record: vocabulary codes within the feature, or a vector.
RECORDS = [
    {"id": [2], "shape": [0.5, -1.0], "tags": [0, 3, 3], "colour": [1.0, 2.0, 3.0]},
    {"id": [], "shape": None, "tags": [], "colour": None},
    {"id": [4], "shape": None, "tags": [1], "colour": [0.0, 0.0, 0.0]},
]


def make_model(config=CONFIG):
    keras.utils.set_random_seed(3)  # Keras draws its weights from a generator of its own
    (query, item), num_rows = lay_out([(QUERY, [False, True]), (ITEM, [False, False, True, False])])
    return TwoTower(query, item, num_rows, config)


def make_batch(layout, records, order=None):
    """Flat bags of the records; `order` permutes the values."""
    flat, dense = [], {f.name: [] for f in layout.features if f.dim}
    for record, features in enumerate(records):
        for slot, (feature, offset) in enumerate(zip(layout.features, layout.offsets)):
            if feature.dim:
                dense[feature.name].append(features[feature.name] or [NAN] * feature.dim)
            else:
                flat += [(code + offset, record, slot) for code in features[feature.name]]
    flat = [flat[i] for i in (range(len(flat)) if order is None else order)]
    codes, rows, slots = (tf.constant([value[i] for value in flat], tf.int64) for i in range(3))
    dense = {name: tf.constant(vectors, tf.float32) for name, vectors in dense.items()}
    return FeatureBatch(codes, rows, slots, dense, {}, tf.constant(len(records), tf.int64))


def defaults_of(encoder):
    """[num_slots, DIM]."""
    return next(variable for variable in encoder.variables if "default" in variable.name).numpy()


def projection_of(encoder, name):
    """Kernel and bias of a dense feature."""
    return next(layer for layer in encoder.submodules if layer.name == name).get_weights()


@pytest.fixture(scope="module")
def model():
    return make_model()


VISIBLE = np.array([[[1, 0, 1, 0]], [[0, 1, 0, 1]]], bool)
# Value by value: id of record 0, its three tags, id and tag of record 2.
KEPT = np.array([[1, 1], [0, 1], [1, 0], [0, 0], [1, 0], [0, 1]], bool)


@pytest.mark.parametrize(
    ("visible", "kept"),
    [
        pytest.param(None, None, id="plain"),
        pytest.param(VISIBLE, None, id="masked features"),
        pytest.param(None, KEPT, id="dropped values"),
        pytest.param(VISIBLE, KEPT, id="both stages"),
        pytest.param(VISIBLE[:1], None, id="one masked view"),
        pytest.param(np.random.default_rng(0).random([1, 3, 4]) < 0.5, None, id="masked per record"),
        pytest.param(np.random.default_rng(1).random([2, 3, 4]) < 0.5, KEPT, id="both stages per record"),
    ],
)
def test_a_feature_is_the_mean_of_its_kept_values_or_the_default(model, visible, kept, slow_towers):
    batch = make_batch(model.item_layout, RECORDS)
    arguments = (None if visible is None else tf.constant(visible), None if kept is None else tf.constant(kept))
    expected = slow_towers.encode(model.item_encoder, model.table.numpy(), model.item_layout, batch, visible, kept)
    for encode in (model.item_encoder, tf.function(model.item_encoder.__call__, autograph=False)):
        np.testing.assert_allclose(encode(batch, *arguments), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        model.embed_items(batch, *arguments),
        slow_towers.embed(model.item_mlp, expected.reshape(-1, expected.shape[-1])),
        rtol=1e-4,
        atol=1e-6,
    )


def test_by_hand(model):
    encoded = model.item_encoder(make_batch(model.item_layout, RECORDS)).numpy().reshape(3, 4, DIM)
    table, defaults = model.table.numpy(), defaults_of(model.item_encoder)
    tags = 3 + 5  # rows of the query's taste and of the ids lie before
    np.testing.assert_allclose(encoded[0, 2], (table[tags] + 2 * table[tags + 3]) / 3, rtol=1e-5)
    np.testing.assert_array_equal(encoded[1], defaults)
    np.testing.assert_array_equal(encoded[2, 1], defaults[1])
    # A vector of zeros is known, not missing.
    np.testing.assert_allclose(encoded[2, 3], projection_of(model.item_encoder, "colour")[1], atol=1e-6)


def test_queries_are_encoded_alike(model, slow_towers):
    records = [{"taste": [1], "history": [4, 0, 4]}, {"taste": [], "history": []}, {"taste": [2], "history": [3]}]
    batch = make_batch(model.query_layout, records)
    encoded = slow_towers.encode(model.query_encoder, model.table.numpy(), model.query_layout, batch)
    np.testing.assert_allclose(
        model.embed_queries(batch), slow_towers.embed(model.query_mlp, encoded[0]), rtol=1e-4, atol=1e-6
    )


def test_queries_have_views_too(model, slow_towers):
    records = [{"taste": [1], "history": [4, 0, 4]}, {"taste": [], "history": []}, {"taste": [2], "history": [3]}]
    batch = make_batch(model.query_layout, records)
    visible, kept = np.array([[[1, 1]], [[0, 1]]], bool), np.random.default_rng(2).random([6, 2]) < 0.5
    encoded = slow_towers.encode(model.query_encoder, model.table.numpy(), model.query_layout, batch, visible, kept)
    np.testing.assert_allclose(
        model.embed_queries(batch, tf.constant(visible), tf.constant(kept)),
        slow_towers.embed(model.query_mlp, encoded.reshape(-1, encoded.shape[-1])),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_history_reads_the_rows_of_the_item_ids(model):
    history = make_batch(model.query_layout, [{"taste": [], "history": [2]}])
    ids = make_batch(model.item_layout, RECORDS[:1])
    np.testing.assert_array_equal(
        model.query_encoder(history).numpy()[0, 0, DIM:], model.item_encoder(ids).numpy()[0, 0, :DIM]
    )


def test_rows_have_length_1(model):
    vectors = model.embed_items(make_batch(model.item_layout, RECORDS), tf.constant(VISIBLE), tf.constant(KEPT))
    assert vectors.shape == (2 * 3, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)


def test_the_order_of_values_does_not_matter_and_that_of_records_is_kept(model):
    plain = model.embed_items(make_batch(model.item_layout, RECORDS)).numpy()
    shuffled = model.embed_items(make_batch(model.item_layout, RECORDS, order=[4, 2, 0, 5, 3, 1]))
    np.testing.assert_allclose(shuffled, plain, rtol=1e-5, atol=1e-6)
    backwards = model.embed_items(make_batch(model.item_layout, RECORDS[::-1]))
    np.testing.assert_allclose(backwards, plain[::-1], rtol=1e-5, atol=1e-6)


def test_gradients_are_finite_and_reach_tables_defaults_and_projections():
    model = make_model()
    batch = make_batch(model.item_layout, RECORDS)
    with tf.GradientTape() as tape:
        vectors = model.embed_items(batch, tf.constant(VISIBLE), tf.constant(KEPT))
        loss = tf.reduce_sum(vectors * tf.reshape(tf.range(18.0), [6, 3]))
    variables = [model.table, *model.item_encoder.trainable_variables, *model.item_mlp.trainable_variables]
    gradients = [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, variables)]
    for variable, gradient in zip(variables, gradients):
        assert np.isfinite(gradient).all()
        assert (gradient != 0).any(), variable.name
    # Only view 0 shows ids and tags: both ids are kept there, and of the tags only number 3 of record 0.
    assert set(np.flatnonzero(gradients[0].any(axis=1))) == {3 + 2, 3 + 4, 8 + 3}


def test_the_default_embedding_is_learned_or_not():
    for trainable in (True, False):
        model = make_model(TowerConfig(DIM, (8,), 3, trainable_default=trainable))
        names = [variable.name for variable in model.trainable_variables]
        assert sum("default" in name for name in names) == (2 if trainable else 0)
        assert sum("default" in variable.name for variable in model.variables) == 2


def test_the_table_is_one_variable_of_all_rows(model):
    assert model.table.shape == (3 + 5 + 4, DIM)
    assert sum(variable is model.table for variable in model.trainable_variables) == 1


def test_a_tower_of_dense_features_only(slow_towers):
    (layout,), num_rows = lay_out([((ITEM[1],), [False])])
    assert num_rows == 0
    encoder = FeatureEncoder(layout, tf.Variable(tf.zeros([0, DIM])), CONFIG, "encoder")
    batch = make_batch(layout, [{"shape": [1.0, 2.0]}, {"shape": None}])
    expected = slow_towers.encode(encoder, np.zeros([0, DIM]), layout, batch)
    np.testing.assert_allclose(encoder(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("dim", [2, 512])
def test_a_vector_begins_no_longer_than_an_embedding_however_many_dimensions_it_has(dim):
    """Else it would explain the log alone, and the features beside it would learn nothing."""
    (layout,), _ = lay_out([((EncodedFeature("shape", "", 0, dim),), [False])])
    tf.random.set_seed(0)
    encoder = FeatureEncoder(layout, tf.Variable(tf.zeros([0, 64])), TowerConfig(64, (), 3, True), "encoder")
    standardised = np.random.default_rng(0).normal(size=[500, dim])
    encoded = encoder(make_batch(layout, [{"shape": list(row)} for row in standardised]))
    assert 0.1 < float(tf.reduce_mean(tf.reduce_sum(encoded**2, axis=-1))) < 4.0  # an embedding: 1


def test_towers_without_hidden_layers(slow_towers):
    model = make_model(TowerConfig(DIM, (), 3, trainable_default=True))
    batch = make_batch(model.item_layout, RECORDS)
    encoded = slow_towers.encode(model.item_encoder, model.table.numpy(), model.item_layout, batch)
    assert len(model.item_mlp.layers) == 1
    np.testing.assert_allclose(
        model.embed_items(batch), slow_towers.embed(model.item_mlp, encoded[0]), rtol=1e-4, atol=1e-6
    )


# --- States of histories ----------------------------------------------------------------------------------


def test_a_state_takes_the_slot_of_the_sequence_whose_values_are_not_embedded(model):
    layout = model.query_layout
    encoder = FeatureEncoder(layout, model.table, CONFIG, "with_states", sequence="history")
    records = [{"taste": [1], "history": [0, 3]}, {"taste": [2], "history": []}, {"taste": [], "history": [4]}]
    vectors = np.arange(3 * DIM, dtype=np.float32).reshape(3, DIM)
    states = States(tf.constant(vectors), tf.constant([True, False, True]))
    found = tf.reshape(encoder(make_batch(layout, records), states=states), [3, 2, DIM]).numpy()
    table, defaults = model.table.numpy(), defaults_of(encoder)
    np.testing.assert_allclose(found[:, 0], [table[1], table[2], defaults[0]], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], [vectors[0], defaults[1], vectors[2]], rtol=1e-6)
    with pytest.raises(ValueError, match="'history' needs states of a history encoder. Received none"):
        encoder(make_batch(layout, records))
