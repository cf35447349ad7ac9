"""The popularity prior: what it adds to a logit, and that a dot product of the longer vectors is that score."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.models.popularity import NO_PRIOR, PopularityPrior
from recsys_ssl.models.sampling import exact_log_probability

COUNTS = np.array([5, 0, 1, 14], np.int64)


def test_the_logits_are_weighted_log_shares():
    logits = PopularityPrior(weight=0.5, temperature=0.1, mean_count=5.0).logits(tf.constant(COUNTS))
    expected = 0.5 * np.log([5 / 5, 0.5 / 5, 1 / 5, 14 / 5])  # no positive counts as half a one
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_with_weight_1_the_prior_is_what_the_correction_takes_away():
    logits = PopularityPrior(1.0, 0.1, COUNTS.mean()).logits(tf.constant(COUNTS))
    # But for a constant, which no softmax and no ranking sees.
    np.testing.assert_allclose(logits - exact_log_probability(COUNTS), np.log(4), rtol=1e-6)


def test_an_unknown_count_is_none():
    logits = PopularityPrior(1.0, 0.1, 5.0).logits(tf.constant([np.nan, 0.0]))
    assert logits[0] == logits[1]


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_the_dot_product_of_the_vectors_is_temperature_times_the_logit(weight):
    rng, prior = np.random.default_rng(0), PopularityPrior(weight, 0.2, 5.0)
    queries, items = rng.normal(size=(3, 6)).astype(np.float32), rng.normal(size=(4, 6)).astype(np.float32)
    vectors = prior.extend_items(tf.constant(items), tf.constant(COUNTS, tf.float32)).numpy()
    scores = prior.extend_queries(tf.constant(queries)).numpy() @ vectors.T
    shares = np.array([5, 0.5, 1, 14]) / 5
    np.testing.assert_allclose(scores / 0.2, queries @ items.T / 0.2 + weight * np.log(shares), rtol=1e-4, atol=1e-5)


def test_without_a_prior_vectors_are_the_embeddings():
    embeddings = tf.constant(np.eye(4, dtype=np.float32))
    assert NO_PRIOR.extend_queries(embeddings) is embeddings
    assert NO_PRIOR.extend_items(embeddings, None) is embeddings
