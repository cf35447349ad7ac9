"""A vision transformer with tokens of its own for each task, and the heads that pre-training puts on it.

References:
    Dosovitskiy et al. 2021, arXiv:2010.11929; Atito et al. 2021, arXiv:2104.03602, Section 3.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.image.settings import ViTConfig

LAYER_NORM_EPSILON = 1e-6
_BATCH_NORM_EPSILON = 1e-5
_TOKEN_DEVIATION = 0.02


class Tokens(NamedTuple):
    """What the transformer says of each image, after the last normalisation."""

    contrast: tf.Tensor
    """[num_images, dim] float32."""
    rotation: Optional[tf.Tensor]
    """[num_images, dim] float32; None where there is no such token."""
    data: tf.Tensor
    """[num_images, num_patches, dim] float32, patches row by row."""


class VisionTransformer(keras.Model):
    """Patches and learned positions, then blocks: z += attention(norm(z)), z += perceptron(norm(z))."""

    def __init__(self, config: ViTConfig):
        super().__init__(name="vision_transformer")
        self.config = config
        self._project = _dense(config.patch**2 * config.channels, config.dim, name="patches")
        num_own = config.num_tokens - config.num_patches
        self._own_tokens = self.add_weight(
            name="tokens",
            shape=[1, num_own, config.dim],
            initializer=keras.initializers.TruncatedNormal(stddev=_TOKEN_DEVIATION),
        )
        self._positions = self.add_weight(
            name="positions",
            shape=[1, config.num_tokens, config.dim],
            initializer=keras.initializers.Constant(first_positions(config)),
        )
        last = max(config.depth - 1, 1)
        self._blocks = [
            Block(config, config.dropout * number / last, name=f"block_{number}") for number in range(config.depth)
        ]
        self._norm = _norm(config.dim, name="norm")

    def call(self, images: tf.Tensor, training: bool = False) -> Tokens:
        """Encodes images.

        Args:
            images: [num_images, size, size, channels] float32, normalised.
            training: whether branches are left out (stochastic depth).
        """
        data = self._project(to_patches(images, self.config.patch))
        own = tf.repeat(self._own_tokens, tf.shape(images)[0], axis=0)
        tokens = tf.concat([own, data], axis=1) + self._positions
        for block in self._blocks:
            tokens = block(tokens, training=training)
        tokens = self._norm(tokens)
        num_own = self._own_tokens.shape[1]
        return Tokens(tokens[:, 0], tokens[:, 1] if num_own == 2 else None, tokens[:, num_own:])


class Block(keras.layers.Layer):
    """One block of pre-norm attention and perceptron, each beside an identity."""

    def __init__(self, config: ViTConfig, drop_rate: float, name: str):
        super().__init__(name=name)
        dim, hidden = config.dim, config.mlp_ratio * config.dim
        self._num_heads = config.num_heads
        self._attention_norm, self._mlp_norm = (_norm(dim, name=f"{part}_norm") for part in ("attention", "mlp"))
        self._qkv, self._out = _dense(dim, 3 * dim, name="qkv"), _dense(dim, dim, name="out")
        self._mlp = [_dense(dim, hidden, "gelu", name="hidden"), _dense(hidden, dim, name="mlp_out")]
        # One draw an image and branch; what is kept is scaled up by 1 / (1 - rate).
        self._drops = [keras.layers.Dropout(drop_rate, noise_shape=(None, 1, 1)) for _ in range(2)]

    def call(self, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        tokens += self._drops[0](self._attend(self._attention_norm(tokens)), training=training)
        hidden = self._mlp_norm(tokens)
        for layer in self._mlp:
            hidden = layer(hidden)
        return tokens + self._drops[1](hidden, training=training)

    def _attend(self, tokens: tf.Tensor) -> tf.Tensor:
        """softmax(q k' / sqrt(head_dim)) v of each head, [num_images, num_tokens, dim]."""
        num_images, num_tokens, dim = tf.shape(tokens)[0], tokens.shape[1], tokens.shape[2]
        head_dim = dim // self._num_heads
        parts = tf.reshape(self._qkv(tokens), [num_images, num_tokens, 3, self._num_heads, head_dim])
        query, key, value = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))
        attention = tf.nn.softmax(tf.matmul(query * head_dim**-0.5, key, transpose_b=True))
        heads = tf.transpose(tf.matmul(attention, value), [0, 2, 1, 3])
        return self._out(tf.reshape(heads, [num_images, num_tokens, dim]))


# --- Patches ---------------------------------------------------------------------------------------------


