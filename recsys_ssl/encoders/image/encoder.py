"""SiT as an encoder of items: packed images in, one vector an image out.

A vector is the contrastive token, the rotation token where there is one, and the mean of the data tokens, one after the
other. It has no weights of its own, so that vectors of a frozen encoder can be computed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recsys_ssl.encoders import store
from recsys_ssl.encoders.contract import WHOLE, Pass
from recsys_ssl.encoders.image.settings import EncoderConfig, ViTConfig
from recsys_ssl.encoders.image.views import hide_patches, normalise, to_pixels
from recsys_ssl.encoders.image.vit import Tokens, VisionTransformer

MAGIC, HEADER_BYTES = b"I1", 4
"""A packed image: magic, side (uint8, 0 is 256) and channels (uint8, 1 or 3), then uint8 [side, side, channels]."""

_CHUNK = 256
"""Images that are encoded at a time where no gradient is needed."""
_LUMA = (0.299, 0.587, 0.114)


class Images(NamedTuple):
    """The images of some records; none is copied before it is encoded."""

    packed: tf.Tensor
    """[num_images] string, "" for a missing image."""
    rows: tf.Tensor
    """[num_records] int64 place of the record's image."""

    def present(self) -> tf.Tensor:
        """[num_records] bool, whether the record has an image."""
        return tf.gather(tf.strings.length(self.packed) > 0, self.rows)

    def gather(self, records: tf.Tensor) -> Images:
        """The images of the records at these places, [num_chosen] int64."""
        return self._replace(rows=tf.gather(self.rows, records))


class ImageEncoder(VisionTransformer):
    """`VisionTransformer` by the contract of an encoder."""

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        self.dim = (3 if config.rotation else 2) * config.dim

    def encode(self, content: Images, how: Pass = WHOLE) -> tf.Tensor:
        """[num_records, dim] float32, the vectors of images that are all present.

        In training all images are one batch, see `VisionTransformer`; else they are encoded in chunks.
        """
        seed, mask = how
        if seed is None and mask is None:
            return self._encode_in_chunks(content)
        images = self._decode(content)
        if mask is not None:
            images = hide_patches(images, self.config.patch, mask.rate, mask.seed)
        return self.embed(images, training=seed is not None)

    def embed(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[num_images, dim] float32, the vectors of normalised images, [num_images, size, size, channels] float32."""
        return to_vectors(self(images, training=training))

    def _decode(self, content: Images) -> tf.Tensor:
        return decode(tf.gather(content.packed, content.rows), self.config.size, self.config.channels)

    def _encode_in_chunks(self, content: Images) -> tf.Tensor:
        # At least one, so that there are vectors to lay end to end.
        num_chunks = tf.maximum(1, -(-tf.size(content.rows) // _CHUNK))
        vectors = tf.TensorArray(tf.float32, num_chunks, infer_shape=False, element_shape=[None, self.dim])

        def encode(chunk: tf.Tensor, vectors: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            rows = content.rows[chunk * _CHUNK : (chunk + 1) * _CHUNK]
            return chunk + 1, vectors.write(chunk, self.embed(self._decode(content._replace(rows=rows))))

        _, vectors = tf.while_loop(
            lambda chunk, _: chunk < num_chunks, encode, (tf.constant(0), vectors), parallel_iterations=1
        )
        return tf.ensure_shape(vectors.concat(), [None, self.dim])


def to_vectors(tokens: Tokens) -> tf.Tensor:
    """[num_images, dim] float32: contrastive token, rotation token where there is one, mean of the data tokens."""
    own = [tokens.contrast] if tokens.rotation is None else [tokens.contrast, tokens.rotation]
    return tf.concat([*own, tf.reduce_mean(tokens.data, axis=1)], axis=1)


def decode(packed: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    """The images of packed ones as the encoder reads them, [num_images, size, size, channels] float32, normalised.

    Colour becomes grey by luma, grey becomes colour by repetition; another size is resized (bilinear, without aliases).

    Args:
        packed: [num_images] string, all present.

    Raises:
        InvalidArgumentError: the images differ in size or channels; a column is read with one size.
    """
    header = tf.io.decode_raw(packed, tf.uint8, fixed_length=HEADER_BYTES)[:, len(MAGIC) :]
    message = "packed images must be of one size and as many channels. Read the column again, all of it."
    with tf.control_dependencies([tf.debugging.assert_equal(header, header[:1], message)]):
        # No image gives no row, of any size.
        side, given = tf.unstack(tf.reduce_max(tf.cast(header, tf.int32), axis=0))
    side, given = tf.where(side == 0, 256, tf.maximum(side, 1)), tf.maximum(given, 1)
    content = tf.io.decode_raw(packed, tf.uint8, fixed_length=HEADER_BYTES + side * side * given)
    pixels = to_pixels(tf.reshape(content[:, HEADER_BYTES:], [tf.size(packed), side, side, given]))
    if channels == 3:
        pixels = tf.broadcast_to(pixels, [tf.size(packed), side, side, 3])
    else:
        pixels = tf.cond(
            given == 3, lambda: tf.einsum("nhwc,c->nhw", pixels, tf.constant(_LUMA))[..., tf.newaxis], lambda: pixels
        )
    resized = tf.cond(side == size, lambda: pixels, lambda: tf.image.resize(pixels, [size, size], antialias=True))
    return normalise(tf.reshape(resized, [-1, size, size, channels]))


# --- The contract ----------------------------------------------------------------------------------------


def make(config: EncoderConfig) -> ImageEncoder:
    """An encoder from scratch, or with the weights of `config.pretrained`; its dropout is that of `config`.

    Raises:
        FileNotFoundError: there is no such pre-trained encoder.
        ValueError: it is one of another kind.
    """
    if config.pretrained is None:
        return ImageEncoder(config.sizes)
    pretrained = store.load(config.pretrained, "image")
    encoder = ImageEncoder(dataclasses.replace(pretrained.config, dropout=config.dropout))
    encoder.set_weights(pretrained.get_weights())
    return encoder


def restore(settings: dict[str, Any]) -> ImageEncoder:
    """An encoder of the settings that `store.save` wrote, the fields of `ViTConfig`."""
    return ImageEncoder(ViTConfig(**settings))


def unpack(packed: tf.Tensor) -> Images:
    """The images that `column.read` packed: [num_records] string, "" where a record has none.

    Raises:
        InvalidArgumentError: a string is no packed image.
    """
    sizes = tf.strings.length(packed)
    header = tf.cast(tf.io.decode_raw(packed, tf.uint8, fixed_length=HEADER_BYTES), tf.int32)
    side, channels = tf.where(header[:, 2] == 0, 256, header[:, 2]), header[:, 3]
    sound = tf.reduce_all(header[:, :2] == list(MAGIC), axis=1) & ((channels == 1) | (channels == 3))
    sound &= sizes == HEADER_BYTES + side * side * channels
    message = "a packed image must have the length that its header tells. An empty string is a missing one."
    with tf.control_dependencies([tf.debugging.assert_equal(sound | (sizes == 0), True, message)]):
        return Images(tf.identity(packed), tf.range(tf.size(packed, tf.int64)))


def concat(contents: Sequence[Images]) -> Images:
    """All images of contents that were unpacked whole, in order."""
    packed = tf.concat([content.packed for content in contents], axis=0)
    return Images(packed, tf.range(tf.size(packed, tf.int64)))
