"""What optimizers keep of the weights that they train."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras


def make_slots(optimizer: keras.optimizers.legacy.Optimizer, variables: Sequence[tf.Variable]) -> None:
    """Makes what an optimizer keeps of each variable.

    Else its first step does, and TensorFlow traces a function that makes variables twice, which of a large model
    takes longer than many steps.
    """
    optimizer._create_all_weights(variables)
