"""Masked views of items: the two-stage augmentation of Yao et al. 2021, arXiv:2007.12865, Section 3.2.

Stage 1 hides whole features (a mask drawn once per batch, or per item), stage 2 drops single values of the
multi-valued features that stay. Every function is stateless: the same seed gives the same views.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from recsys_ssl import seeds
from recsys_ssl.features.batch import FeatureBatch, FeatureLayout
from recsys_ssl.seeds import Apart


def correlated_masks(mutual_information: np.ndarray) -> np.ndarray:
    """Which features correlated feature masking hides for each choice of the seed feature.

    The seed and the floor(k/2) features with the largest mutual information with it are hidden in the
    first view and shown in the second; at most k-1, so that each view keeps a feature.

    Args:
        mutual_information: [k, k] symmetric; the diagonal is not read. Equal values: the earlier feature.

    Returns:
        [k, k] bool; row f is the mask of the first view when f is the seed.

    Raises:
        ValueError: the matrix is not square or has fewer than two features.
    """
    k = len(mutual_information)
    if mutual_information.shape != (k, k) or k < 2:
        raise ValueError(
            "masking features needs a square matrix of at least two item features. "
            f"Received: shape={mutual_information.shape}. Add item features or choose another regularizer."
        )
    others = np.where(np.eye(k, dtype=bool), -np.inf, mutual_information)
    num_correlated = min(k // 2, k - 2)
    nearest = np.argsort(-others, axis=1, kind="stable")[:, :num_correlated]
    masked = np.eye(k, dtype=bool)
    np.put_along_axis(masked, nearest, True, axis=1)
    return masked


def draw_correlated(masks: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Visible features of two complementary views, seed feature uniform per batch (CFM).

    Args:
        masks: [k, k] bool from `correlated_masks`.
        seed: [2] int64.

    Returns:
        [2, k] bool.
    """
    feature = tf.random.stateless_uniform([], seed, 0, tf.shape(masks)[0], tf.int32)
    masked = tf.gather(masks, feature)
    return tf.stack([~masked, masked])


def draw_complementary(num_features: int, seed: tf.Tensor) -> tf.Tensor:
    """Visible features of two views that share the features half and half at random (RFM)."""
    masked = _random_half(num_features, seed)
    return tf.stack([~masked, masked])


def draw_independent(num_features: int, seed: tf.Tensor) -> tf.Tensor:
    """Visible features of two views that each hide their own random half (RFM without complement)."""
    return tf.stack(
        [~_random_half(num_features, seeds.apart(seed, view, Apart.INDEPENDENT_VIEWS)) for view in range(2)]
    )


def draw_per_item(num_records: tf.Tensor, num_features: int, seed: tf.Tensor) -> tf.Tensor:
    """Two views in which every item hides features of its own, each with probability 1/2 and never all of them.

    In contrast to one mask for the batch, an item is told apart from items that show other features than it does,
    as it is in retrieval, where features are missing at random.

    Returns:
        [2, num_records, num_features] bool.
    """
    shape = tf.stack([tf.constant(2, tf.int64), num_records, tf.constant(num_features, tf.int64)])
    draws = tf.random.stateless_uniform(shape, seed)
    return (draws >= 0.5) | (draws >= tf.reduce_max(draws, axis=-1, keepdims=True))


def show_all(num_features: int) -> tf.Tensor:
    """Two views that hide no feature (dropout only)."""
    return tf.ones([2, num_features], tf.bool)


def drop_values(batch: FeatureBatch, layout: FeatureLayout, rate: float, num_views: int, seed: tf.Tensor) -> tf.Tensor:
    """Drops each value of the multi-valued features independently with probability `rate`.

    Returns:
        [num_values, num_views] bool, whether a view keeps the value; values of single-valued features are kept.
    """
    shape = [tf.size(batch.codes), num_views]
    if rate == 0.0:
        return tf.ones(shape, tf.bool)
    kept = tf.random.stateless_uniform(shape, seed) >= rate
    droppable = tf.gather(tf.constant(layout.multi_valued), batch.slots)
    return kept | ~droppable[:, tf.newaxis]


def drop_features(num_records: tf.Tensor, num_features: int, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Visible features, [1, num_records, num_features] bool, each hidden with probability `rate` (FD baseline)."""
    shape = tf.stack([tf.constant(1, tf.int64), num_records, tf.constant(num_features, tf.int64)])
    return tf.random.stateless_uniform(shape, seed) >= rate


def hide_ids(batch: FeatureBatch, layout: FeatureLayout, rate: float, seed: tf.Tensor) -> FeatureBatch:
    """The batch with a share of its ids coded as unknown, so that the embedding of an unseen id is trained too.

    Args:
        rate: probability that the value of an id feature moves to one of its out-of-vocabulary buckets.
    """
    unknown = [feature.unknown for feature in layout.features]
    if rate == 0.0 or not any(unknown):
        return batch
    draws = tf.random.stateless_uniform([2, tf.size(batch.codes)], seed)
    buckets = tf.gather(tf.constant(unknown, tf.int64), batch.slots)
    last = [offset + feature.size - 1 for feature, offset in zip(layout.features, layout.offsets, strict=True)]
    bucket = tf.cast(draws[1] * tf.cast(buckets, tf.float32), tf.int64)
    hidden = tf.gather(tf.constant(last, tf.int64), batch.slots) - bucket
    return batch._replace(codes=tf.where((draws[0] < rate) & (buckets > 0), hidden, batch.codes))


def _random_half(num_features: int, seed: tf.Tensor) -> tf.Tensor:
    """[num_features] bool with floor(num_features / 2) true."""
    order = tf.argsort(tf.random.stateless_uniform([num_features], seed))
    ranks = tf.argsort(order)
    return ranks < num_features // 2
