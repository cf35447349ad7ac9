"""One training step: the supervised loss on the log and the auxiliary loss on the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import seeds
from recsys_ssl.encoders.contract import Mask, Pass
from recsys_ssl.encoders.dropout import DropoutSeed
from recsys_ssl.features import views
from recsys_ssl.features.batch import Catalogue, FeatureBatch
from recsys_ssl.models import losses, sampling
from recsys_ssl.models.history import UNKNOWN_GAP, UNKNOWN_ITEM, Histories
from recsys_ssl.models.two_tower import Passes, TwoTower
from recsys_ssl.optimizers import make_slots
from recsys_ssl.seeds import Apart, TrainStream
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.data import Interactions
from recsys_ssl.training.regularizers import REGULARIZERS

_UNKNOWN_GAPS = 0.1
"""Share of histories, and of the items of the others, whose gaps in time a step takes for unknown, as they may be when
the towers are served."""


class TrainStep(tf.Module):
    """Model, optimiser and sampling estimate, and the function that advances them; what a checkpoint holds."""

    def __init__(
        self,
        model: TwoTower,
        catalogue: Catalogue,
        config: TrainConfig,
        same_as_items: bool,
        mutual_information: np.ndarray | None,
    ):
        """Args:
        mutual_information: [num_item_features] squared, for regularizers that need it.

        Raises:
            ValueError: the regularizer needs what there is not: correlations, features to hide, queries that are items.
        """
        super().__init__()
        self.model, self._catalogue, self._config = model, catalogue, config
        self._same_as_items = same_as_items
        learning_rate = _schedule(config.learning_rate, config)
        self.optimizer = keras.optimizers.legacy.Adagrad(learning_rate, config.initial_accumulator)
        self.history_optimizer, self._history_dropout = None, None
        if model.history_encoder is not None:
            self.history_optimizer = keras.optimizers.legacy.Adam(_schedule(config.history.learning_rate, config))
            self._history_dropout = DropoutSeed(model.history_encoder)
        # Adagrad's large rate would ruin an encoder. Frozen, it has no weights to train: vectors stand for its content.
        self._trained_kinds = [kind for kind, encoder in model.encoders.items() if encoder.trainable]
        self.encoder_optimizers, self._encoder_dropout = {}, {}
        for kind in self._trained_kinds:
            learning_rate = _schedule(config.encoder_config(kind).learning_rate, config)
            self.encoder_optimizers[kind] = keras.optimizers.legacy.Adam(learning_rate)
            self._encoder_dropout[kind] = DropoutSeed(model.encoders[kind])
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._log_probability = tf.constant(sampling.exact_log_probability(catalogue.train_counts))
        self._train_counts = tf.constant(catalogue.train_counts)
        self._item_codes = None
        if model.repeats is not None:
            self._item_codes = tf.constant(catalogue.read_codes(model.repeats.item_slot))
        self.frequency = None
        if config.logq == "streaming":
            initial_gap = catalogue.num_items / config.batch_size
            self.frequency = sampling.StreamingFrequency(4 * catalogue.num_items, initial_gap)
        self._regularizer = REGULARIZERS[config.ssl.regularizer]
        self._check_regularizer(mutual_information)
        across = config.ssl.towers == "both" or (config.ssl.towers == "auto" and same_as_items)
        self._crosses_towers = across or self._regularizer.crosses_towers
        self._masks = None
        if self._regularizer.needs_correlations and mutual_information is not None:
            self._masks = tf.constant(views.correlated_masks(mutual_information))
        for optimizer, variables in self._trained():
            make_slots(optimizer, variables)

    def compile(self, batch_spec: Interactions) -> Callable[[Interactions], dict[str, tf.Tensor]]:
        """The step as a graph for batches of the given structure; one trace, however ragged they are."""
        return tf.function(self.take, input_signature=[batch_spec], autograph=False)

    def take(self, batch: Interactions) -> dict[str, tf.Tensor]:
        """Takes one optimiser step and returns the scalar losses before it."""
        self.step.assign_add(1)
        for place, kind in enumerate(self._trained_kinds):
            number = seeds.number_of(self._config.seed, TrainStream.ENCODER) + (place << Apart.KINDS)
            self._encoder_dropout[kind].reset(number, self.step)
        if self._history_dropout is not None:
            number = seeds.number_of(self._config.seed, TrainStream.ENCODER) + (1 << Apart.HISTORY)
            self._history_dropout.reset(number, self.step)
        with tf.GradientTape() as tape:
            supervised = self._supervised_loss(batch)
            auxiliary = self._auxiliary_loss()
            loss = supervised + self._config.ssl.weight * auxiliary
        trained = self._trained()
        gradients = tape.gradient(loss, [variables for _, variables in trained])
        for (optimizer, variables), of_variables in zip(trained, gradients):
            optimizer.apply_gradients((g, v) for g, v in zip(of_variables, variables) if g is not None)
        return {"loss": loss, "supervised_loss": supervised, "auxiliary_loss": auxiliary}

    def _trained(self) -> list[tuple[keras.optimizers.Optimizer, Sequence[tf.Variable]]]:
        """Each optimizer and its variables."""
        of_encoders: list[tuple[keras.optimizers.Optimizer, Sequence[tf.Variable]]] = [
            (self.encoder_optimizers[kind], self.model.encoders[kind].trainable_variables)
            for kind in self._trained_kinds
        ]
        if self.model.history_encoder is not None:
            of_encoders.append((self.history_optimizer, self.model.history_encoder.trainable_variables))
        refs = {variable.ref() for _, variables in of_encoders for variable in variables}
        others = [variable for variable in self.model.trainable_variables if variable.ref() not in refs]
        return [(self.optimizer, others), *of_encoders]

    def _supervised_loss(self, batch: Interactions) -> tf.Tensor:
        config, catalogue, prior = self._config, self._catalogue, self.model.prior
        # Each distinct item of the batch is encoded once.
        rows, position, counts = tf.unique_with_counts(batch.item_rows)
        encoded_rows, histories, own_counts = rows, batch.histories, None
        if isinstance(histories, Histories):
            encoded_rows, histories = self._join_histories(rows, histories)
            own_counts = _count_own(histories.owner, position, tf.size(rows))
        visible = None
        items = catalogue.gather(encoded_rows)
        if self._regularizer.drops_features:
            num_slots, seed = self.model.item_layout.num_slots, self._seed(TrainStream.FEATURE_DROPOUT)
            visible = views.drop_features(items.num_records, num_slots, config.ssl.feature_dropout, seed)
        item_embeddings = self.model.embed_items(items, visible, passes=self._encode_whole())
        if self._same_as_items:
            query_rows, query_position = tf.unique(batch.query_rows)
            distinct = self.model.embed_queries(catalogue.gather(query_rows), passes=self._encode_whole())
            query_embeddings = tf.gather(distinct, query_position)
        else:
            rate, seed = config.unknown_query_rate, self._seed(TrainStream.QUERY_IDS)
            queries = views.hide_ids(batch.query, self.model.query_layout, rate, seed)
            states = self.model.read_histories(histories, item_embeddings, training=True)
            query_embeddings = self.model.embed_queries(queries, states=states)
        return losses.batch_softmax(
            query_embeddings,
            item_embeddings[: tf.size(rows)],
            position,
            counts,
            config.temperature,
            self._log_proposal(rows, counts),
            example_weight=batch.example_weight,
            item_logits=prior.logits(tf.gather(self._train_counts, rows)) if prior.weight else None,
            own_counts=own_counts,
            repeats=self._find_repeats(batch.query, rows),
        )

    def _join_histories(self, rows: tf.Tensor, histories: Histories) -> tuple[tf.Tensor, Histories]:
        """The distinct candidates, then the further items of the histories, and the histories as places among them.

        Args:
            rows: [num_distinct] int64 catalogue rows of the candidates.
            histories: as catalogue rows.
        """
        known = histories.items != UNKNOWN_ITEM
        found = tf.where(known, histories.items, rows[0])
        # The candidates keep their places: they come first, each once.
        joined, place = tf.unique(tf.concat([rows, tf.reshape(found, [-1])], axis=0), tf.int64)
        places = tf.reshape(place[tf.size(rows) :], tf.shape(found))
        items = tf.where(known, places, tf.constant(UNKNOWN_ITEM, tf.int64))
        seed = seeds.apart(self._seed(TrainStream.ENCODER), 1, Apart.HISTORY)
        draws = tf.random.stateless_uniform(tf.shape(items, tf.int32) + [0, 1], seed)
        unknown = (draws[:, :1] < _UNKNOWN_GAPS) | (draws[:, 1:] < _UNKNOWN_GAPS)
        gaps = tf.where(unknown, tf.constant(UNKNOWN_GAP, tf.int64), histories.gaps)
        return joined, histories._replace(items=items, gaps=gaps)

    def _find_repeats(self, queries: FeatureBatch, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
        term = self.model.repeats
        if term is None:
            return None
        return term.find(queries.history, queries.num_records, tf.gather(self._item_codes, rows))

    def _log_proposal(self, rows: tf.Tensor, counts: tf.Tensor) -> tf.Tensor | None:
        if self._config.logq == "none":
            return None
        if self.frequency is not None:
            self.frequency.update(rows, tf.cast(counts, tf.float32), self.step)
            return self.frequency.log_probability(rows)
        return tf.gather(self._log_probability, rows)

    # --- Auxiliary losses ---------------------------------------------------------------------------

    def _check_regularizer(self, mutual_information: np.ndarray | None) -> None:
        name, row, num_slots = self._config.ssl.regularizer, self._regularizer, self.model.item_layout.num_slots
        if row.crosses_towers and not self._same_as_items:
            raise ValueError(
                f"train.ssl.regularizer={name!r} needs queries that are items. Received: queries.same_as_items=false. "
                "Choose another, e.g. item_masks."
            )
        if self._config.ssl.towers == "both" and not self._same_as_items:
            raise ValueError(
                "train.ssl.towers=both needs queries that are items. Received: queries.same_as_items=false. "
                "Set train.ssl.towers=item."
            )
        if row.hides_features and num_slots < 2:
            raise ValueError(
                f"masking whole features needs at least two item features. Received: {num_slots}. "
                "Add item features to the spec or set train.ssl.regularizer=none."
            )
        if row.needs_correlations and mutual_information is None:
            raise ValueError(
                f"train.ssl.regularizer={name!r} needs the correlations of the catalogue. Run correlate first."
            )

    def _auxiliary_loss(self) -> tf.Tensor:
        if self._regularizer.loss is None:
            return tf.constant(0.0)
        if self._regularizer.loss == "spread_out":
            return losses.spread_out(self._embed_uniform_items(), self._config.ssl.temperature)
        if self._regularizer.loss == "spread_out_square":
            return losses.spread_out_square(self._embed_uniform_items())
        return self._contrast_views()

    def _contrast_views(self) -> tf.Tensor:
        """Eq. (3) on distinct items drawn uniformly from the catalogue."""
        ssl, items = self._config.ssl, self._catalogue.gather(self._distinct_uniform_rows())
        visible = self._draw_visible(items)
        dropout = ssl.value_dropout if self._regularizer.drops_values else 0.0
        kept = views.drop_values(items, self.model.item_layout, dropout, 2, self._seed(TrainStream.VALUE_DROPOUT))
        if self._crosses_towers:
            first = self.model.embed_queries(items, visible[:1], kept[:, :1], self._encode_masked(0))
            second = self.model.embed_items(items, visible[1:], kept[:, 1:], self._encode_masked(1))
        else:
            first, second = tf.split(self.model.embed_items(items, visible, kept, self._encode_masked(0)), 2)
        return losses.contrast(first, second, ssl.temperature)

    def _draw_visible(self, items: FeatureBatch) -> tf.Tensor:
        num_slots, seed = self.model.item_layout.num_slots, self._seed(TrainStream.FEATURE_MASKS)
        return self._regularizer.draw(items.num_records, num_slots, self._masks, seed)

    def _embed_uniform_items(self) -> tf.Tensor:
        items = self._catalogue.gather(self._distinct_uniform_rows())
        return self.model.embed_items(items, passes=self._encode_whole())

    def _distinct_uniform_rows(self) -> tf.Tensor:
        # An item drawn twice would be its own false negative.
        return tf.unique(self._uniform_rows(self._config.ssl.batch_size, TrainStream.SSL_ITEMS))[0]

    def _uniform_rows(self, num_rows: int, stream: TrainStream) -> tf.Tensor:
        return tf.random.stateless_uniform([num_rows], self._seed(stream), 0, self._catalogue.num_items, tf.int64)

    def _seed(self, stream: TrainStream) -> tf.Tensor:
        return seeds.of_step(self._config.seed, stream, self.step)

    # --- Content ------------------------------------------------------------------------------------

    def _encode_whole(self) -> Passes:
        """How content is encoded where nothing of it is hidden; what an encoder draws, it draws once a step."""
        return {
            kind: Pass(training_seed=seeds.apart(self._seed(TrainStream.ENCODER), place, Apart.KINDS))
            for place, kind in enumerate(self._trained_kinds)
        }

    def _encode_masked(self, view: int) -> Passes:
        """How the content of masked views is encoded; another `view` hides other parts of the same content."""
        whole, rate = self._encode_whole(), self._config.ssl.mask_rate
        if rate == 0.0:
            return whole
        seed = seeds.apart(self._seed(TrainStream.CONTENT_MASKS), view, Apart.VIEWS)
        return {
            kind: how._replace(mask=Mask(rate, seeds.apart(seed, place, Apart.KINDS)))
            for place, (kind, how) in enumerate(whole.items())
        }


def _count_own(owner: tf.Tensor, positives: tf.Tensor, num_distinct: tf.Tensor) -> tf.Tensor:
    """[num_records, num_distinct] int32: how often each candidate is the positive of a record of the same history.

    Args:
        owner: [num_records] int64 history of each record.
        positives: [num_records] int32 candidate.
    """
    places = tf.stack([tf.cast(owner, tf.int32), positives], axis=1)
    shape = tf.stack([tf.reduce_max(places[:, 0]) + 1, num_distinct])
    return tf.gather(tf.scatter_nd(places, tf.ones_like(positives), shape), owner)


def _schedule(learning_rate: float, config: TrainConfig):
    if config.schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(learning_rate, config.steps, end_learning_rate=0.0)
    return learning_rate
