"""One step of pre-training and its validation."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.config import PretrainConfig
from recsys_ssl.encoders.molecule.graph import ATOM_COLUMNS, BOND_COLUMNS, NUM_MOTIFS, MoleculeBatch
from recsys_ssl.encoders.molecule.grover import draw_hops
from recsys_ssl.encoders.molecule.pretext import (
    LOSS_WEIGHTS,
    TASK_LOSSES,
    DropoutSeed,
    GroverPretrainer,
    PretrainBatch,
    count_correct,
    pretrain_losses,
    summarise_counts,
    total_loss,
)
from recsys_ssl.encoders.schedules import WarmUpThenDecay

MOLECULES_SPEC = MoleculeBatch(
    atoms=tf.TensorSpec([None, len(ATOM_COLUMNS)], tf.uint8),
    masses=tf.TensorSpec([None], tf.float32),
    bonds=tf.TensorSpec([None, len(BOND_COLUMNS)], tf.uint8),
    sources=tf.TensorSpec([None], tf.int32),
    targets=tf.TensorSpec([None], tf.int32),
    molecules=tf.TensorSpec([None], tf.int32),
    num_molecules=tf.TensorSpec([], tf.int32),
)
"""Any molecules: a function of this signature is traced once."""
_BATCH_SPEC = PretrainBatch(
    molecules=MOLECULES_SPEC,
    atom_classes=tf.TensorSpec([None], tf.int32),
    bond_classes=tf.TensorSpec([None], tf.int32),
    motifs=tf.TensorSpec([None, NUM_MOTIFS], tf.uint8),
)

# Independent random streams of a step: every draw is a function of (seed, step, stream).
_HOPS, _DROPOUT = range(2)
_NUM_STREAMS = 8


class PretrainStep(tf.Module):
    """Model and optimiser, and the functions that advance and validate them; what a checkpoint holds."""

    def __init__(self, model: GroverPretrainer, config: PretrainConfig):
        super().__init__()
        self.model, self._config = model, config
        self._dropout = DropoutSeed(model)
        self.optimizer = keras.optimizers.legacy.Adam(_learning_rate(config))
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @tf.function(input_signature=[_BATCH_SPEC], autograph=False)
    def take(self, batch: PretrainBatch) -> dict[str, tf.Tensor]:
        """Takes one optimiser step and returns the scalar losses before it, and the learning rate."""
        config = self._config
        self._dropout.reset(config.seed * _NUM_STREAMS + _DROPOUT, self.step)
        seed = tf.stack([tf.constant(config.seed * _NUM_STREAMS + _HOPS, tf.int64), self.step])
        hops = draw_hops(config.depth, seed)
        learning_rate = self.optimizer.learning_rate(self.optimizer.iterations)
        with tf.GradientTape() as tape:
            losses = pretrain_losses(self.model(batch, training=True, hops=hops), batch)
            loss = total_loss(losses)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(
            (gradient + config.weight_decay * variable, variable)
            for gradient, variable in zip(gradients, variables)
            if gradient is not None
        )
        self.step.assign_add(1)
        return {"loss": loss, "learning_rate": learning_rate, **losses}

    @tf.function(input_signature=[_BATCH_SPEC], autograph=False)
    def _evaluate(self, batch: PretrainBatch) -> dict[str, tf.Tensor]:
        predictions = self.model(batch, training=False)
        return {**pretrain_losses(predictions, batch), **count_correct(predictions, batch)}

    def validate(self, batches: Sequence[PretrainBatch]) -> dict[str, float]:
        """Losses, means over the molecules of the batches, and the rates of `summarise_counts`.

        Returns:
            Figures whose names begin with `validation_`; `validation_loss` is the sum of the task losses.
        """
        sums: dict[str, float] = {}
        for batch in batches:
            for name, value in self._evaluate(batch).items():
                weight = int(batch.molecules.num_molecules) if name in LOSS_WEIGHTS else 1
                sums[name] = sums.get(name, 0.0) + weight * float(value)
        num_molecules = sum(int(batch.molecules.num_molecules) for batch in batches)
        figures = {name: sums[name] / num_molecules for name in LOSS_WEIGHTS}
        figures = {"loss": sum(figures[name] for name in TASK_LOSSES)} | figures | summarise_counts(sums)
        return {f"validation_{name}": value for name, value in figures.items()}


def _learning_rate(config: PretrainConfig) -> WarmUpThenDecay:
    return WarmUpThenDecay(
        config.init_learning_rate,
        config.max_learning_rate,
        config.final_learning_rate,
        int(config.warmup_share * config.steps),
        config.steps,
    )
