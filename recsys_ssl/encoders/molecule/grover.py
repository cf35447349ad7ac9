"""GROVER's encoder: two views of a molecule, by its atoms and by its directed edges, give four sets of vectors.

In each view, message passing networks make the queries, keys and values of an attention. What is attended to is then
summed over the neighbours of each atom and edge, and joined with its raw features: the only residual connection.

What differs from the released code: hop counts are drawn once a call, not once for each of the 24 networks of two
views; attention over atoms, as the paper has it, is the default.

References:
    Rong et al. 2020, arXiv:2007.02835, "Self-Supervised Graph Transformer on Large-Scale Molecular Data".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.molecule import grover_layers
from recsys_ssl.encoders.molecule.graph import (
    ATOM_COLUMNS,
    ATOM_DIM,
    ATOM_FIELDS,
    BOND_COLUMNS,
    BOND_DIM,
    BOND_FIELDS,
    MoleculeBatch,
)
from recsys_ssl.encoders.molecule.grover_layers import Edges, SizeGroup, sum_incoming, sum_neighbours, sum_previous
from recsys_ssl.encoders.molecule.settings import GroverConfig

EDGE_DIM = ATOM_DIM + BOND_DIM

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


class GroverOutputs(NamedTuple):
    """Vectors of atoms and edges from both views; rows of padding hold anything finite."""

    atom_from_atom: tf.Tensor
    """[num_atoms, hidden_dim] float32."""
    atom_from_bond: tf.Tensor
    """[num_atoms, hidden_dim] float32."""
    bond_from_atom: tf.Tensor
    """[num_edges, hidden_dim] float32."""
    bond_from_bond: tf.Tensor
    """[num_edges, hidden_dim] float32."""


# --- Features and hops -----------------------------------------------------------------------------------


def expand_atoms(batch: MoleculeBatch) -> tf.Tensor:
    """[num_atoms, 151] float32, the fields of ATOM_FIELDS: choices as one-hot vectors, flags and mass as they are."""
    columns = dict(zip(ATOM_COLUMNS, tf.unstack(tf.cast(batch.atoms, tf.int32), len(ATOM_COLUMNS), axis=1)))
    masses = tf.reshape(tf.cast(batch.masses, tf.float32), [-1, 1])
    fields = [masses if name == "mass" else _expand(columns[name], size) for name, size in ATOM_FIELDS.items()]
    return tf.concat(fields, axis=1)


def expand_bonds(batch: MoleculeBatch) -> tf.Tensor:
    """[num_edges // 2, 14] float32, the fields of BOND_FIELDS."""
    columns = dict(zip(BOND_COLUMNS, tf.unstack(tf.cast(batch.bonds, tf.int32), len(BOND_COLUMNS), axis=1)))
    columns["null"] = tf.zeros_like(columns["type"])
    return tf.concat([_expand(columns[name], size) for name, size in BOND_FIELDS.items()], axis=1)


class Features(NamedTuple):
    """Raw features of a batch. An edge has those of its source, then those of its bond: 165, never laid out."""

    atoms: tf.Tensor
    """[num_atoms, 151] float32."""
    bonds: tf.Tensor
    """[num_edges // 2, 14] float32."""
    sources: tf.Tensor
    """[num_edges] int32."""

    def project_atoms(self, kernel: tf.Tensor) -> tf.Tensor:
        """[151, width] -> [num_atoms, width]."""
        return tf.matmul(self.atoms, kernel)

    def project_edges(self, kernel: tf.Tensor) -> tf.Tensor:
        """[165, width] -> [num_edges, width]; each atom and each bond is multiplied once, not once an edge."""
        of_bonds = tf.repeat(tf.matmul(self.bonds, kernel[ATOM_DIM:]), 2, axis=0)
        return tf.gather(tf.matmul(self.atoms, kernel[:ATOM_DIM]), self.sources) + of_bonds


def _expand(codes: tf.Tensor, size: int) -> tf.Tensor:
    return tf.one_hot(codes, size) if size > 1 else tf.cast(codes, tf.float32)[:, tf.newaxis]


def hop_probabilities(depth: int) -> np.ndarray:
    """[depth + 2] float64, in training the probabilities of 0..depth + 1 hops.

    There are max(floor(x) - 1, 0) hops, x from a normal distribution with mean depth and standard deviation 1,
    truncated to depth - 3..depth + 3: for depth 3 and more about half a hop less on average than at inference.
    """
    # P(at most n hops) = P(x < n + 2).
    below = [math.erf(min(max(n + 2 - depth, -3), 3) / math.sqrt(2)) for n in range(depth + 2)]
    at_most = (np.array(below) / math.erf(3 / math.sqrt(2)) + 1) / 2
    return np.diff(at_most, prepend=0.0)


def draw_hops(depth: int, seed: tf.Tensor) -> tf.Tensor:
    """Scalar int32 of the distribution `hop_probabilities`; seed, [2] ints, determines it."""
    at_most = tf.constant(np.cumsum(hop_probabilities(depth))[:-1], tf.float32)
    return tf.reduce_sum(tf.cast(tf.random.stateless_uniform([], seed) >= at_most, tf.int32))


# --- The encoder -----------------------------------------------------------------------------------------


class _Block(keras.layers.Layer):
    """One block of one view: message passing networks, then attention, without a residual connection."""

    def __init__(self, sum_messages, input_dim: int | None, config: GroverConfig, name: str):
        """Makes the weights; input_dim is None where the inputs already have hidden_dim columns."""
        super().__init__(name=name)
        dim, dropout = config.hidden_dim, config.dropout
        self._projection = grover_layers.project_inputs(input_dim, dim, dropout) if input_dim else None
        self._messages = grover_layers.MessagePassing(sum_messages, dim, 3 * config.num_heads, dropout)
        self._attention = grover_layers.MultiHeadAttention(dim, config.num_heads, config.attention, dropout)
        self._norm = keras.Sequential(grover_layers.normalise(dropout))
        self._norm.build([None, dim])

    def call(self, inputs, edges: Edges, groups: list[SizeGroup], hops, training: bool = False) -> tf.Tensor:
        """[num_rows, hidden_dim], or in the first block a `project_...` of `Features` -> [num_rows, hidden_dim]."""
        if self._projection is not None:
            inputs = grover_layers.run_joined(self._projection, inputs, training=training)
        messages = self._messages(inputs, edges, hops, training=training)
        return self._norm(self._attention(messages, groups, training=training), training=training)


class GTransformer(keras.Model):
    """The encoder; all weights are made at once.

    A step of training holds 3 * num_heads * (num_atoms + num_edges) * hidden_dim floats for each hop, a few times over.
    """

    def __init__(self, config: GroverConfig):
        super().__init__(name="g_transformer")
        self.config = config
        dim, dropout = config.hidden_dim, config.dropout
        self._atom_blocks, self._edge_blocks = (
            [_Block(sums, None if i else input_dim, config, f"{view}_block_{i}") for i in range(config.num_blocks)]
            for view, sums, input_dim in (("atom", sum_neighbours, ATOM_DIM), ("edge", sum_previous, EDGE_DIM))
        )
        self._atom_from_atom, self._atom_from_bond, self._bond_from_atom, self._bond_from_bond = (
            grover_layers.feed_forward(input_dim + dim, dim, dropout)
            for input_dim in (ATOM_DIM, ATOM_DIM, EDGE_DIM, EDGE_DIM)
        )

    def call(self, batch: MoleculeBatch, training: bool = False, hops: tf.Tensor | int | None = None) -> GroverOutputs:
        """Encodes the molecules of a batch; a molecule's vectors do not depend on the others.

        Args:
            batch: arrays or tensors; one trace serves all batches of the same shapes.
            training: whether there is dropout and, without `hops`, a random hop count.
            hops: scalar, hops of messages, for a seeded `draw_hops`. In a tf.function a tensor: each int is traced.
                None: drawn anew from TensorFlow's global generator in training, depth - 1 at inference.
        """
        if hops is None:
            hops = self.config.depth - 1
            if training:
                seed = tf.random.uniform([2], 0, tf.int32.max, tf.int32)
                hops = draw_hops(self.config.depth, seed)
        batch = MoleculeBatch(*(tf.convert_to_tensor(part) for part in batch))
        edges = _edges_of(batch)
        features = Features(expand_atoms(batch), expand_bonds(batch), batch.sources)
        atoms, bonds = features.project_atoms, features.project_edges
        atom_groups = grover_layers.group_by_size(batch.molecules, batch.num_molecules)
        edge_groups = grover_layers.group_by_size(edge_molecules(batch), batch.num_molecules)
        for block in self._atom_blocks:
            atoms = block(atoms, edges, atom_groups, hops, training=training)
        for block in self._edge_blocks:
            bonds = block(bonds, edges, edge_groups, hops, training=training)

        neighbours = sum_neighbours(atoms, edges)
        # Of an edge v -> w: v and its neighbours but w.
        around_source = tf.gather(atoms + neighbours, batch.sources) - tf.gather(atoms, batch.targets)

        def join(network: keras.Sequential, project: Callable[[tf.Tensor], tf.Tensor], aggregated: tf.Tensor):
            return grover_layers.run_joined(network, project, aggregated, training=training)

        return GroverOutputs(
            atom_from_atom=join(self._atom_from_atom, features.project_atoms, neighbours),
            atom_from_bond=join(self._atom_from_bond, features.project_atoms, sum_incoming(bonds, edges)),
            bond_from_atom=join(self._bond_from_atom, features.project_edges, around_source),
            bond_from_bond=join(self._bond_from_bond, features.project_edges, sum_previous(bonds, edges)),
        )


def edge_molecules(batch: MoleculeBatch) -> tf.Tensor:
    """[num_edges] int32 molecule of each edge; `num_molecules` for padding."""
    return tf.gather(batch.molecules, batch.sources)


def _edges_of(batch: MoleculeBatch) -> Edges:
    receivers = tf.where(edge_molecules(batch) < batch.num_molecules, batch.targets, -1)
    return Edges(batch.sources, receivers, tf.shape(batch.atoms)[0])


# --- Vectors of whole molecules --------------------------------------------------------------------------


def mean_readout(values: tf.Tensor, molecules: tf.Tensor, num_molecules: tf.Tensor) -> tf.Tensor:
    """Means over the atoms or edges of each molecule.

    Args:
        values: [num_rows, dim] float32.
        molecules: [num_rows] int32 molecule of each row; `num_molecules` for padding, which is left out.
        num_molecules: scalar int32.

    Returns:
        [num_molecules, dim] float32; zeros for a molecule without rows (edges, where it has no bond).
    """
    totals = tf.math.unsorted_segment_sum(values, molecules, num_molecules + 1)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(values[:, :1]), molecules, num_molecules + 1)
    return (totals / tf.maximum(counts, 1.0))[:num_molecules]


