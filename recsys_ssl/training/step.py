"""One training step: the supervised loss on the log and the auxiliary loss on the catalogue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.molecule.encoder import WHOLE, MoleculePass
from recsys_ssl.encoders.molecule.grover import draw_hops
from recsys_ssl.encoders.molecule.pretext import DropoutSeed
from recsys_ssl.encoders.molecule.views import mask_molecules
from recsys_ssl.features import views
from recsys_ssl.features.batch import Catalogue
from recsys_ssl.models import losses, sampling
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.data import Interactions

# Independent random streams of a step: every draw is a function of (seed, step, stream).
_SSL_ITEMS, _MASK, _VALUES, _FEATURES, _NEGATIVES, _QUERY_IDS, _MOLECULES, _ENCODER = range(8)
_NUM_STREAMS = 8


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
        mutual_information: [num_item_features] squared, needed by the `cfm` regularizers only.
        """
        super().__init__()
        self.model, self._catalogue, self._config = model, catalogue, config
        self._same_as_items = same_as_items
        learning_rate = _schedule(config.learning_rate, config)
        self.optimizer = keras.optimizers.legacy.Adagrad(learning_rate, config.initial_accumulator)
        # Adagrad's large rate would ruin an encoder. Frozen, it has no weights to train: vectors stand for molecules.
        encoder, self.molecule_optimizer = model.molecule_encoder, None
        if encoder is not None and encoder.trainable:
            self.molecule_optimizer = keras.optimizers.legacy.Adam(_schedule(config.molecule_learning_rate, config))
            self._encoder_dropout = DropoutSeed(encoder)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._log_probability = tf.constant(sampling.exact_log_probability(catalogue.train_counts))
        self._train_counts = tf.constant(catalogue.train_counts)
        self.frequency = None
        if config.logq == "streaming":
            initial_gap = catalogue.num_items / config.batch_size
            self.frequency = sampling.StreamingFrequency(4 * catalogue.num_items, initial_gap)
        if config.ssl_towers == "both" and not same_as_items:
            raise ValueError(
                "train.ssl_towers=both needs queries that are items. Received: queries.same_as_items=false. "
                "Set train.ssl_towers=item."
            )
        self._auxiliary_loss = self._choose_auxiliary_loss(mutual_information)

    def compile(self, batch_spec: Interactions) -> Callable[[Interactions], dict[str, tf.Tensor]]:
        """The step as a graph for batches of the given structure; one trace, however ragged they are."""
        return tf.function(self.take, input_signature=[batch_spec], autograph=False)

    def take(self, batch: Interactions) -> dict[str, tf.Tensor]:
        """Takes one optimiser step and returns the scalar losses before it."""
        self.step.assign_add(1)
        if self.molecule_optimizer is not None:
            self._encoder_dropout.reset(self._config.seed * _NUM_STREAMS + _ENCODER, self.step)
        with tf.GradientTape() as tape:
            supervised = self._supervised_loss(batch)
            auxiliary = self._auxiliary_loss()
            loss = supervised + self._config.ssl_weight * auxiliary
        trained = self._trained()
        gradients = tape.gradient(loss, [variables for _, variables in trained])
        for (optimizer, variables), of_variables in zip(trained, gradients):
            optimizer.apply_gradients((g, v) for g, v in zip(of_variables, variables) if g is not None)
        return {"loss": loss, "supervised_loss": supervised, "auxiliary_loss": auxiliary}

    def _trained(self) -> list[tuple[keras.optimizers.Optimizer, list[tf.Variable]]]:
        """Each optimizer and its variables."""
        variables = self.model.trainable_variables
        if self.molecule_optimizer is None:
            return [(self.optimizer, variables)]
        of_encoder = self.model.molecule_encoder.trainable_variables
        refs = {variable.ref() for variable in of_encoder}
        others = [variable for variable in variables if variable.ref() not in refs]
        return [(self.optimizer, others), (self.molecule_optimizer, of_encoder)]

    def _supervised_loss(self, batch: Interactions) -> tf.Tensor:
        config, catalogue, prior = self._config, self._catalogue, self.model.prior
        candidates = batch.item_rows
        if config.mixed_negatives:
            uniform = self._uniform_rows(config.mixed_negatives, _NEGATIVES)
            candidates = tf.concat([candidates, uniform], axis=0)
        # Each distinct item of the batch is encoded once.
        rows, position, counts = tf.unique_with_counts(candidates)
        visible = None
        items = catalogue.gather(rows)
        if config.regularizer == "feature_dropout":
            num_slots = self.model.item_layout.num_slots
            visible = views.drop_features(items.num_records, num_slots, config.feature_dropout, self._seed(_FEATURES))
        if self._same_as_items:
            query_rows, query_position = tf.unique(batch.query_rows)
            distinct = self.model.embed_queries(catalogue.gather(query_rows), molecules=self._encode_whole())
            query_embeddings = tf.gather(distinct, query_position)
        else:
            rate, seed = config.unknown_query_rate, self._seed(_QUERY_IDS)
            queries = views.hide_ids(batch.query, self.model.query_layout, rate, seed)
            query_embeddings = self.model.embed_queries(queries)
        return losses.batch_softmax(
            query_embeddings,
            self.model.embed_items(items, visible, molecules=self._encode_whole()),
            position[: tf.size(batch.item_rows)],
            counts,
            config.temperature,
            self._log_proposal(rows, counts, batch),
            correct_positive=not config.mixed_negatives,
            example_weight=batch.example_weight,
            item_logits=prior.logits(tf.gather(self._train_counts, rows)) if prior.weight else None,
        )

    def _log_proposal(self, rows: tf.Tensor, counts: tf.Tensor, batch: Interactions) -> tf.Tensor | None:
        if self._config.logq == "none":
            return None
        if self.frequency is not None:
            self.frequency.update(rows, tf.cast(counts, tf.float32), self.step)
            return self.frequency.log_probability(rows)
        exact = tf.gather(self._log_probability, rows)
        if not self._config.mixed_negatives:
            return exact
        batch_size = batch.item_rows.shape[0] or self._config.batch_size
        num_items = self._catalogue.num_items
        return sampling.mixed_log_probability(exact, batch_size, self._config.mixed_negatives, num_items)

    # --- Auxiliary losses ---------------------------------------------------------------------------

    def _choose_auxiliary_loss(self, mutual_information: np.ndarray | None) -> Callable[[], tf.Tensor]:
        name, num_slots = self._config.regularizer, self.model.item_layout.num_slots
        if name in ("none", "feature_dropout"):
            return lambda: tf.constant(0.0)
        if name == "spread_out":
            return lambda: losses.spread_out(self._embed_uniform_items(), self._config.ssl_temperature)
        if name == "spread_out_square":
            return lambda: losses.spread_out_square(self._embed_uniform_items())
        if name == "dropout_only":
            return lambda: self._contrast_views(lambda _: views.show_all(num_slots, self._seed(_MASK))[:, tf.newaxis])
        if num_slots < 2:
            raise ValueError(
                f"masking whole features needs at least two item features. Received: {num_slots}. "
                "Add item features to the spec or set train.regularizer=none."
            )
        if name == "item_masks":
            return lambda: self._contrast_views(lambda n: views.draw_per_item(n, num_slots, self._seed(_MASK)))
        if name == "masked_spread_out":
            return self._spread_out_and_align
        if name == "rfm":
            return lambda: self._contrast_views(
                lambda _: views.draw_complementary(num_slots, self._seed(_MASK))[:, tf.newaxis]
            )
        if name == "rfm_no_complement":
            return lambda: self._contrast_views(
                lambda _: views.draw_independent(num_slots, self._seed(_MASK))[:, tf.newaxis]
            )
        if mutual_information is None:
            raise ValueError(
                f"train.regularizer={name!r} needs the correlations of the catalogue. Run correlate first."
            )
        masks = tf.constant(views.correlated_masks(mutual_information))
        return lambda: self._contrast_views(lambda _: views.draw_correlated(masks, self._seed(_MASK))[:, tf.newaxis])

    def _contrast_views(self, draw: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Eq. (3) on distinct items drawn uniformly from the catalogue.

        Args:
            draw: number of items -> visible features of both views, [2, num_items or 1, num_slots] bool.
        """
        items = self._catalogue.gather(self._distinct_uniform_rows())
        visible = draw(items.num_records)
        dropout = 0.0 if self._config.regularizer == "cfm_no_dropout" else self._config.value_dropout
        kept = views.drop_values(items, self.model.item_layout, dropout, 2, self._seed(_VALUES))
        if self._config.ssl_towers == "both":
            first = self.model.embed_queries(items, visible[:1], kept[:, :1], self._encode_masked(0))
            second = self.model.embed_items(items, visible[1:], kept[:, 1:], self._encode_masked(1))
        else:
            first, second = tf.split(self.model.embed_items(items, visible, kept, self._encode_masked(0)), 2)
        return losses.contrast(first, second, self._config.ssl_temperature)

    def _spread_out_and_align(self) -> tf.Tensor:
        """Whole items spread out, and a masked view of each must find its own whole item among them.

        The masked view goes through the query tower with `ssl_towers=both`, through the item tower with `item`.
        """
        items, num_slots = self._catalogue.gather(self._distinct_uniform_rows()), self.model.item_layout.num_slots
        visible = views.draw_per_item(items.num_records, num_slots, self._seed(_MASK))[:1]
        kept = views.drop_values(items, self.model.item_layout, self._config.value_dropout, 1, self._seed(_VALUES))
        embed = self.model.embed_queries if self._config.ssl_towers == "both" else self.model.embed_items
        whole = self.model.embed_items(items, molecules=self._encode_whole())
        temperature = self._config.ssl_temperature
        alignment = losses.contrast(embed(items, visible, kept, self._encode_masked(0)), whole, temperature)
        return losses.spread_out(whole, temperature) + self._config.alignment_weight * alignment

    def _embed_uniform_items(self) -> tf.Tensor:
        items = self._catalogue.gather(self._distinct_uniform_rows())
        return self.model.embed_items(items, molecules=self._encode_whole())

    def _distinct_uniform_rows(self) -> tf.Tensor:
        # An item drawn twice would be its own false negative.
        return tf.unique(self._uniform_rows(self._config.ssl_batch_size, _SSL_ITEMS))[0]

    def _uniform_rows(self, num_rows: int, stream: int) -> tf.Tensor:
        return tf.random.stateless_uniform([num_rows], self._seed(stream), 0, self._catalogue.num_items, tf.int64)

    def _seed(self, stream: int) -> tf.Tensor:
        return tf.stack([tf.constant(self._config.seed, tf.int64) * _NUM_STREAMS + stream, self.step])

    # --- Molecules ----------------------------------------------------------------------------------

    def _encode_whole(self) -> MoleculePass:
        """How molecules are encoded where nothing of them is hidden; hops are drawn once a step."""
        if self.molecule_optimizer is None:
            return WHOLE
        return MoleculePass(hops=draw_hops(self.model.molecule_encoder.config.depth, self._seed(_ENCODER)))

    def _encode_masked(self, view: int) -> MoleculePass:
        """How the molecules of masked views are encoded; another `view` hides other parts of the same molecules."""
        whole, rate = self._encode_whole(), self._config.molecule_mask_rate
        if self.molecule_optimizer is None or rate == 0.0:
            return whole
        seed = self._seed(_MOLECULES) + [0, view << 41]
        return whole._replace(mask=lambda molecules: mask_molecules(molecules, rate, seed))


def _schedule(learning_rate: float, config: TrainConfig):
    if config.schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(learning_rate, config.steps, end_learning_rate=0.0)
    return learning_rate
