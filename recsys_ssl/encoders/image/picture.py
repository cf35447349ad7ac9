"""Packed images as people see them, in PNG. TensorFlow writes it: a server has no Pillow."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from recsys_ssl.encoders.contract import Picture
from recsys_ssl.encoders.image.encoder import HEADER_BYTES, unpack


def draw(packed: bytes) -> Picture:
    """The image as the encoder reads it.

    Raises:
        InvalidArgumentError: it is no packed image.
    """
    unpack(tf.constant([packed]))
    side, channels = packed[2] or 256, packed[3]
    pixels = np.frombuffer(packed, np.uint8, offset=HEADER_BYTES).reshape(side, side, channels)
    return Picture("image/png", tf.io.encode_png(pixels).numpy())
