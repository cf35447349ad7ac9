"""Properties of images from SiT: one linear head on the vector, the encoder below it trained or not.

References:
    Atito et al. 2021, arXiv:2104.03602, Section 4.2 (linear evaluation and fine-tuning).
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.contract import Pass
from recsys_ssl.encoders.image.encoder import ImageEncoder, unpack
from recsys_ssl.encoders.image.settings import FinetuneConfig, ViTConfig
from recsys_ssl.evaluation.prediction import Task


class ImagePredictor(keras.Model):
    """Encoder and head; all weights are made."""

    def __init__(self, encoder: ViTConfig, num_tasks: int, task: Task):
        """Makes all weights.

        Args:
            encoder: sizes; its dropout is that of the encoder.
            num_tasks: properties that are predicted at once.
            task: "classification" (yes or no, each task) or "regression".
        """
        super().__init__(name="image_predictor")
        if task not in get_args(Task):
            raise ValueError(f"task must be one of {get_args(Task)}. Received: {task!r}.")
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be 1 or more. Received: {num_tasks}. Name a target.")
        self.task, self.num_tasks = task, num_tasks
        self.encoder = ImageEncoder(encoder)
        self._head = keras.layers.Dense(num_tasks)
        self._head.build([None, self.encoder.dim])
        # Of the training targets; not trained, kept with the weights.
        self._mean, self._scale = (
            self.add_weight(name=f"target_{name}", shape=[num_tasks], initializer=initial, trainable=False)
            for name, initial in (("mean", "zeros"), ("scale", "ones"))
        )

    @property
    def head_variables(self) -> list[tf.Variable]:
        """What is trained besides the encoder."""
        return self._head.trainable_variables

    def standardise(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Sets the unit of a regression: targets are scale * output + mean; both [num_tasks]."""
        self._mean.assign(mean)
        self._scale.assign(scale)

    def to_outputs(self, targets: tf.Tensor) -> tf.Tensor:
        """Targets in the unit of the head."""
        return (targets - self._mean) / self._scale

    def call(self, packed: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """[num_images, num_tasks] float32: logits of a classification, standard units of a regression.

        Args:
            packed: [num_images] string, see `encoder`.
            seed: [2] int64, in training; None: not in training.
        """
        return self._head(self.encoder.encode(unpack(packed), Pass(training_seed=seed)))

    def loss(self, batch: tf.Tensor, targets: tf.Tensor, config: FinetuneConfig, seed: tf.Tensor) -> tf.Tensor:
        """Mean over the known targets of the cross-entropy, or of the squared error; 0.0 when none is known."""
        outputs, known = self(batch, seed), tf.math.is_finite(targets)
        targets = tf.where(known, targets, tf.zeros_like(targets))
        if self.task == "classification":
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs)
        else:
            losses = tf.math.squared_difference(outputs, targets)
        weights = tf.cast(known, losses.dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))

    def predict_targets(self, batch: tf.Tensor) -> tf.Tensor:
        """[num_images, num_tasks] float32 probabilities, or values in the unit of the targets."""
        outputs = self(batch)
        return tf.sigmoid(outputs) if self.task == "classification" else outputs * self._scale + self._mean
