"""What holds of every regularizer; a new one is a row of the table and is tested by that."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.features.views import correlated_masks
from recsys_ssl.training.regularizers import REGULARIZERS
from recsys_ssl.training.step import TrainStep
from recsys_ssl.training.train import build_model

NUM_RECORDS, NUM_FEATURES = 6, 5
SEED, OTHER_SEED = tf.constant([1, 2], tf.int64), tf.constant([1, 9], tf.int64)
MUTUAL_INFORMATION = np.random.default_rng(0).random([NUM_FEATURES, NUM_FEATURES])
MASKS = tf.constant(correlated_masks(MUTUAL_INFORMATION + MUTUAL_INFORMATION.T))
DRAWING = [name for name, row in REGULARIZERS.items() if row.draw is not None]


def draw(name, seed):
    """[2, NUM_RECORDS or 1, NUM_FEATURES] bool."""
    return REGULARIZERS[name].draw(tf.constant(NUM_RECORDS, tf.int64), NUM_FEATURES, MASKS, seed).numpy()


@pytest.mark.parametrize("name", DRAWING)
def test_a_seed_draws_two_views_of_one_shape(name):
    visible = draw(name, SEED)
    assert visible.dtype == bool
    assert visible.shape in ((2, 1, NUM_FEATURES), (2, NUM_RECORDS, NUM_FEATURES))
    np.testing.assert_array_equal(draw(name, SEED), visible)
    views = [draw(name, tf.constant([1, step], tf.int64)) for step in range(20)]
    # No view is without any feature, and other seeds hide others where features are hidden at all.
    assert all(view.any(axis=-1).all() for view in views)
    assert any((view != visible).any() for view in views) == REGULARIZERS[name].hides_features
    assert any(not view.all() for view in views) == REGULARIZERS[name].hides_features


@pytest.mark.parametrize("name", DRAWING)
def test_views_are_the_same_in_a_graph(name):
    row = REGULARIZERS[name]
    graph = tf.function(lambda n, seed: row.draw(n, NUM_FEATURES, MASKS, seed), autograph=False)
    np.testing.assert_array_equal(graph(tf.constant(NUM_RECORDS, tf.int64), SEED), draw(name, SEED))


@pytest.fixture(scope="module")
def make_step(shop, shop_inputs, make_config):
    """A step on the shop whose weights do not depend on the regularizer."""

    def make(name):
        config = make_config(ssl_regularizer=name, ssl_batch_size=16, ssl_feature_dropout=0.5, batch_size=8)
        model, catalogue = build_model(shop.spec, config, shop_inputs)
        rng, size = np.random.default_rng(1), model.item_layout.num_slots
        for variable in model.variables:
            variable.assign(rng.normal(scale=0.5, size=variable.shape))
        return TrainStep(model, catalogue, config, False, rng.random([size, size]))

    return make


# The shop's queries are no items.
WITH_ITEM_TOWER = [name for name, row in REGULARIZERS.items() if not row.crosses_towers]


@pytest.mark.parametrize("name", WITH_ITEM_TOWER)
def test_the_auxiliary_loss_is_finite_the_same_in_a_graph_and_reaches_the_items(make_step, name):
    step = make_step(name)
    with tf.GradientTape() as tape:
        eager = step._auxiliary_loss()
    np.testing.assert_allclose(tf.function(step._auxiliary_loss, autograph=False)(), eager, rtol=1e-4)
    if REGULARIZERS[name].loss is None:
        assert float(eager) == 0.0
        return
    assert float(eager) > 0.0
    gradient = tf.convert_to_tensor(tape.gradient(eager, step.model.table))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0.0


@pytest.mark.parametrize("name", [name for name in WITH_ITEM_TOWER if name != "none"])
def test_only_what_drops_features_changes_the_supervised_task(make_step, shop_inputs, shop, name):
    from recsys_ssl import examples
    from recsys_ssl.training.data import parse

    steps = make_step(name), make_step("none")
    shard = examples.list_shards(shop_inputs.interactions_dir, "train")[0]
    records = tf.data.TFRecordDataset(shard, compression_type="GZIP").batch(64)
    serialized = next(iter(records))
    losses = [
        float(step._supervised_loss(parse(serialized, step.model.query_layout, same_as_items=False))) for step in steps
    ]
    assert (abs(losses[0] - losses[1]) > 1e-4) == REGULARIZERS[name].drops_features
