"""SiT in pre-training: the encoder, its heads, its teacher, and the losses of a batch of views.

References:
    Atito et al. 2021, arXiv:2104.03602, all three versions; see docs/images.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.image import losses
from recsys_ssl.encoders.image.corruptions import corrupt
from recsys_ssl.encoders.image.encoder import ImageEncoder
from recsys_ssl.encoders.image.settings import PretrainConfig
from recsys_ssl.encoders.image.views import Augmentation, augment, normalise, rotate, split_seed, to_pixels
from recsys_ssl.encoders.image.vit import ContrastHead, Reconstruction, Tokens, mlp

TASKS = {"reconstruction": 0.5, "contrast": 1.0, "rotation": 1.0}
"""Task -> precision of `losses.weigh_by_uncertainty`."""
_CONTRAST_DIM = 256
_CONTRAST_HIDDEN = 4
"""Hidden units of the contrastive head over the dim of a token."""
_FIRST_LOG_VARIANCE = 1.0


class Views(NamedTuple):
    """One view of each image, or two, one after the other."""

    clean: tf.Tensor
    """[num_views * num_images, size, size, channels] float32, normalised; augmented and turned, not corrupted."""
    corrupted: tf.Tensor
    """As `clean`, what the student sees."""
    mask: tf.Tensor
    """[num_views * num_images, size, size, 1] bool, where they may differ."""
    quarters: tf.Tensor
    """[num_views * num_images] int32, how far each was turned."""


def make_views(images: tf.Tensor, config: PretrainConfig, seed: tf.Tensor) -> Views:
    """As many views of each image as the objective needs.

    Args:
        images: [num_images, size, size, channels] uint8.
        seed: [2] int64.
    """
    pixels = to_pixels(tf.ensure_shape(images, [None, config.size, config.size, config.channels]))
    # Corrupted apart: a block of another image never is one of the other view.
    made = [_make_view(pixels, config, of_view) for of_view in split_seed(seed, config.chosen.num_views)]
    return Views(*(tf.concat(parts, axis=0) for parts in zip(*made)))


def _make_view(pixels: tf.Tensor, config: PretrainConfig, seed: tf.Tensor) -> Views:
    augmentation_seed, rotation_seed, corruption_seed = split_seed(seed, 3)
    light = Augmentation(config.min_crop, config.brightness, config.contrast, config.colour, config.flip)
    clean, quarters = normalise(augment(pixels, light, augmentation_seed)), tf.zeros([tf.shape(pixels)[0]], tf.int32)
    if config.chosen.rotation_weight:
        clean, quarters = rotate(clean, rotation_seed)
    corrupted, mask = corrupt(clean, config.chosen, config.patch, corruption_seed)
    return Views(clean, corrupted, mask, quarters)


class Outputs(NamedTuple):
    """What student and teacher say of views; tasks without weight have None."""

    reconstructed: tf.Tensor | None
    """[num_views * num_images, size, size, channels] float32."""
    contrast: tf.Tensor | None
    """[2 * num_images, 256] float32."""
    rotation: tf.Tensor | None
    """[num_views * num_images, 4] float32 logits."""
    keys: tf.Tensor | None
    """As `contrast`, of the teacher."""


class SiT(keras.Model):
    """The encoder, as `encoder`, and the heads that the objective needs; all weights are made."""

    def __init__(self, config: PretrainConfig):
        super().__init__(name="sit")
        chosen, sizes = config.chosen, config.sizes
        self.config = config
        self.tasks = tuple(name for name in TASKS if getattr(chosen, f"{name}_weight") > 0)
        self.encoder = ImageEncoder(sizes)
        self._reconstruction = Reconstruction(sizes, chosen.head_layers) if "reconstruction" in self.tasks else None
        self._contrast = _contrast_head(config) if "contrast" in self.tasks else None
        self._rotation = mlp(sizes.dim, sizes.dim, 4, 1) if "rotation" in self.tasks else None
        self._teacher: ImageEncoder | None = None
        if chosen.momentum is not None:
            self._teacher, self._teacher_contrast = ImageEncoder(sizes), _contrast_head(config)
            for teacher, student in self._pairs:
                teacher.set_weights(student.get_weights())
                teacher.trainable = False
        if chosen.weighting == "uncertainty":
            self.log_variances = self.add_weight(
                name="log_variances",
                shape=[len(self.tasks)],
                initializer=keras.initializers.Constant(_FIRST_LOG_VARIANCE),
            )

    @property
    def _pairs(self) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
        """The parts of the teacher, and what each follows."""
        return [(self._teacher, self.encoder), (self._teacher_contrast, self._contrast)]

    def call(self, views: Views, training: bool = False) -> Outputs:
        tokens: Tokens = self.encoder(views.corrupted, training=training)
        keys = None
        if self._teacher is not None:
            keys = self._teacher_contrast(self._teacher(views.clean).contrast)
        return Outputs(
            None if self._reconstruction is None else self._reconstruction(tokens.data),
            None if self._contrast is None else self._contrast(tokens.contrast),
            None if self._rotation is None else self._rotation(tokens.rotation),
            keys,
        )

    def move_teacher(self, step: tf.Tensor) -> None:
        """teacher = m * teacher + (1 - m) * student after a step, counted from 0; m rises to 1 at the last one.

        m = 1 - (1 - momentum) * (1 + cos(pi * step / steps)) / 2
        """
        momentum = self.config.chosen.momentum
        if momentum is None:
            return
        angle = math.pi * tf.cast(step, tf.float32) / self.config.steps
        share = (1.0 - momentum) * 0.5 * (1.0 + tf.cos(angle))
        for teacher, student in self._pairs:
            for following, followed in zip(teacher.weights, student.weights, strict=True):
                following.assign_add(share * (followed - following))


def _contrast_head(config: PretrainConfig) -> ContrastHead:
    dim = config.sizes.dim
    return ContrastHead(dim, _CONTRAST_HIDDEN * dim, _CONTRAST_DIM, config.chosen.head_layers)


def task_losses(outputs: Outputs, views: Views, config: PretrainConfig) -> dict[str, tf.Tensor]:
    """Task -> its scalar, unweighted."""
    found, chosen = {}, config.chosen
    if outputs.reconstructed is not None:
        mask = views.mask if chosen.masked_only else None
        found["reconstruction"] = losses.l1(outputs.reconstructed, views.clean, mask)
    if outputs.contrast is not None:
        first, second = tf.split(outputs.contrast, 2)
        if outputs.keys is None:
            found["contrast"] = losses.nt_xent(first, second, chosen.temperature)
        else:
            first_keys, second_keys = tf.split(outputs.keys, 2)
            found["contrast"] = losses.momentum_contrast(first, second_keys, chosen.temperature)
            found["contrast"] += losses.momentum_contrast(second, first_keys, chosen.temperature)
    if outputs.rotation is not None:
        found["rotation"] = losses.rotation_loss(outputs.rotation, views.quarters)
    return found


def total_loss(model: SiT, found: dict[str, tf.Tensor]) -> tf.Tensor:
    """The sum that is trained: weighted as the settings say, and by the learned variances where they say so."""
    of_tasks, weights = [found[name] for name in model.tasks], task_weights(model.config)
    if model.config.chosen.weighting == "fixed":
        return losses.weigh(of_tasks, list(weights.values()))
    precisions = [TASKS[name] for name in model.tasks]
    return losses.weigh_by_uncertainty(of_tasks, model.log_variances, list(weights.values()), precisions)


def task_weights(config: PretrainConfig) -> dict[str, float]:
    """Task -> weight, of the tasks that have one."""
    weights = {name: getattr(config.chosen, f"{name}_weight") for name in TASKS}
    return {name: weight for name, weight in weights.items() if weight > 0}


def count_right(outputs: Outputs, views: Views) -> dict[str, tf.Tensor]:
    """Task -> views that are told right: their other view is the most alike of all, their rotation is found."""
    found = {}
    if outputs.contrast is not None:
        first, second = tf.split(outputs.contrast, 2)
        if outputs.keys is not None:
            second = tf.split(outputs.keys, 2)[1]
        logits, right = losses.view_logits(first, second, 1.0)
        found["contrast"] = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == right, tf.int64))
    if outputs.rotation is not None:
        told = tf.argmax(outputs.rotation, axis=1, output_type=tf.int32)
        found["rotation"] = tf.reduce_sum(tf.cast(told == views.quarters, tf.int64))
    return found
