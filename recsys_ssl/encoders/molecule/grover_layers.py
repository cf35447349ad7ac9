"""The layers of GROVER: messages along bonds, attention within a molecule or over the heads, feed-forward networks.

Both views take the same layers: rows are atoms in the atom view and directed edges in the edge view.

References:
    Rong et al. 2020, arXiv:2007.02835, Section 4.1; the released code is github.com/tencent-ailab/grover.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import tensorflow as tf
import tf_keras as keras

_PRELU_SLOPE = 0.25  # initial slope of every PReLU, as in the released code; each layer has a single one
_LAYER_NORM_EPSILON = 1e-5
# Molecules of up to so many rows are padded together; the last group holds the larger ones.
_GROUP_SIZES = (64, 128, 256, tf.int32.max)


# --- Sums over the neighbourhood -------------------------------------------------------------------------


class Edges(NamedTuple):
    """Directed edges; edges 2k and 2k + 1 are a bond in its two directions."""

    sources: tf.Tensor
    """[num_edges] int32 atom that the edge leaves."""
    receivers: tf.Tensor
    """[num_edges] int32 atom that the edge enters; -1 for a padding edge, from which no atom receives anything."""
    num_atoms: tf.Tensor
    """Scalar int32."""

    def repeat(self, times: int) -> Edges:
        """The edges of `times` copies of the batch, one after the other."""
        first_atoms = self.num_atoms * tf.range(times)[:, tf.newaxis]
        receivers = tf.where(self.receivers < 0, -1, first_atoms + self.receivers)
        return Edges(tf.reshape(first_atoms + self.sources, [-1]), tf.reshape(receivers, [-1]), self.num_atoms * times)


def sum_incoming(edge_values: tf.Tensor, edges: Edges) -> tf.Tensor:
    """[num_edges, dim] -> [num_atoms, dim], the sum over the edges that enter an atom."""
    return tf.math.unsorted_segment_sum(edge_values, edges.receivers, edges.num_atoms)


def sum_neighbours(atom_values: tf.Tensor, edges: Edges) -> tf.Tensor:
    """[num_atoms, dim] -> [num_atoms, dim], the sum over an atom's neighbours."""
    return sum_incoming(tf.gather(atom_values, edges.sources), edges)


def sum_previous(edge_values: tf.Tensor, edges: Edges) -> tf.Tensor:
    """[num_edges, dim] -> [num_edges, dim], the sum over the edges that enter an edge's source, but for its reverse."""
    directions = tf.reshape(edge_values, [-1, 2, edge_values.shape[-1]])
    reverse = tf.reshape(tf.reverse(directions, [1]), tf.shape(edge_values))
    return tf.gather(sum_incoming(edge_values, edges), edges.sources) - reverse


