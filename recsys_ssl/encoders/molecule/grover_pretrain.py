"""What GROVER learns without labels: the contexts of hidden atoms and bonds, and the motifs of the whole molecule.

Each of the encoder's four outputs predicts; the two that predict the same must also agree. The released code does not
hide what is to be predicted, so that reading it off the inputs is enough; `mask_inputs` hides it, as the paper says.

References:
    Rong et al. 2020, arXiv:2007.02835, Section 4.2; the released code is github.com/tencent-ailab/grover.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.molecule.graph import NUM_MOTIFS, MoleculeBatch
from recsys_ssl.encoders.molecule.grover import GTransformer, edge_molecules, mean_readout
from recsys_ssl.encoders.molecule.views import hide_parts

NO_TARGET, OTHER = 0, 1
"""Classes of every vocabulary: of rows without a prediction (its `PAD`), and of all contexts that it does not hold."""

LOSS_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "atom_loss": 1.0,
        "bond_loss": 1.0,
        "motif_loss": 1.0,
        "atom_disagreement": 0.1,
        "bond_disagreement": 0.1,
        "motif_disagreement": 1.0,
    }
)
"""Parts of the loss and their weights, those of the released code."""
TASK_LOSSES = ("atom_loss", "bond_loss", "motif_loss")
"""The parts that tell how well the labels are predicted; their sum is the validation loss."""


class PretrainBatch(NamedTuple):
    """Molecules and what is to be predicted of them, arrays or tensors."""

    molecules: MoleculeBatch
    atom_classes: np.ndarray
    """[num_atoms] int32 class of the atom's context; `NO_TARGET` where it is not to be predicted, and for padding."""
    bond_classes: np.ndarray
    """[num_edges // 2] int32, as `atom_classes`."""
    motifs: np.ndarray
    """[num_molecules, 85] uint8, 1 where the molecule has the motif."""


class Predictions(NamedTuple):
    """Logits of the heads; the rows of targets stand in the order of the batch."""

    atoms: tuple[tf.Tensor, tf.Tensor]
    """From atom_from_atom and atom_from_bond, each [num_atom_targets, num_atom_classes] float32."""
    bonds: tuple[tf.Tensor, tf.Tensor]
    """From bond_from_atom and bond_from_bond, each [num_bond_targets, num_bond_classes] float32."""
    motifs: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
    """From the means of the four outputs in the order of `GroverOutputs`, each [num_molecules, 85] float32."""


# --- What is hidden --------------------------------------------------------------------------------------


def mask_targets(batch: PretrainBatch) -> MoleculeBatch:
    """The molecules with their targets hidden from the encoder."""
    is_target = tf.not_equal(batch.atom_classes, NO_TARGET)
    is_target_bond = tf.not_equal(batch.bond_classes, NO_TARGET)
    return hide_parts(batch.molecules, is_target, is_target_bond)


# --- The model -------------------------------------------------------------------------------------------


class GroverPretrainer(keras.Model):
    """The encoder and the heads of its pre-training; all weights are made at once."""

    def __init__(self, encoder: GTransformer, num_atom_classes: int, num_bond_classes: int, mask_inputs: bool = True):
        """Makes the weights of the heads.

        Args:
            num_atom_classes: of the vocabulary of atom contexts, `NO_TARGET` and `OTHER` among them.
            num_bond_classes: of the vocabulary of bond contexts.
            mask_inputs: whether targets are hidden from the encoder (the paper) or not (the released code).
        """
        super().__init__(name="grover_pretrainer")
        self.encoder = encoder
        self.mask_inputs = mask_inputs
        dim = encoder.config.hidden_dim
        self._atom_heads = [_head(dim, num_atom_classes) for _ in range(2)]
        self._bond_heads = [_head(dim, num_bond_classes) for _ in range(2)]
        # The other direction of a bond adds to the logits; one bias is enough.
        self._reverse_heads = [_head(dim, num_bond_classes, use_bias=False) for _ in range(2)]
        self._motif_heads = [_head(dim, NUM_MOTIFS) for _ in range(4)]

    def call(self, batch: PretrainBatch, training: bool = False, hops: tf.Tensor | int | None = None) -> Predictions:
        """Predicts the targets of a batch; `training` and `hops` as in `GTransformer.call`."""
        molecules = mask_targets(batch) if self.mask_inputs else batch.molecules
        outputs = self.encoder(molecules, training=training, hops=hops)
        atoms, bonds = _target_rows(batch.atom_classes), _target_rows(batch.bond_classes)
        motif_rows = (*(molecules.molecules,) * 2, *(edge_molecules(molecules),) * 2)
        motifs = (
            head(mean_readout(values, rows, molecules.num_molecules))
            for head, values, rows in zip(self._motif_heads, outputs, motif_rows)
        )
        return Predictions(
            atoms=tuple(head(tf.gather(values, atoms)) for head, values in zip(self._atom_heads, outputs[:2])),
            bonds=tuple(
                head(tf.gather(values, 2 * bonds)) + reverse(tf.gather(values, 2 * bonds + 1))
                for head, reverse, values in zip(self._bond_heads, self._reverse_heads, outputs[2:])
            ),
            motifs=tuple(motifs),
        )


