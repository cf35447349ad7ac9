"""Reading rows of large variables."""

from __future__ import annotations

import tensorflow as tf


def take_rows(variable: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """[..., *row_shape] the values of a variable at `rows`, so that others can read it whole at no cost.

    `tf.gather(variable, rows)` does not say so, but it marks the variable: from then on each read of the whole copies
    it. A search that multiplies by all items would copy all of them, in every request.
    """
    return tf.gather(variable.read_value(), rows)