class MessagePassing(keras.layers.Layer):
    """Message passing networks side by side: m <- PReLU(x + W sum of m), for every hop anew, from m = x.

    Each network has one W for all hops. The networks run as copies of the batch, so that a hop is one sum and one
    batched product, whatever their number: `num_networks * num_rows * dim` floats a hop, a few times over in training.
    """

    def __init__(
        self, sum_messages: Callable[[tf.Tensor, Edges], tf.Tensor], dim: int, num_networks: int, dropout: float
    ):
        """Makes the weights.

        Args:
            sum_messages: `sum_neighbours` for atoms, `sum_previous` for edges.
        """
        super().__init__()
        self._sum_messages, self._dim, self._num_networks = sum_messages, dim, num_networks
        self._kernel = self.add_weight(
            name="kernel",
            shape=[num_networks, dim, dim],
            initializer=keras.initializers.RandomNormal(stddev=dim**-0.5),
        )
        self._slope = self.add_weight(
            name="slope", shape=[num_networks, 1, 1], initializer=keras.initializers.Constant(_PRELU_SLOPE)
        )
        self._dropout = Dropout(dropout)

    def call(self, inputs: tf.Tensor, edges: Edges, hops: tf.Tensor | int, training: bool = False) -> tf.Tensor:
        """[num_rows, dim] -> [num_networks, num_rows, dim], after `hops` (scalar int) hops; the inputs after none."""
        copies = edges.repeat(self._num_networks)
        shape = [self._num_networks, tf.shape(inputs)[0], self._dim]

        def receive(sums: tf.Tensor) -> tf.Tensor:
            messages = prelu(inputs + tf.matmul(sums, self._kernel), self._slope, training)
            return self._dropout(messages, training=training)

        def take_first_hop() -> tf.Tensor:
            # The networks still send the same: one sum serves all.
            return receive(self._sum_messages(inputs, edges)[tf.newaxis])

        def take_hop(hop: tf.Tensor, messages: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            sums = self._sum_messages(tf.reshape(messages, [-1, self._dim]), copies)
            return hop + 1, receive(tf.reshape(sums, shape))

        # A branch and a loop in the graph: a hop count drawn anew for every batch needs no new trace.
        messages = tf.cond(tf.less(0, hops), take_first_hop, lambda: tf.broadcast_to(inputs, shape))
        return tf.while_loop(lambda hop, _: hop < hops, take_hop, (tf.constant(1), messages))[1]


# --- Attention -------------------------------------------------------------------------------------------


class SizeGroup(NamedTuple):
    """Molecules of like size, padded to the largest of them."""

    rows: tf.Tensor
    """[num_molecules_of_group, num_places] int32 row (atom or edge) at each place; any row at an empty place."""
    filled: tf.Tensor
    """[num_molecules_of_group, num_places] bool."""


def group_by_size(molecules: tf.Tensor, num_molecules: tf.Tensor) -> list[SizeGroup]:
    """Lays the rows of molecules side by side; padding rows and molecules without rows are in no group.

    One large molecule then pads only its like. With all molecules in one group it would pad all, and their attention
    weights would take num_molecules * (its size)^2 floats a head.

    Args:
        molecules: [num_rows] int32 molecule of each row, in any order; `num_molecules` for padding.
        num_molecules: scalar int32.
    """
    sizes = tf.math.unsorted_segment_sum(tf.ones_like(molecules), molecules, num_molecules + 1)
    first_rows = tf.cumsum(sizes, exclusive=True)[:num_molecules]
    sizes = sizes[:num_molecules]
    order = tf.argsort(molecules)
    groups = []
    for above, up_to in itertools.pairwise((0, *_GROUP_SIZES)):
        chosen = tf.where((sizes > above) & (sizes <= up_to))[:, 0]
        group_sizes = tf.gather(sizes, chosen)[:, tf.newaxis]
        places = tf.range(tf.maximum(tf.reduce_max(group_sizes), 0))
        filled = places < group_sizes
        in_order = tf.where(filled, tf.gather(first_rows, chosen)[:, tf.newaxis] + places, 0)
        groups.append(SizeGroup(tf.gather(order, in_order), filled))
    return groups


def attend_within_molecules(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    groups: list[SizeGroup],
    dropout: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """Per head softmax(q k^T / sqrt(dim)) v over the rows of the same molecule, as the paper describes it.

    Args:
        queries, keys, values: [num_heads, num_rows, dim] float32.
        groups: of `group_by_size`.
        dropout: applied to the attention weights.

    Returns:
        [num_rows, num_heads, dim] float32; zero for rows in no group.
    """
    num_heads, num_rows, dim = values.shape[0], tf.shape(values)[1], values.shape[2]
    first_rows = num_rows * tf.range(num_heads)[:, tf.newaxis, tf.newaxis]
    # Later pieces overwrite earlier ones: rows in no group stay zero.
    rows, attended = [tf.range(num_rows)], [tf.zeros([num_rows, num_heads, dim])]
    for group in groups:
        # Of all heads laid end to end: the gradient of a gather along a later axis would transpose twice.
        of_heads = first_rows + group.rows
        q, k, v = (tf.gather(tf.reshape(tensor, [-1, dim]), of_heads) for tensor in (queries, keys, values))
        scores = tf.matmul(q, k, transpose_b=True) * dim**-0.5
        scores = tf.where(group.filled[:, tf.newaxis, :], scores, scores.dtype.min)
        of_group = tf.matmul(dropout(tf.nn.softmax(scores)), v)
        attended.append(tf.boolean_mask(tf.transpose(of_group, [1, 2, 0, 3]), group.filled))
        rows.append(tf.boolean_mask(group.rows, group.filled))
    return tf.ensure_shape(tf.dynamic_stitch(rows, attended), [values.shape[1], num_heads, dim])


def attend_over_heads(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    dropout: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """Softmax attention over the heads of one row, no row sees another: what the released code computes.

    The `num_heads` networks of a row are the sequence, and each vector is cut into as many attention heads of
    dim / num_heads. With one head the softmax has one element and the result is `values`.

    Args:
        queries, keys, values: [num_heads, num_rows, dim] float32; num_heads divides dim.
        dropout: applied to the attention weights.

    Returns:
        [num_rows, num_heads, dim] float32.
    """
    num_heads, num_rows, dim = values.shape[0], tf.shape(values)[1], values.shape[2]
    pieces = [num_heads, num_rows, num_heads, dim // num_heads]
    q, k, v = (tf.reshape(tensor, pieces) for tensor in (queries, keys, values))
    scores = tf.einsum("qnhd,knhd->nhqk", q, k) * (dim // num_heads) ** -0.5
    attended = tf.einsum("nhqk,knhd->nqhd", dropout(tf.nn.softmax(scores)), v)
    return tf.reshape(attended, [num_rows, num_heads, dim])


class MultiHeadAttention(keras.layers.Layer):
    """Attention of all heads, then their mixture; both forms of attention have the same weights."""

    def __init__(self, dim: int, num_heads: int, attention: Literal["atoms", "heads"], dropout: float):
        super().__init__()
        self._num_heads, self._dim, self._attention = num_heads, dim, attention
        # Shared by the heads, as in the released code: their networks already differ.
        self._projections = [keras.layers.Dense(dim, name=name) for name in ("query", "key", "value")]
        self._output = keras.layers.Dense(dim, use_bias=False, name="output")
        self._mixture = keras.layers.Dense(dim, use_bias=False, name="mixture")
        for layer in (*self._projections, self._output):
            layer.build([None, None, dim])
        self._mixture.build([None, num_heads * dim])
        self._dropout = Dropout(dropout)

    def call(self, messages: tf.Tensor, groups: list[SizeGroup], training: bool = False) -> tf.Tensor:
        """Mixes what the heads attend to.

        Args:
            messages: [3 * num_heads, num_rows, dim] float32, the networks of queries, keys and values, in this order.
            groups: of `group_by_size`; not read by attention over heads.

        Returns:
            [num_rows, dim] float32.
        """
        q, k, v = (project(part) for project, part in zip(self._projections, tf.split(messages, 3)))

        def dropout(weights: tf.Tensor) -> tf.Tensor:
            return self._dropout(weights, training=training)

        if self._attention == "heads":
            attended = attend_over_heads(q, k, v, dropout)
        else:
            attended = attend_within_molecules(q, k, v, groups, dropout)
        # Two linear maps in a row are one: output of each head, then the mixture of all.
        mixtures = tf.reshape(self._mixture.kernel, [self._num_heads, self._dim, self._dim])
        kernel = tf.matmul(self._output.kernel, mixtures)
        return tf.matmul(tf.reshape(attended, [-1, self._num_heads * self._dim]), tf.reshape(kernel, [-1, self._dim]))


# --- Networks of each row --------------------------------------------------------------------------------


def prelu(x: tf.Tensor, slope: tf.Tensor, training: bool = False) -> tf.Tensor:
    """max(x, 0) + slope * min(x, 0); slope has as many axes as x, each of x's length or 1."""
    return _prelu_with_gradient(x, slope) if training else x + (slope - 1.0) * tf.minimum(x, 0.0)


# A graph in which a custom gradient is traced is never freed: a function of its own keeps the model's out of it.
@partial(tf.function, autograph=False)
@tf.custom_gradient
def _prelu_with_gradient(x: tf.Tensor, slope: tf.Tensor):
    negative = tf.minimum(x, 0.0)
    shape = slope.shape
    shared = [axis for axis, length in enumerate(shape) if length == 1]

    # TensorFlow's own gradients of maximum and minimum cost as much as a product of matrices.
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        above = tf.raw_ops.ReluGrad(gradients=upstream, features=x)
        of_slope = tf.reduce_sum(upstream * negative, shared, keepdims=True)
        return slope * upstream + (1.0 - slope) * above, tf.reshape(of_slope, shape)

    return x + (slope - 1.0) * negative, gradient


class PReLU(keras.layers.PReLU):
    """Keras' layer, with one slope, by `prelu`."""

    def __init__(self):
        super().__init__(keras.initializers.Constant(_PRELU_SLOPE), shared_axes=[1])

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return prelu(inputs, self.alpha[tf.newaxis], training)


class Dropout(keras.layers.Dropout):
    """Keras' layer from 16 random bits an element, half of what Keras draws; the rate holds to 1 / 65,536."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        dropped = round(self.rate * 2**16)
        if not training or not dropped:
            return inputs
        seed = self._random_generator.random_uniform([2], 0, tf.int32.max, tf.int32)
        size = tf.size(inputs)
        bits = tf.random.stateless_uniform([(size + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint64)
        kept = tf.reshape(tf.bitcast(bits, tf.uint16), [-1])[:size] >= dropped
        return inputs * tf.reshape(tf.cast(kept, inputs.dtype) / (1.0 - dropped / 2**16), tf.shape(inputs))


def project_inputs(input_dim: int, dim: int, dropout: float) -> keras.Sequential:
    """The network that makes the messages of the first block, [num_rows, input_dim] -> [num_rows, dim].

    `run_joined` runs it, without further inputs.
    """
    layers = [keras.layers.Dense(dim, use_bias=False), PReLU(), *normalise(dropout)]
    return _build(layers, input_dim)


def feed_forward(input_dim: int, dim: int, dropout: float) -> keras.Sequential:
    """The network before an output, [num_rows, input_dim] -> [num_rows, dim]; `run_joined` runs it."""
    hidden = [keras.layers.Dense(4 * dim), PReLU(), Dropout(dropout)]
    return _build([*hidden, keras.layers.Dense(dim), *normalise(dropout)], input_dim)


def run_joined(
    network: keras.Sequential,
    project_features: Callable[[tf.Tensor], tf.Tensor],
    aggregated: tf.Tensor | None = None,
    training: bool = False,
) -> tf.Tensor:
    """`network` of [features ; aggregated], without joining them: raw features are wide and take no gradient.

    Args:
        network: of `project_inputs` or `feed_forward`.
        project_features: [feature_dim, width] -> [num_rows, width], the product of the features and a matrix.
        aggregated: [num_rows, dim] float32; None where the features are all.

    Returns:
        [num_rows, dim] float32.
    """
    first, *others = network.layers
    feature_dim = first.kernel.shape[0] - (0 if aggregated is None else aggregated.shape[1])
    outputs = project_features(first.kernel[:feature_dim])
    if aggregated is not None:
        outputs += tf.matmul(aggregated, first.kernel[feature_dim:])
    if first.use_bias:
        outputs += first.bias
    for layer in others:
        is_random = isinstance(layer, Dropout)
        outputs = layer(outputs, training=training) if is_random else layer(outputs)
    return outputs


def normalise(dropout: float) -> list[keras.layers.Layer]:
    """How each part of the encoder ends."""
    return [keras.layers.LayerNormalization(epsilon=_LAYER_NORM_EPSILON), Dropout(dropout)]


def _build(layers: list[keras.layers.Layer], input_dim: int) -> keras.Sequential:
    network = keras.Sequential(layers)
    network.build([None, input_dim])
    return network
