"""Vectors of images from an encoder.

from recsys_ssl.encoders import store
from recsys_ssl.encoders.image.embed import Embedder

embedder = Embedder(store.load("build/images/encoder"))
vectors = embedder.embed(["photos/1.jpg", "photos/2.png"])  # [2, dim] float32
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Union

import numpy as np
import tensorflow as tf

from recsys_ssl.encoders.contract import Embedded
from recsys_ssl.encoders.embedding import embed_all
from recsys_ssl.encoders.image.encoder import ImageEncoder, unpack
from recsys_ssl.encoders.image.files import RawImage, Rejection, load_all, read_images
from recsys_ssl.encoders.image.reading import ImageSize

_BATCH_SIZE = 256

read = read_images

Raw = Union[RawImage, str, bytes]
"""An image of `read`; a path of this machine or a data URI; or an encoded image."""


class Embedder:
    """Turns images into vectors."""

    def __init__(self, encoder: ImageEncoder):
        self._size = ImageSize(encoder.config.size, encoder.config.channels)
        self._embed_packed = _compile(encoder)
        self.dim = encoder.dim
        """Length of a vector."""

    def embed(self, images: Iterable[Raw], rejected: list[Rejection] | None = None, workers: int = 1) -> np.ndarray:
        """The vectors of images; for more than memory holds see `embed_stream`.

        Args:
            images: [num_images].
            rejected: receives what gives no image, their rows are NaN; None: that is an error.
            workers: processes that read, see `files.load_all`.

        Returns:
            [num_images, dim] float32.

        Raises:
            ValueError: one gives no image and `rejected` is None.
        """
        return embed_all(self, images, rejected, workers, "all images must be readable", "are not")

    def embed_stream(self, images: Iterable[Raw], rejected: list[Rejection], workers: int = 1) -> Iterator[Embedded]:
        """Embeds a stream batch by batch; a row that comes in no batch was rejected. Arguments as in `embed`."""
        rows: list[int] = []
        packed: list[bytes] = []
        for row, result in enumerate(load_all(iter(images), self._size, workers)):
            if isinstance(result, Rejection):
                rejected.append(result)
                continue
            rows.append(row)
            packed.append(result)
            if len(rows) == _BATCH_SIZE:
                yield Embedded(np.array(rows), self._embed_packed(packed).numpy())
                rows, packed = [], []
        if rows:
            yield Embedded(np.array(rows), self._embed_packed(packed).numpy())


def _compile(encoder: ImageEncoder) -> Callable[[list[bytes]], tf.Tensor]:
    """The vectors of packed images, [num_images, dim] float32, as a graph."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def embed(packed: tf.Tensor) -> tf.Tensor:
        return encoder.encode(unpack(packed))

    return lambda packed: embed(tf.constant(packed))
