"""The two-tower model: features -> embeddings -> MLP -> L2-normalised vector, once for queries, once for items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.contract import WHOLE, Encoder, Pass
from recsys_ssl.encoders.whitening import FixedWhitening
from recsys_ssl.features.batch import FeatureBatch, FeatureLayout
from recsys_ssl.features.encoding import EncodedFeature
from recsys_ssl.models.history import Histories, HistoryEncoder, States
from recsys_ssl.models.popularity import NO_PRIOR, PopularityPrior
from recsys_ssl.models.repeats import RepeatTerm

Passes = Mapping[str, Pass]
"""Kind of content -> how it is encoded; a kind that is not named is encoded whole."""


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
    """Embeds each feature as the mean of its values; masked and missing features take the default embedding.

    States, where they are given, stand for the values of the feature `sequence`.
    """

    def __init__(
        self,
        layout: FeatureLayout,
        table: tf.Variable,
        config: TowerConfig,
        side: str,
        encoders: Mapping[str, Encoder] = MappingProxyType({}),
        sequence: str | None = None,
    ):
        super().__init__(name=side)
        self._layout, self._table, self._dim = layout, table, config.feature_dim
        self._sequence = None if sequence is None else [feature.name for feature in layout.features].index(sequence)
        self._encoders = dict(encoders)
        # Of what becomes a vector by other means than the table.
        widths = {f.name: f.dim for f in layout.features if f.dim}
        widths |= {f.name: encoders[f.content].dim for f in layout.features if f.content}
        self._whitenings = {f.name: FixedWhitening() for f in layout.features if f.content}
        self._projections = {name: self._make_projection(name, width) for name, width in widths.items()}
        self._default = self.add_weight(
            name="default",
            shape=[layout.num_slots, config.feature_dim],
            initializer=keras.initializers.RandomNormal(stddev=config.feature_dim**-0.5),
            trainable=config.trainable_default,
        )

    def _make_projection(self, name: str, width: int) -> keras.Sequential:
        """What makes feature_dim of a vector whose dimensions have, or are given, variance 1.

        They are scaled to a mean squared length of 1, that of an embedding as it begins. Vectors that are longer by
        their number of dimensions explain the log alone, and the embeddings beside them learn nothing.
        """
        given = [self._whitenings[name]] if name in self._whitenings else []
        layers = [*given, keras.layers.Rescaling(width**-0.5), keras.layers.Dense(self._dim, name=name)]
        projection = keras.Sequential(layers, name=f"{name}_projection")
        # Built at once, so that every weight exists before a checkpoint is restored or a graph is traced.
        projection.build([None, width])
        return projection

    def whiten(self, name: str, vectors: tf.Tensor, decorrelate: bool) -> None:
        """Whitens the vectors of a feature's content, where there is one of this name, by [num_records, dim]."""
        if name in self._whitenings:
            self._whitenings[name].fit(vectors, decorrelate)

    def call(
        self,
        batch: FeatureBatch,
        visible: tf.Tensor | None = None,
        kept: tf.Tensor | None = None,
        passes: Passes | None = None,
        states: States | None = None,
    ) -> tf.Tensor:
        """Embeds `num_views` views of the records; what a view does not show is not even looked up, or encoded.

        Args:
            batch: the records' features.
            visible: [num_views, num_records or 1, num_slots] bool; None shows everything.
            kept: [num_values, num_views] bool, whether a view keeps the value; None keeps everything.
            passes: how content is encoded; None: whole.
            states: of the records' histories, where there is a `sequence`.

        Returns:
            [num_views, num_records, num_slots * feature_dim] float32; one view when `visible` and `kept` are None.
        """
        num_slots = self._layout.num_slots
        num_views = visible.shape[0] if visible is not None else 1 if kept is None else kept.shape[1]
        segments = batch.records * num_slots + batch.slots
        num_segments = batch.num_records * num_slots
        codes = batch.codes
        shown = _shown_values(batch, visible, kept)
        if self._sequence is not None:
            others = (batch.slots != self._sequence)[:, tf.newaxis]
            shown = others if shown is None else shown & others
        if shown is not None:
            value, view = tf.unstack(tf.where(shown), axis=1)
            codes, segments = tf.gather(codes, value), view * num_segments + tf.gather(segments, value)
        values = tf.gather(self._table, codes)
        totals = tf.math.unsorted_segment_sum(values, segments, num_views * num_segments)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(values[:, :1]), segments, num_views * num_segments)

        means = tf.reshape(totals / tf.maximum(counts, 1.0), [num_views, batch.num_records, num_slots, self._dim])
        present = tf.reshape(counts > 0, [num_views, batch.num_records, num_slots, 1])
        for slot, feature in enumerate(self._layout.features):
            if slot == self._sequence:
                if states is None:
                    raise ValueError(f"{feature.name!r} needs states of a history encoder. Received none. Pass them.")
                vectors, known = states.vectors[tf.newaxis], states.known[tf.newaxis]
            elif feature.name in self._projections:
                shown = None if visible is None else visible[..., slot]
                vectors, known = self._embed_vectors(batch, feature, shown, passes or {})
            else:
                continue
            in_slot = tf.one_hot(slot, num_slots)[:, tf.newaxis]
            means += vectors[:, :, tf.newaxis] * in_slot
            present |= known[:, :, tf.newaxis, tf.newaxis] & tf.cast(in_slot, tf.bool)
        if visible is not None:
            present &= visible[..., tf.newaxis]
        embedded = tf.where(present, means, self._default)
        return tf.reshape(embedded, [num_views, batch.num_records, num_slots * self._dim])

    def _embed_vectors(
        self, batch: FeatureBatch, feature: EncodedFeature, shown: tf.Tensor | None, passes: Passes
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The projected vectors of a dense feature or of content, and where there is one.

        Args:
            shown: [num_views, num_records or 1] bool, whether a view shows the feature; None: all do.

        Returns:
            [num_views or 1, num_records, feature_dim] float32 and [num_views or 1, num_records] bool.
        """
        project = self._projections[feature.name]
        if feature.content is None or feature.name in batch.dense:
            vectors = batch.dense[feature.name]
            known = tf.math.is_finite(vectors[:, 0])
            projected = project(tf.where(known[:, tf.newaxis], vectors, 0.0))
            return projected[tf.newaxis], known[tf.newaxis]
        content, how = batch.contents[feature.name], passes.get(feature.content, WHOLE)
        encoded = content.present()[tf.newaxis]
        if shown is not None:
            encoded &= shown if how.mask is not None else tf.reduce_any(shown, axis=0, keepdims=True)
        places = tf.where(encoded)
        vectors = self._encoders[feature.content].encode(content.gather(places[:, 1]), how)
        shape = tf.concat([tf.shape(encoded, tf.int64), [self._dim]], axis=0)
        return tf.scatter_nd(places, project(vectors), shape), encoded


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
    again for Adagrad's accumulator. All content of a kind, in both towers, shares one encoder.

    `embed_*` give what the losses compare, `vectorize_*` what is exported, indexed and searched: the embedding
    and, where there is one, the coordinate of the popularity prior. With `repeats` the score of an item of the
    query's history is more than the dot product.

    Examples:
        The towers, masks and losses need no pipeline; films here query films. `FeatureBatch` shows what a batch is.

        >>> from recsys_ssl.features import views
        >>> from recsys_ssl.features.batch import batch_from_sparse, lay_out
        >>> from recsys_ssl.models.losses import batch_softmax, contrast
        >>> features = EncodedFeature("film", "film", 5), EncodedFeature("genres", "genres", 4)
        >>> (layout,), num_rows = lay_out([(features, [False, True])])
        >>> model = TwoTower(layout, layout, num_rows, TowerConfig(8, (), 4, trainable_default=True))
        >>> film = tf.ragged.constant([[0], [1], [2]], tf.int64).to_sparse()
        >>> genres = tf.ragged.constant([[0, 2], [], [0, 1, 3]], tf.int64).to_sparse()
        >>> films = batch_from_sparse(layout, {"film": film, "genres": genres}, 3)
        >>> with tf.GradientTape() as tape:
        ...     items, positives = model.embed_items(films), tf.constant([1, 2, 0])
        ...     supervised = batch_softmax(model.embed_queries(films), items, positives, tf.ones(3), temperature=0.1)
        ...     shown = views.draw_per_item(films.num_records, layout.num_slots, tf.constant([0, 1], tf.int64))
        ...     first, second = tf.split(model.embed_items(films, shown), 2)
        ...     loss = supervised + 0.3 * contrast(first, second, temperature=0.1)
        >>> gradients = tape.gradient(loss, model.trainable_variables)
        >>> items.shape, all(gradient is not None for gradient in gradients)
        (TensorShape([3, 4]), True)
    """

    def __init__(
        self,
        query_layout: FeatureLayout,
        item_layout: FeatureLayout,
        num_rows: int,
        config: TowerConfig,
        prior: PopularityPrior = NO_PRIOR,
        encoders: Mapping[str, Encoder] = MappingProxyType({}),
        sequence: str | None = None,
        history_encoder: HistoryEncoder | None = None,
        repeats: RepeatTerm | None = None,
    ):
        """Makes the weights.

        Args:
            encoders: kind of content -> its encoder.
            sequence: name of the query feature that `history_encoder` reads; None where there is no such encoder.
            history_encoder: its states take the feature's slot; None: the mean of its values does, as of others.
            repeats: for histories that the query layout names.

        Raises:
            ValueError: a layout has content of a kind without an encoder.
        """
        super().__init__(name="two_tower")
        for feature in (*query_layout.features, *item_layout.features):
            if feature.content and feature.content not in encoders:
                raise ValueError(
                    f"content needs an encoder of its kind. Received: feature {feature.name!r} of kind "
                    f"{feature.content!r}, encoders of {sorted(encoders)}. Pass one."
                )
        self.prior, self.encoders = prior, dict(encoders)
        self.history_encoder, self.repeats = history_encoder, repeats
        self.query_layout, self.item_layout = query_layout, item_layout
        self.embedding_dim = config.embedding_dim
        self.table = self.add_weight(
            name="table",
            shape=[num_rows, config.feature_dim],
            initializer=keras.initializers.RandomNormal(stddev=config.feature_dim**-0.5),
        )
        self.query_encoder = FeatureEncoder(query_layout, self.table, config, "query_encoder", encoders, sequence)
        self.item_encoder = FeatureEncoder(item_layout, self.table, config, "item_encoder", encoders)
        self.query_mlp = _mlp(query_layout, config, name="query_mlp")
        self.item_mlp = _mlp(item_layout, config, name="item_mlp")

    def read_histories(
        self, histories: Histories | tuple[()], item_embeddings: tf.Tensor | None, training: bool = False
    ) -> States | None:
        """What stands for the records' histories; None without a history encoder, or where histories are not read.

        Args:
            histories: of the records.
            item_embeddings: [num_rows, embedding_dim] float32 from `embed_items`, the table of `histories.items`.
            training: whether there is dropout.
        """
        if self.history_encoder is None or not isinstance(histories, Histories):
            return None
        return self.history_encoder.read(histories, item_embeddings, training)

    def embed_queries(
        self,
        batch: FeatureBatch,
        visible: tf.Tensor | None = None,
        kept: tf.Tensor | None = None,
        passes: Passes | None = None,
        states: States | None = None,
    ) -> tf.Tensor:
        """[num_views * num_records, embedding_dim] float32, rows of length 1; arguments as in FeatureEncoder."""
        return _embed(self.query_encoder, self.query_mlp, batch, visible, kept, passes, states)

    def embed_items(
        self,
        batch: FeatureBatch,
        visible: tf.Tensor | None = None,
        kept: tf.Tensor | None = None,
        passes: Passes | None = None,
    ) -> tf.Tensor:
        """[num_views * num_records, embedding_dim] float32, rows of length 1; arguments as in FeatureEncoder."""
        return _embed(self.item_encoder, self.item_mlp, batch, visible, kept, passes, None)

    def whiten(self, name: str, vectors: tf.Tensor, decorrelate: bool) -> None:
        """Whitens the vectors of a feature's content in both towers, see `FixedWhitening`.

        Args:
            vectors: [num_records, dim] float32, of content that stands for all.
            decorrelate: for an encoder that stays as it is; else each dimension is standardised by itself.
        """
        for encoder in (self.query_encoder, self.item_encoder):
            encoder.whiten(name, vectors, decorrelate)

    def vectorize_queries(self, batch: FeatureBatch, states: States | None = None) -> tf.Tensor:
        """[num_records, vector_dim] float32."""
        return self.prior.extend_queries(self.embed_queries(batch, states=states))

    def vectorize_items(self, batch: FeatureBatch, train_counts: tf.Tensor) -> tf.Tensor:
        """[num_records, vector_dim] float32 of items with these train positives, [num_records]."""
        return self.prior.extend_items(self.embed_items(batch), train_counts)


def _embed(encoder: FeatureEncoder, mlp: keras.Sequential, batch, visible, kept, passes, states) -> tf.Tensor:
    """All views go through the MLP in one pass."""
    views = encoder(batch, visible, kept, passes, states)
    return tf.math.l2_normalize(mlp(tf.reshape(views, [-1, views.shape[-1]])), axis=-1)


def _mlp(layout: FeatureLayout, config: TowerConfig, name: str) -> keras.Sequential:
    layers = [keras.layers.Dense(width, activation="relu") for width in config.hidden]
    mlp = keras.Sequential([*layers, keras.layers.Dense(config.embedding_dim)], name=name)
    mlp.build([None, layout.num_slots * config.feature_dim])
    return mlp
