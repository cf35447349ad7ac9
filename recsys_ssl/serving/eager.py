"""Arrays as TensorFlow's tensors, for a process that runs for long."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def to_tensor(array: np.ndarray) -> tf.Tensor:
    """A tensor of an array of numbers, or of bytes in an object array.

    `tf.constant` of TensorFlow 2.16 keeps some 350 bytes of each tensor for ever. An operation that is given the array
    makes none by that way. The tensor may lie in the array's own memory, which it keeps: do not write to it afterwards.
    """
    if array.dtype == object and not array.size:  # whose type nothing tells
        return tf.zeros(array.shape, tf.string)
    return tf.raw_ops.Identity(input=array)