def embed_molecules(
    encoder: GTransformer, batch: MoleculeBatch, training: bool = False, hops: tf.Tensor | int | None = None
) -> tf.Tensor:
    """The vector of each molecule: the mean of atom_from_atom over its atoms, then the mean of atom_from_bond.

    Arguments are those of `GTransformer.call`.

    Returns:
        [num_molecules, 2 * hidden_dim] float32.
    """
    outputs = encoder(batch, training=training, hops=hops)
    atoms = tf.concat([outputs.atom_from_atom, outputs.atom_from_bond], axis=1)
    return mean_readout(atoms, batch.molecules, batch.num_molecules)


class SelfAttentiveReadout(keras.layers.Layer):
    """Weighted means over the atoms or edges of each molecule: A = softmax(W2 tanh(W1 X^T)), output A X laid flat.

    Holds num_rows * attn_out * dim floats. Like any Keras layer it makes its weights at the first call or `build`.

    References:
        Lin et al. 2017, arXiv:1703.03130, "A Structured Self-attentive Sentence Embedding", Section 2.1.
    """

    def __init__(self, attn_hidden: int, attn_out: int, name: str | None = None):
        """Sets the sizes.

        Args:
            attn_hidden: rows of W1; the paper's fine-tuning has 128.
            attn_out: rows of W2, means per molecule; the paper's fine-tuning has 4 or 8.
        """
        super().__init__(name=name)
        self._attn_out = attn_out
        self._hidden = keras.layers.Dense(attn_hidden, activation="tanh", use_bias=False, name="hidden")
        self._scores = keras.layers.Dense(attn_out, use_bias=False, name="scores")

    def build(self, input_shape):
        self._hidden.build(input_shape)
        self._scores.build([None, self._hidden.units])
        super().build(input_shape)

    def call(self, values: tf.Tensor, molecules: tf.Tensor, num_molecules: tf.Tensor) -> tf.Tensor:
        """[num_molecules, attn_out * dim] float32; arguments and empty molecules as in `mean_readout`."""
        scores = self._scores(self._hidden(values))
        largest = tf.stop_gradient(tf.math.unsorted_segment_max(scores, molecules, num_molecules + 1))
        weights = tf.exp(scores - tf.gather(largest, molecules))[:, :, tf.newaxis]
        totals = tf.math.unsorted_segment_sum(weights * values[:, tf.newaxis, :], molecules, num_molecules + 1)
        norms = tf.math.unsorted_segment_sum(weights, molecules, num_molecules + 1)
        means = tf.math.divide_no_nan(totals, norms)[:num_molecules]
        return tf.reshape(means, [num_molecules, self._attn_out * values.shape[-1]])
