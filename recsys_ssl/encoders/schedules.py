"""Learning rates over the steps of a run."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


class WarmUpThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from `initial` to `largest` over the warm-up, then exponential to `final` at the last step.

    rate(t) = initial + (largest - initial) * t / warmup_steps                     for t <= warmup_steps
    rate(t) = largest * (final / largest)^((t - warmup_steps) / (steps - warmup_steps))   until steps, then final

    Chemprop's and GROVER's code call it Noam.
    """

    def __init__(self, initial: float, largest: float, final: float, warmup_steps: int, steps: int):
        """Keeps the settings.

        Raises:
            ValueError: the warm-up does not end before the last step, or a rate is negative or final is 0.
        """
        if not 0 <= warmup_steps < steps:
            raise ValueError(
                "the warm-up must end before the last step. "
                f"Received: {warmup_steps} of {steps} steps. Train longer or warm up for fewer steps."
            )
        if not (initial >= 0 and largest > 0 and final > 0):
            raise ValueError(f"learning rates must be positive. Received: {initial}, {largest}, {final}.")
        self._initial, self._largest, self._final = initial, largest, final
        self._warmup_steps, self._steps = warmup_steps, steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warming = self._initial + (self._largest - self._initial) * step / max(self._warmup_steps, 1)
        decayed = (step - self._warmup_steps) / (self._steps - self._warmup_steps)
        decaying = self._largest * (self._final / self._largest) ** tf.clip_by_value(decayed, 0.0, 1.0)
        return tf.where(step < self._warmup_steps, warming, decaying)

    def get_config(self):
        return {
            "initial": self._initial,
            "largest": self._largest,
            "final": self._final,
            "warmup_steps": self._warmup_steps,
            "steps": self._steps,
        }
