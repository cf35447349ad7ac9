"""The two-tower model: features -> embeddings -> MLP -> L2-normalised vector, once for queries, once for items."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from recsys_ssl.features.batch import FeatureBatch, FeatureLayout
from recsys_ssl.models.popularity import NO_PRIOR, PopularityPrior


@dataclass(frozen=True)
class TowerConfig:
    """Sizes of both towers.

    Attributes:
        feature_dim: length of every feature embedding.
        hidden: widths of the ReLU layers before the embedding layer.
        embedding_dim: length of the query and item embeddings.
        trainable_default: whether the embedding that stands for a masked or missing feature is learned.
    """

    feature_dim: int
    hidden: tuple[int, ...]
    embedding_dim: int
    trainable_default: bool


class FeatureEncoder(keras.layers.Layer):
    """Embeds each feature as the mean of its values; masked and missing features take the default embedding."""

    def __init__(self, layout: FeatureLayout, table: tf.Variable, config: TowerConfig, name: str):
        super().__init__(name=name)
        self._layout, self._table, self._dim = layout, table, config.feature_dim
        self._projections = {f.name: keras.layers.Dense(self._dim, name=f.name) for f in layout.features if f.dim}
        # Built at once, so that every weight exists before a checkpoint is restored or a graph is traced.
        for feature in layout.features:
            if feature.dim:
                self._projections[feature.name].build([None, feature.dim])
        self._default = self.add_weight(
            name="default",
            shape=[layout.num_slots, config.feature_dim],
            initializer=keras.initializers.RandomNormal(stddev=config.feature_dim**-0.5),
            trainable=config.trainable_default,
        )

    def call(self, batch: FeatureBatch, visible: tf.Tensor | None = None, kept: tf.Tensor | None = None) -> tf.Tensor:
        """Embeds `num_views` views of the records; what a view does not show is not even looked up.

        Args:
            batch: the records' features.
            visible: [num_views, num_records or 1, num_slots] bool; None shows everything.
            kept: [num_values, num_views] bool, whether a view keeps the value; None keeps everything.

        Returns:
            [num_views, num_records, num_slots * feature_dim] float32; one view when both arguments are None.
        """
        num_slots = self._layout.num_slots
        num_views = visible.shape[0] if visible is not None else 1 if kept is None else kept.shape[1]
        segments = batch.records * num_slots + batch.slots
        num_segments = batch.num_records * num_slots
        codes = batch.codes
        shown = _shown_values(batch, visible, kept)
        if shown is not None:
            value, view = tf.unstack(tf.where(shown), axis=1)
            codes, segments = tf.gather(codes, value), view * num_segments + tf.gather(segments, value)
        values = tf.gather(self._table, codes)
        totals = tf.math.unsorted_segment_sum(values, segments, num_views * num_segments)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(values[:, :1]), segments, num_views * num_segments)

        means = tf.reshape(totals / tf.maximum(counts, 1.0), [num_views, batch.num_records, num_slots, self._dim])
        present = tf.reshape(counts > 0, [num_views, batch.num_records, num_slots, 1])
        means, present = self._add_dense(batch, means, present)
        if visible is not None:
            present &= visible[..., tf.newaxis]
        embedded = tf.where(present, means, self._default)
        return tf.reshape(embedded, [num_views, batch.num_records, num_slots * self._dim])

    def _add_dense(self, batch: FeatureBatch, means: tf.Tensor, present: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for slot, feature in enumerate(self._layout.features):
            if not feature.dim:
                continue
            vectors = batch.dense[feature.name]
            known = tf.math.is_finite(vectors[:, :1])
            projected = self._projections[feature.name](tf.where(known, vectors, 0.0))
            in_slot = tf.one_hot(slot, self._layout.num_slots)
            means += projected[tf.newaxis, :, tf.newaxis, :] * in_slot[:, tf.newaxis]
            present |= known[tf.newaxis, :, tf.newaxis, :] & tf.cast(in_slot[:, tf.newaxis], tf.bool)
        return means, present


def _shown_values(batch: FeatureBatch, visible: tf.Tensor | None, kept: tf.Tensor | None) -> tf.Tensor | None:
    """[num_values, num_views] bool, whether a view keeps the value and shows its feature; None where all do."""
    if visible is None:
        return kept
    slots = batch.slots
    if visible.shape[1] != 1:
        slots += batch.records * visible.shape[2]
    of_value = tf.transpose(tf.gather(tf.reshape(visible, [visible.shape[0], -1]), slots, axis=1))
    return of_value if kept is None else kept & of_value


class TwoTower(keras.Model):
    """Query and item tower over one shared embedding table.

    The table has `num_rows` rows of feature_dim float32: 4 * num_rows * feature_dim bytes, and as many
    again for Adagrad's accumulator.

    `embed_*` give what the losses compare, `vectorize_*` what is exported, indexed and searched: the embedding
    and, where there is one, the coordinate of the popularity prior.
    """

    def __init__(
        self,
        query_layout: FeatureLayout,
        item_layout: FeatureLayout,
        num_rows: int,
        config: TowerConfig,
        prior: PopularityPrior = NO_PRIOR,
    ):
        super().__init__(name="two_tower")
        self.prior = prior
        self.query_layout, self.item_layout = query_layout, item_layout
        self.table = self.add_weight(
            name="table",
            shape=[num_rows, config.feature_dim],
            initializer=keras.initializers.RandomNormal(stddev=config.feature_dim**-0.5),
        )
        self.query_encoder = FeatureEncoder(query_layout, self.table, config, name="query_encoder")
        self.item_encoder = FeatureEncoder(item_layout, self.table, config, name="item_encoder")
        self.query_mlp = _mlp(query_layout, config, name="query_mlp")
        self.item_mlp = _mlp(item_layout, config, name="item_mlp")

    def embed_queries(
        self, batch: FeatureBatch, visible: tf.Tensor | None = None, kept: tf.Tensor | None = None
    ) -> tf.Tensor:
        """[num_views * num_records, embedding_dim] float32, rows of length 1; arguments as in FeatureEncoder."""
        return _embed(self.query_encoder, self.query_mlp, batch, visible, kept)

    def embed_items(
        self, batch: FeatureBatch, visible: tf.Tensor | None = None, kept: tf.Tensor | None = None
    ) -> tf.Tensor:
        """[num_views * num_records, embedding_dim] float32, rows of length 1; arguments as in FeatureEncoder."""
        return _embed(self.item_encoder, self.item_mlp, batch, visible, kept)

    def vectorize_queries(self, batch: FeatureBatch) -> tf.Tensor:
        """[num_records, vector_dim] float32."""
        return self.prior.extend_queries(self.embed_queries(batch))

    def vectorize_items(self, batch: FeatureBatch, train_counts: tf.Tensor) -> tf.Tensor:
        """[num_records, vector_dim] float32 of items with these train positives, [num_records]."""
        return self.prior.extend_items(self.embed_items(batch), train_counts)


def _embed(encoder: FeatureEncoder, mlp: keras.Sequential, batch: FeatureBatch, visible, kept) -> tf.Tensor:
    """All views go through the MLP in one pass."""
    views = encoder(batch, visible, kept)
    return tf.math.l2_normalize(mlp(tf.reshape(views, [-1, views.shape[-1]])), axis=-1)


def _mlp(layout: FeatureLayout, config: TowerConfig, name: str) -> keras.Sequential:
    layers = [keras.layers.Dense(width, activation="relu") for width in config.hidden]
    mlp = keras.Sequential([*layers, keras.layers.Dense(config.embedding_dim)], name=name)
    mlp.build([None, layout.num_slots * config.feature_dim])
    return mlp
