"""Properties of molecules from GROVER's encoder: two heads, one on the atom vectors of each view.

References:
    Rong et al. 2020, arXiv:2007.02835, Section 4.3 and the released fine-tuning code.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.molecule.graph import MoleculeBatch
from recsys_ssl.encoders.molecule.grover import GTransformer, SelfAttentiveReadout, draw_hops
from recsys_ssl.encoders.molecule.settings import FinetuneConfig, GroverConfig, HeadConfig
from recsys_ssl.evaluation.prediction import Task


class HeadOutputs(NamedTuple):
    """What the two heads say, before the sigmoid of a classification and in standard units of a regression."""

    from_atom: tf.Tensor
    """[num_molecules, num_tasks] float32, from `atom_from_atom`."""
    from_bond: tf.Tensor
    """[num_molecules, num_tasks] float32, from `atom_from_bond`."""


class MoleculePredictor(keras.Model):
    """Encoder, readout and two heads. Both views share the readout, as in the released code; its 200 descriptors that
    RDKit computes beside the encoder are left out, so that what is judged is the encoder.
    """

    def __init__(self, encoder: GroverConfig, num_tasks: int, task: Task, heads: HeadConfig):
        """Makes all weights.

        Args:
            encoder: sizes; its dropout is that of the encoder.
            num_tasks: properties that are predicted at once.
            task: "classification" (yes or no, each task) or "regression".
        """
        super().__init__(name="molecule_predictor")
        if task not in get_args(Task):
            raise ValueError(f"task must be one of {get_args(Task)}. Received: {task!r}.")
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be 1 or more. Received: {num_tasks}. Name a target.")
        self.task, self.num_tasks = task, num_tasks
        self.encoder = GTransformer(encoder)
        self._readout = SelfAttentiveReadout(heads.attn_hidden, heads.attn_out, name="readout")
        self._readout.build([None, encoder.hidden_dim])
        input_dim = heads.attn_out * encoder.hidden_dim
        self._from_atom, self._from_bond = (_head(input_dim, num_tasks, heads) for _ in range(2))
        # Of the training targets; not trained, kept with the weights.
        self._mean, self._scale = (
            self.add_weight(name=f"target_{name}", shape=[num_tasks], initializer=initial, trainable=False)
            for name, initial in (("mean", "zeros"), ("scale", "ones"))
        )

    @property
    def head_variables(self) -> list[tf.Variable]:
        """What is trained besides the encoder."""
        return [v for part in (self._readout, self._from_atom, self._from_bond) for v in part.trainable_variables]

    def standardise(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Sets the unit of a regression: targets are scale * output + mean; both [num_tasks]."""
        self._mean.assign(mean)
        self._scale.assign(scale)

    def to_outputs(self, targets: tf.Tensor) -> tf.Tensor:
        """Targets in the unit of the heads."""
        return (targets - self._mean) / self._scale

    def call(self, batch: MoleculeBatch, training: bool = False, hops: tf.Tensor | int | None = None) -> HeadOutputs:
        """Arguments as of `GTransformer.call`."""
        encoded = self.encoder(batch, training=training, hops=hops)

        def apply(head: keras.Sequential, atoms: tf.Tensor) -> tf.Tensor:
            return head(self._readout(atoms, batch.molecules, batch.num_molecules), training=training)

        return HeadOutputs(
            apply(self._from_atom, encoded.atom_from_atom), apply(self._from_bond, encoded.atom_from_bond)
        )

    def loss(self, batch: MoleculeBatch, targets: tf.Tensor, config: FinetuneConfig, seed: tf.Tensor) -> tf.Tensor:
        """`two_head_loss` in training; targets are in the unit of the heads, the seed draws the hops."""
        outputs = self(batch, training=True, hops=draw_hops(self.encoder.config.depth, seed))
        return two_head_loss(outputs, targets, self.task, config.dist_coff)

    def predict_targets(self, batch: MoleculeBatch) -> tf.Tensor:
        """[num_molecules, num_tasks] float32: mean of both heads, as probabilities or in the unit of the targets."""
        outputs = self(batch)
        if self.task == "classification":
            return (tf.sigmoid(outputs.from_atom) + tf.sigmoid(outputs.from_bond)) / 2.0
        return (outputs.from_atom + outputs.from_bond) / 2.0 * self._scale + self._mean


def _head(input_dim: int, num_tasks: int, config: HeadConfig) -> keras.Sequential:
    layers = []
    for _ in range(config.ffn_layers - 1):
        layers += [keras.layers.Dropout(config.dropout), keras.layers.Dense(config.ffn_hidden, activation="relu")]
    head = keras.Sequential([*layers, keras.layers.Dropout(config.dropout), keras.layers.Dense(num_tasks)])
    head.build([None, input_dim])
    return head


def two_head_loss(outputs: HeadOutputs, targets: tf.Tensor, task: Task, dist_coff: float) -> tf.Tensor:
    """loss(from_atom) + loss(from_bond) + dist_coff * (from_atom - from_bond)^2, a mean over the known targets.

    The loss of a head is the binary cross-entropy of its logits, or the squared error.

    Args:
        outputs: of `MoleculePredictor`.
        targets: [num_molecules, num_tasks] float32 in the unit of the heads; NaN where unknown.
        task: which loss.
        dist_coff: weight of the disagreement of the heads; the paper tuned it from 0.05 to 0.15.

    Returns:
        Scalar; 0.0 when no target is known.
    """
    known = tf.math.is_finite(targets)
    targets = tf.where(known, targets, tf.zeros_like(targets))

    def loss_of(output: tf.Tensor) -> tf.Tensor:
        if task == "classification":
            return tf.nn.sigmoid_cross_entropy_with_logits(targets, output)
        return tf.math.squared_difference(output, targets)

    disagreement = tf.math.squared_difference(*outputs)
    losses = loss_of(outputs.from_atom) + loss_of(outputs.from_bond) + dist_coff * disagreement
    weights = tf.cast(known, losses.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))