def _head(dim: int, num_classes: int, use_bias: bool = True) -> keras.layers.Dense:
    head = keras.layers.Dense(num_classes, use_bias=use_bias)
    head.build([None, dim])
    return head


def _target_rows(classes: tf.Tensor) -> tf.Tensor:
    """[num_targets] int64."""
    return tf.where(tf.not_equal(classes, NO_TARGET))[:, 0]


# --- Losses ----------------------------------------------------------------------------------------------


def pretrain_losses(predictions: Predictions, batch: PretrainBatch) -> dict[str, tf.Tensor]:
    """The parts of the loss, scalars under the names of `LOSS_WEIGHTS`.

    Cross-entropies and binary cross-entropies are means over targets, and over molecules and motifs, summed over the
    2, 2 and 4 outputs that predict. A disagreement is the mean squared difference of log-probabilities over targets
    and classes, or of the probabilities of motifs summed over the atoms' and the bonds' pair. (The released code takes
    disagreement over all atoms and bonds; targets alone need a seventh of the logits.)

    Returns:
        0.0 for a part without a target, as in a batch without bonds.
    """
    atom_classes = tf.gather(batch.atom_classes, _target_rows(batch.atom_classes))
    bond_classes = tf.gather(batch.bond_classes, _target_rows(batch.bond_classes))
    motifs = tf.cast(batch.motifs, tf.float32)
    presence = [tf.sigmoid(logits) for logits in predictions.motifs]
    return {
        "atom_loss": tf.add_n([_cross_entropy(logits, atom_classes) for logits in predictions.atoms]),
        "bond_loss": tf.add_n([_cross_entropy(logits, bond_classes) for logits in predictions.bonds]),
        "motif_loss": tf.add_n(
            [_mean(tf.nn.sigmoid_cross_entropy_with_logits(motifs, logits)) for logits in predictions.motifs]
        ),
        "atom_disagreement": _mean_square(*map(tf.nn.log_softmax, predictions.atoms)),
        "bond_disagreement": _mean_square(*map(tf.nn.log_softmax, predictions.bonds)),
        "motif_disagreement": _mean_square(presence[0], presence[1]) + _mean_square(presence[2], presence[3]),
    }


def total_loss(losses: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The parts summed by `LOSS_WEIGHTS`."""
    return tf.add_n([weight * losses[name] for name, weight in LOSS_WEIGHTS.items()])


def _cross_entropy(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    return _mean(tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits))


def _mean_square(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return _mean(tf.math.squared_difference(a, b))


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype))


# --- How good ----------------------------------------------------------------------------------------------


def count_correct(predictions: Predictions, batch: PretrainBatch) -> dict[str, tf.Tensor]:
    """Counts over a batch that add up over batches; `summarise_counts` makes rates of them.

    Returns:
        Scalars float32: `<atom or bond>_targets`, `_other` (targets of the class `OTHER`) and `_top1` (targets whose
        class has the largest logit, mean of the two outputs); `motif_true_positives`, `motif_errors` (summed over the
        four outputs, at probability 0.5).
    """
    counts = {}
    parts = (("atom", batch.atom_classes, predictions.atoms), ("bond", batch.bond_classes, predictions.bonds))
    for name, classes, branches in parts:
        classes = tf.gather(classes, _target_rows(classes))
        counts[f"{name}_targets"] = tf.cast(tf.size(classes), tf.float32)
        counts[f"{name}_other"] = _count(classes == OTHER)
        right = [_count(tf.argmax(logits, axis=1, output_type=classes.dtype) == classes) for logits in branches]
        counts[f"{name}_top1"] = tf.add_n(right) / len(right)
    present = tf.cast(batch.motifs, tf.bool)
    predicted = tf.stack(predictions.motifs) > 0.0
    counts["motif_true_positives"] = _count(predicted & present)
    counts["motif_errors"] = _count(predicted ^ present)
    return counts


def _count(chosen: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(chosen, tf.float32))


def summarise_counts(counts: Mapping[str, float]) -> dict[str, float]:
    """Rates from the sums of `count_correct`, all in [0, 1] and 0 where there is nothing to count.

    Returns:
        `atom_top1` and `bond_top1`: share of targets predicted right, higher is better; `atom_other` and `bond_other`:
        share of targets whose context is not in the vocabulary; `motif_f1`: 2 TP / (2 TP + FP + FN) over all
        molecules, motifs and outputs, higher is better.
    """
    rates = {
        f"{name}_{what}": counts[f"{name}_{what}"] / max(counts[f"{name}_targets"], 1.0)
        for name in ("atom", "bond")
        for what in ("top1", "other")
    }
    twice = 2.0 * counts["motif_true_positives"]
    return rates | {"motif_f1": twice / max(twice + counts["motif_errors"], 1.0)}
