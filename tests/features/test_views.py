"""Masks of the two views: the paper's cases by hand, the draws by their distribution."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chi2

from recsys_ssl.features import views
from recsys_ssl.features.batch import FeatureBatch, FeatureLayout
from recsys_ssl.features.encoding import EncodedFeature

NUM_DRAWS = 3000


def seed(step):
    return tf.constant([7, step], tf.int64)


def draw_many(draw):
    """[NUM_DRAWS, 2, k] bool, one draw per step as a training run makes them."""
    steps = tf.range(NUM_DRAWS, dtype=tf.int64)
    seeds = tf.stack([tf.fill([NUM_DRAWS], tf.constant(7, tf.int64)), steps], axis=1)
    return tf.function(lambda: tf.map_fn(draw, seeds, fn_output_signature=tf.bool))().numpy()


def assert_equally_likely(counts):
    """Passes 999 of 1000 random seeds; these are fixed."""
    expected = np.mean(counts)
    assert (np.square(counts - expected) / expected).sum() < chi2.ppf(0.999, len(counts) - 1)


# --- Correlated masks ---------------------------------------------------------------------------------


def symmetric(*upper):
    """A symmetric matrix from the rows of its upper triangle; the diagonal must not be read."""
    k = len(upper) + 1
    matrix = np.full([k, k], np.nan)
    for row, values in enumerate(upper):
        matrix[row, row + 1 :] = matrix[row + 1 :, row] = values
    return matrix


@pytest.mark.parametrize(
    ("mutual_information", "masked"),
    [
        pytest.param(symmetric([0.9]), [{0}, {1}], id="k=2 masks 1, or a view would be empty"),
        pytest.param(symmetric([0.9, 0.1], [0.2]), [{0, 1}, {0, 1}, {1, 2}], id="k=3 masks 2 (Wikipedia)"),
        pytest.param(
            symmetric([0.9, 0.1, 0.3], [0.2, 0.1], [0.8]),
            [{0, 1, 3}, {0, 1, 2}, {1, 2, 3}, {0, 2, 3}],
            id="k=4 masks 3 (AAI)",
        ),
        pytest.param(
            symmetric([0.9, 0.1, 0.3, 0.2], [0.2, 0.1, 0.5], [0.8, 0.0], [0.4]),
            [{0, 1, 3}, {0, 1, 4}, {1, 2, 3}, {2, 3, 4}, {1, 3, 4}],
            id="k=5 masks 3",
        ),
        pytest.param(
            symmetric([0.5, 0.5, 0.5], [0.5, 0.5], [0.5]), [{0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {0, 1, 3}], id="ties"
        ),
    ],
)
def test_the_seed_and_its_most_correlated_features_are_masked(mutual_information, masked):
    masks = views.correlated_masks(mutual_information)
    assert [set(np.flatnonzero(row)) for row in masks] == masked


@pytest.mark.parametrize("k", range(2, 9))
def test_both_views_keep_a_feature_and_the_seed_is_masked(k):
    noise = np.random.default_rng(k).random([k, k])
    masks = views.correlated_masks(noise + noise.T)
    assert np.diag(masks).all()
    assert (masks.sum(axis=1) == min(k // 2 + 1, k - 1)).all()


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (3,), (0, 0)], ids=str)
def test_a_matrix_that_is_not_square_or_too_small_is_refused(shape):
    with pytest.raises(ValueError, match=r"at least two item features\. Received: shape="):
        views.correlated_masks(np.zeros(shape))


# --- Draws --------------------------------------------------------------------------------------------


def test_cfm_draws_the_seed_feature_uniformly_and_shows_its_mask_in_the_other_view():
    k = 5
    noise = np.random.default_rng(0).random([k, k])
    masks = views.correlated_masks(noise + noise.T)
    drawn = draw_many(lambda s: views.draw_correlated(tf.constant(masks), s))
    np.testing.assert_array_equal(drawn[:, 0], ~drawn[:, 1])
    assert len(np.unique(masks, axis=0)) == k
    counts = [(drawn[:, 1] == mask).all(axis=1).sum() for mask in masks]
    assert sum(counts) == NUM_DRAWS
    assert_equally_likely(counts)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_rfm_splits_the_features_half_and_half_with_every_split_equally_likely(k):
    drawn = draw_many(lambda s: views.draw_complementary(k, s))
    np.testing.assert_array_equal(drawn[:, 0], ~drawn[:, 1])
    assert (drawn[:, 1].sum(axis=1) == k // 2).all()
    halves = [np.isin(range(k), half) for half in itertools.combinations(range(k), k // 2)]
    counts = [(drawn[:, 1] == half).all(axis=1).sum() for half in halves]
    assert sum(counts) == NUM_DRAWS
    assert_equally_likely(counts)


def test_rfm_without_complement_draws_two_independent_halves():
    k = 3
    drawn = draw_many(lambda s: views.draw_independent(k, s))
    assert ((~drawn).sum(axis=2) == 1).all()
    hidden = np.argmin(drawn, axis=2)
    counts = np.bincount(hidden[:, 0] * k + hidden[:, 1], minlength=k * k)
    assert_equally_likely(counts)


def test_dropout_only_hides_no_feature():
    assert views.show_all(3).numpy().tolist() == [[True] * 3] * 2


# --- Dropout ------------------------------------------------------------------------------------------

LAYOUT = FeatureLayout(
    (EncodedFeature("single", "single", 5), EncodedFeature("bag", "bag", 5), EncodedFeature("bag2", "bag2", 5)),
    (0, 5, 10),
    (False, True, True),
)


def batch_of_slots(slots):
    slots = tf.constant(slots, tf.int64)
    zeros = tf.zeros_like(slots)
    return FeatureBatch(
        codes=zeros, records=zeros, slots=slots, dense={}, contents={}, num_records=tf.constant(1, tf.int64)
    )


def test_every_item_hides_features_of_its_own_and_never_all():
    n, k = 4000, 3
    visible = views.draw_per_item(tf.constant(n, tf.int64), k, seed(5)).numpy()
    assert visible.shape == (2, n, k)
    assert visible.any(axis=-1).all()
    # A feature is shown by its own draw, or as the largest of three that are all below 1/2.
    share = 1 / 2 + (1 / 2) ** 3 / 3
    tolerance = 4 * np.sqrt(share * (1 - share) / n)
    np.testing.assert_allclose(visible.mean(axis=1), share, atol=tolerance)
    np.testing.assert_allclose((visible[0] & visible[1]).mean(axis=0), share**2, atol=tolerance)
    np.testing.assert_array_equal(visible, views.draw_per_item(tf.constant(n, tf.int64), k, seed(5)))


def test_values_of_bags_only_are_dropped_at_the_rate_and_independently_in_each_view():
    n, rate = 8000, 0.3
    batch = batch_of_slots([0, 1, 2] * n)
    kept = views.drop_values(batch, LAYOUT, rate, 2, seed(3)).numpy()
    assert kept.dtype == bool
    assert kept.shape == (3 * n, 2)
    assert kept[0::3].all()
    for bag in (kept[1::3], kept[2::3]):
        # Four standard deviations of a share of n.
        tolerance = 4 * np.sqrt(rate * (1 - rate) / n)
        np.testing.assert_allclose(bag.mean(axis=0), 1 - rate, atol=tolerance)
        np.testing.assert_allclose((bag[:, 0] * bag[:, 1]).mean(), (1 - rate) ** 2, atol=tolerance)


def test_nothing_is_dropped_at_rate_zero():
    assert views.drop_values(batch_of_slots([0, 1, 2]), LAYOUT, 0.0, 2, seed(0)).numpy().all()


def test_whole_features_are_hidden_at_the_rate():
    visible = views.drop_features(tf.constant(4000, tf.int64), 3, 0.2, seed(1)).numpy()
    assert visible.shape == (1, 4000, 3)
    np.testing.assert_allclose(visible.mean(axis=(0, 1)), 0.8, atol=4 * np.sqrt(0.2 * 0.8 / 4000))


# --- Unknown ids --------------------------------------------------------------------------------------

ID_LAYOUT = FeatureLayout(
    (EncodedFeature("bag", "bag", 10), EncodedFeature("id", "id", 20, unknown=3)),
    offsets=(100, 200),
    multi_valued=(True, False),
)


def test_ids_become_unknown_at_the_rate_in_every_bucket_and_nothing_else_does():
    n, rate = 6000, 0.4
    batch = batch_of_slots([0, 1] * n)
    batch = batch._replace(codes=tf.constant([103, 205] * n, tf.int64))
    hidden = views.hide_ids(batch, ID_LAYOUT, rate, seed(2))
    codes = hidden.codes.numpy()
    assert (codes[0::2] == 103).all()
    values, counts = np.unique(codes[1::2], return_counts=True)
    # The last three of the twenty ids.
    assert values.tolist() == [205, 217, 218, 219]
    np.testing.assert_allclose(counts[0] / n, 1 - rate, atol=4 * np.sqrt(rate * (1 - rate) / n))
    assert_equally_likely(counts[1:])
    for name in ("records", "slots", "num_records"):
        assert getattr(hidden, name) is getattr(batch, name)


def test_no_id_becomes_unknown_at_rate_zero_or_where_there_is_none():
    batch = batch_of_slots([0, 1, 1])
    assert views.hide_ids(batch, ID_LAYOUT, 0.0, seed(0)) is batch
    assert views.hide_ids(batch, LAYOUT, 0.9, seed(0)) is batch


DRAWS = {
    "correlated": lambda s: views.draw_correlated(tf.eye(6, dtype=tf.bool), s),
    "complementary": lambda s: views.draw_complementary(6, s),
    "independent": lambda s: views.draw_independent(6, s),
    "values": lambda s: views.drop_values(batch_of_slots([1] * 50), LAYOUT, 0.5, 2, s),
    "ids": lambda s: views.hide_ids(batch_of_slots([1] * 50), ID_LAYOUT, 0.5, s).codes,
    "features": lambda s: views.drop_features(tf.constant(50, tf.int64), 3, 0.5, s),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_is_a_function_of_its_seed_in_eager_and_graph_mode(name):
    draw = DRAWS[name]
    np.testing.assert_array_equal(draw(seed(5)), draw(seed(5)))
    np.testing.assert_array_equal(draw(seed(5)), tf.function(draw)(seed(5)))
    assert any((draw(seed(5)).numpy() != draw(seed(step)).numpy()).any() for step in range(6, 12))
