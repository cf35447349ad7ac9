"""One step of pre-training and its validation, of any kind of content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from recsys_ssl import seeds
from recsys_ssl.encoders.config import PretrainConfig
from recsys_ssl.encoders.contract import Pretext
from recsys_ssl.encoders.dropout import DropoutSeed
from recsys_ssl.encoders.schedules import WarmUpThenDecay
from recsys_ssl.optimizers import make_slots


class PretrainStep(tf.Module):
    """Model and optimiser, and the functions that advance and validate them; what a checkpoint holds."""

    def __init__(self, model: keras.Model, pretext: Pretext, config: PretrainConfig):
        super().__init__()
        self.model, self._pretext, self._config = model, pretext, config
        self._dropout = DropoutSeed(model)
        self.optimizer = keras.optimizers.legacy.Adam(_learning_rate(config))
        make_slots(self.optimizer, model.trainable_variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    def compile(self) -> Callable[[Any], dict[str, tf.Tensor]]:
        """`take` as a graph, one trace for batches of all sizes."""
        return tf.function(self.take, input_signature=[self._pretext.batch_spec], autograph=False)

    def take(self, batch: Any) -> dict[str, tf.Tensor]:
        """Takes one optimiser step and returns the scalar losses before it, and the learning rate."""
        config = self._config
        self._dropout.reset(seeds.number_of(config.seed, seeds.PretrainStream.DROPOUT), self.step)
        seed = seeds.of_step(config.seed, seeds.PretrainStream.ENCODER, self.step)
        learning_rate = self.optimizer.learning_rate(self.optimizer.iterations)
        with tf.GradientTape() as tape:
            losses = self._pretext.losses(self.model, batch, config, seed)
        variables = self.model.trainable_variables
        gradients = tape.gradient(losses["loss"], variables)
        self.optimizer.apply_gradients(
            (gradient + config.weight_decay * variable, variable)
            for gradient, variable in zip(gradients, variables)
            if gradient is not None
        )
        self._pretext.follow(self.model, self.step)
        self.step.assign_add(1)
        return {"learning_rate": learning_rate, **losses}

    def compile_validation(self, batches: Sequence[Any]) -> Callable[[], dict[str, float]]:
        """A function that gives the figures of the model as it is; their names begin with `validation_`."""
        pretext = self._pretext
        evaluate = tf.function(
            lambda batch: pretext.evaluate(self.model, batch), input_signature=[pretext.batch_spec], autograph=False
        )
        constants = pretext.describe(batches)

        def validate() -> dict[str, float]:
            sums: dict[str, float] = {}
            for batch in batches:
                for name, value in evaluate(batch).items():
                    sums[name] = sums.get(name, 0.0) + float(value)
            return {f"validation_{name}": value for name, value in (pretext.summarise(sums) | constants).items()}

        return validate


def _learning_rate(config: PretrainConfig) -> WarmUpThenDecay:
    return WarmUpThenDecay(
        config.init_learning_rate,
        config.max_learning_rate,
        config.final_learning_rate,
        int(config.warmup_share * config.steps),
        config.steps,
    )
