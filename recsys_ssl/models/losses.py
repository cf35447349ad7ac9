"""Losses of retrieval and of self-supervision: pure functions of embeddings."""

from __future__ import annotations

import tensorflow as tf


def batch_softmax(
    query_embeddings: tf.Tensor,
    item_embeddings: tf.Tensor,
    positives: tf.Tensor,
    counts: tf.Tensor,
    temperature: float,
    log_proposal: tf.Tensor | None = None,
    example_weight: tf.Tensor | None = None,
    item_logits: tf.Tensor | None = None,
    own_counts: tf.Tensor | None = None,
    repeats: tuple[tf.Tensor, tf.Tensor] | None = None,
) -> tf.Tensor:
    """In-batch softmax over the distinct items of a batch, with sampling-bias correction.

    -sum_i w_i log [ e^{c_ii} / (e^{c_ii} + sum_{j != i} e^{c_ij}) ] / sum_i w_i with
    c_ij = t_ij - log Q_j and t_ij = s_ij / temperature + b_j. The sum over j runs over the other rows of the batch
    whose item is not item i (accidental hits are removed). Rows with the same item have the same c, so it is computed
    over the distinct items, each other item weighted with its number of rows: same value, fewer columns.

    Args:
        query_embeddings: [batch_size, dim] float, rows of length 1.
        item_embeddings: [num_distinct, dim] float, rows of length 1.
        positives: [batch_size] int, row of `item_embeddings` that is the query's positive.
        counts: [num_distinct] int >= 1, how often the item was drawn as a negative candidate.
        temperature: > 0.
        log_proposal: [num_distinct] float, log of the probability that a candidate is the item; None: no correction.
        example_weight: [batch_size] float >= 0; None: all 1.
        item_logits: [num_distinct] float, b, what an item scores with every query; None: 0.
        own_counts: [batch_size, num_distinct] int, how many of `counts` are positives of the row's own query: what a
            query chose before or after is no negative for it. None: 0, for batches that rarely hold a query twice.
        repeats: [num_pairs, 2] int of distinct pairs of a row of `query_embeddings` and one of `item_embeddings`, and
            [num_pairs] float r_ij: there log(e^t_ij + e^r_ij) takes the place of t_ij, see `RepeatTerm`; None: nowhere.

    Returns:
        Scalar weighted mean; 0.0 when all weights are 0.

    References:
        Yao et al. 2021, arXiv:2007.12865, Eq. (6). Yi et al. 2019, RecSys, Eq. (3)-(5).
    """
    scores = tf.matmul(query_embeddings, item_embeddings, transpose_b=True) / temperature
    if item_logits is not None:
        scores += item_logits
    if repeats is not None:
        pairs, again = repeats
        scores = tf.tensor_scatter_nd_add(scores, pairs, tf.nn.softplus(again - tf.gather_nd(scores, pairs)))
    correction = tf.zeros([tf.shape(item_embeddings)[0]]) if log_proposal is None else -log_proposal
    negatives = counts if own_counts is None else counts - own_counts
    logits = scores + correction + tf.math.log(tf.cast(negatives, scores.dtype))

    rows = tf.range(tf.size(positives), dtype=positives.dtype)
    own = tf.stack([rows, positives], axis=1)
    own_logits = tf.gather_nd(scores, own) + tf.gather(correction, positives)
    logits = tf.tensor_scatter_nd_update(logits, own, own_logits)
    losses = tf.reduce_logsumexp(logits, axis=1) - own_logits
    if example_weight is None:
        return tf.reduce_mean(losses)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * example_weight), tf.reduce_sum(example_weight))


def contrast(views: tf.Tensor, other_views: tf.Tensor, temperature: float) -> tf.Tensor:
    """The self-supervised loss: each item's view must be nearest to the other view of the same item.

    -1/N sum_i log [ e^{s(z_i, z'_i) / temperature} / sum_j e^{s(z_i, z'_j) / temperature} ]. One direction,
    no negatives among z itself.

    Args:
        views: [num_items, dim] float, z, rows of length 1.
        other_views: [num_items, dim] float, z', rows of length 1, in the same order.
        temperature: > 0.

    Returns:
        Scalar mean; log(num_items) when all embeddings are equal.

    References:
        Yao et al. 2021, arXiv:2007.12865, Eq. (3).
    """
    logits = tf.matmul(views, other_views, transpose_b=True) / temperature
    own_logits = tf.reduce_sum(views * other_views, axis=1) / temperature
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1) - own_logits)


def spread_out(embeddings: tf.Tensor, temperature: float) -> tf.Tensor:
    """Spread-out regularisation in softmax form: `contrast` with both views equal to the item itself."""
    return contrast(embeddings, embeddings, temperature)


def spread_out_square(embeddings: tf.Tensor) -> tf.Tensor:
    """Spread-out regularisation in square form: 1/N sum_i sum_{j != i} <z_i, z_j>^2.

    Args:
        embeddings: [num_items, dim] float, rows of length 1.

    Returns:
        Scalar >= 0; 0.0 when the embeddings are orthogonal.

    References:
        Zhang et al. 2017, ICCV, "Learning spread-out local feature descriptors".
    """
    products = tf.matmul(embeddings, embeddings, transpose_b=True)
    own = tf.linalg.diag_part(products)
    return tf.math.divide_no_nan(
        tf.reduce_sum(products**2) - tf.reduce_sum(own**2), tf.cast(tf.shape(embeddings)[0], products.dtype)
    )
