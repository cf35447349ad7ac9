"""Images for tests, and seeds of theirs."""

import numpy as np
import tensorflow as tf

SEED, OTHER_SEED = tf.constant([5, 7], tf.int64), tf.constant([5, 8], tf.int64)


def make_images(num_images, size, channels=1, seed=0):
    """[num_images, size, size, channels] uint8, noise: no two pixels are alike for a reason."""
    return np.random.default_rng(seed).integers(0, 256, [num_images, size, size, channels]).astype(np.uint8)


def pack(image):
    """The bytes of an image, [size, size, channels] uint8, by the layout that `encoder` tells."""
    size, _, channels = image.shape
    return b"I1" + bytes([size % 256, channels]) + image.tobytes()