def to_patches(images: tf.Tensor, patch: int) -> tf.Tensor:
    """[num_images, size, size, channels] -> [num_images, num_patches, patch * patch * channels], row by row."""
    side, channels = images.shape[1] // patch, images.shape[3]
    parts = tf.reshape(images, [-1, side, patch, side, patch, channels])
    return tf.reshape(tf.transpose(parts, [0, 1, 3, 2, 4, 5]), [-1, side * side, patch * patch * channels])


def from_patches(patches: tf.Tensor, patch: int, size: int) -> tf.Tensor:
    """The inverse of `to_patches`."""
    side, channels = size // patch, patches.shape[2] // patch**2
    parts = tf.reshape(patches, [-1, side, side, patch, patch, channels])
    return tf.reshape(tf.transpose(parts, [0, 1, 3, 2, 4, 5]), [-1, size, size, channels])


def first_positions(config: ViTConfig) -> np.ndarray:
    """[1, num_tokens, dim] float32, where learned positions begin: sines and cosines of a patch's row and column.

    Random ones of deviation 0.02, the published beginning, are all but lost beside the patches, and little training
    does not find them.
    """
    side, num_waves = config.size // config.patch, -(-config.dim // 4)
    waves = 10_000.0 ** (-np.arange(num_waves) / num_waves)
    angles = [place.reshape(-1, 1) * waves for place in np.indices([side, side], np.float64)]
    data = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)[:, : config.dim]
    own = np.zeros([config.num_tokens - config.num_patches, config.dim])
    return np.concatenate([own, data])[np.newaxis].astype(np.float32)


# --- Heads -----------------------------------------------------------------------------------------------


class Reconstruction(keras.layers.Layer):
    """Data tokens to images: layers of width dim with GELU, then a linear map of each token to its patch.

    The linear map is a transposed convolution of one kernel and stride, the patch's side.
    """

    def __init__(self, config: ViTConfig, num_layers: int):
        super().__init__(name="reconstruction")
        self._patch, self._size = config.patch, config.size
        self._layers = mlp(config.dim, config.dim, config.patch**2 * config.channels, num_layers)

    def call(self, data: tf.Tensor) -> tf.Tensor:
        """[num_images, num_patches, dim] -> [num_images, size, size, channels]."""
        return from_patches(self._layers(data), self._patch, self._size)


class ContrastHead(keras.layers.Layer):
    """Contrastive tokens to what is compared: a linear map, or dense layers that are normalised over the batch.

    Tokens of all images are nearly alike at first, and so would be what dense layers make of them: there would be
    nothing to contrast. The last normalisation has no scale and offset, as in the third version.
    """

    def __init__(self, dim: int, hidden_dim: int, output_dim: int, num_layers: int):
        super().__init__(name="contrast")
        dims = [dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self._layers = [_dense(ours, theirs) for ours, theirs in itertools.pairwise(dims)]
        self._norms = [BatchNorm(hidden_dim) for _ in self._layers[1:]]

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        """[num_images, dim] -> [num_images, output_dim]."""
        *hidden_layers, last = self._layers
        for layer, norm in zip(hidden_layers, self._norms, strict=True):
            tokens = tf.nn.gelu(norm(layer(tokens)))
        tokens = last(tokens)
        return standardise(tokens) if hidden_layers else tokens


class BatchNorm(keras.layers.Layer):
    """scale * standardise(x) + offset: there are no moving averages, a head of pre-training always sees batches."""

    def __init__(self, dim: int):
        super().__init__()
        self._scale, self._offset = (
            self.add_weight(name=name, shape=[dim], initializer=first)
            for name, first in (("scale", "ones"), ("offset", "zeros"))
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._scale * standardise(x) + self._offset


def standardise(x: tf.Tensor) -> tf.Tensor:
    """[num_images, dim], each dimension with mean 0 and deviation 1 over the batch."""
    mean, variance = tf.nn.moments(x, axes=[0])
    return (x - mean) * tf.math.rsqrt(variance + _BATCH_NORM_EPSILON)


def mlp(input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> keras.Sequential:
    """Dense layers with GELU between them; a single one is linear. Built."""
    dims = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
    activations = [*["gelu"] * (num_layers - 1), None]
    model = keras.Sequential([_dense(ours, theirs, how) for ours, theirs, how in zip(dims, dims[1:], activations)])
    model.build([None, input_dim])
    return model


def _dense(input_dim: int, output_dim: int, activation: str | None = None, name: str | None = None):
    layer = keras.layers.Dense(output_dim, activation, name=name)
    layer.build([None, input_dim])
    return layer


def _norm(dim: int, name: str) -> keras.layers.LayerNormalization:
    layer = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name)
    layer.build([None, None, dim])
    return layer
