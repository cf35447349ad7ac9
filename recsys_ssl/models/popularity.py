"""How often an item is chosen at all, as a part of its score that need not be learned."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

_LEAST_COUNT = 0.5  # of an item without train positives, as in `sampling.exact_log_probability`


@dataclass(frozen=True)
class PopularityPrior:
    """Adds weight * log p(i) to the logit of item i: s(q, i) = <q, i> / temperature + weight * log p(i).

    With weight 1 and the correction of the sampling bias, which takes log p(i) away again, the towers learn by how
    much a query likes an item more than others do; popularity itself comes from counts, which even little data gives
    well. The score stays a dot product: an item's vector gets temperature * weight * log p(i) as one more coordinate,
    a query's vector a 1. p is relative to the mean item, which therefore gets 0.

    Attributes:
        weight: >= 0; 0 adds neither score nor coordinate.
        temperature: of the main loss.
        mean_count: train positives of an item of the catalogue, on average; > 0.

    References:
        Menon et al. 2021, ICLR, "Long-tail learning via logit adjustment" (Section 4: the same prior, on class scores).
    """

    weight: float = 0.0
    temperature: float = 1.0
    mean_count: float = 1.0

    def logits(self, train_counts: tf.Tensor) -> tf.Tensor:
        """[num_items] float32, weight * log p of items with these counts, [num_items] >= 0; NaN counts as 0."""
        counts = tf.cast(train_counts, tf.float32)
        counts = tf.where(counts >= _LEAST_COUNT, counts, _LEAST_COUNT)
        return self.weight * tf.math.log(counts / self.mean_count)

    def extend_queries(self, embeddings: tf.Tensor) -> tf.Tensor:
        """[num_queries, dim] -> [num_queries, dim + 1]; unchanged for weight 0."""
        return tf.pad(embeddings, [[0, 0], [0, 1]], constant_values=1.0) if self.weight else embeddings

    def extend_items(self, embeddings: tf.Tensor, train_counts: tf.Tensor) -> tf.Tensor:
        """[num_items, dim] and counts [num_items] -> [num_items, dim + 1]; unchanged for weight 0."""
        if not self.weight:
            return embeddings
        return tf.concat([embeddings, self.temperature * self.logits(train_counts)[:, tf.newaxis]], axis=1)


NO_PRIOR = PopularityPrior()
