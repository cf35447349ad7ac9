"""Views of images: augmented ones for pre-training, and ones with hidden patches for the auxiliary loss of a tower.

All draws are functions of a seed, and each image has its own; nothing loops over images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_MEAN, _UNIT = 0.5, 0.25
_MAX_LOG_RATIO = math.log(4 / 3)
"""Of the sides of a crop."""

# Luma and two axes of colour (NTSC); a turn of the latter two is another hue.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], np.float32
)
_MAX_TURN = math.pi


class Augmentation(NamedTuple):
    """What the views of an image may differ in.

    A strength of b multiplies by, or adds, a number within b of 1 or 0.
    """

    min_crop: float = 0.3
    """Smallest share of the image's area that a crop has; 1 keeps the whole image."""
    brightness: float = 0.4
    """A shift of all pixels, on a scale from 0 (black) to 1."""
    contrast: float = 0.4
    colour: float = 0.2
    """Strength of saturation, and share of half a turn of the hue; of images with three channels."""
    flip: bool = True
    """Half of the views are mirrored left to right."""


class Rotated(NamedTuple):
    """Images and how far they were turned."""

    images: tf.Tensor
    quarters: tf.Tensor
    """[num_images] int32, quarter turns counter-clockwise: 0, 1, 2 or 3."""


def to_pixels(images: tf.Tensor) -> tf.Tensor:
    """uint8 of any shape -> float32 in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def normalise(pixels: tf.Tensor) -> tf.Tensor:
    """(pixels - 1/2) / (1/4) of pixels in [0, 1]: what the encoder reads; mid-grey is 0 and 64 grey levels are 1."""
    return (pixels - _MEAN) / _UNIT


def denormalise(images: tf.Tensor) -> tf.Tensor:
    """The inverse of `normalise`."""
    return images * _UNIT + _MEAN


def split_seed(seed: tf.Tensor, num: int) -> list[tf.Tensor]:
    """[2] int64 seeds of draws that are independent of each other."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, num), num)


def uniform(seed: tf.Tensor, num_images: tf.Tensor, low: float, high: float, rank: int = 4) -> tf.Tensor:
    """A number for each image, [num_images, 1, 1, 1] float32, or with less axes."""
    drawn = tf.random.stateless_uniform([num_images], seed, low, high)
    return tf.reshape(drawn, [-1, *[1] * (rank - 1)])


# --- Augmentation ----------------------------------------------------------------------------------------


def augment(pixels: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """A crop of each image, resized to all of it, mirrored or not, in another light.

    Args:
        pixels: [num_images, size, size, channels] float32 in [0, 1].
        seed: [2] int64.

    Returns:
        As `pixels`.
    """
    crop_seed, flip_seed, light_seed, colour_seed = split_seed(seed, 4)
    if settings.min_crop < 1:
        pixels = crop(pixels, settings.min_crop, crop_seed)
    if settings.flip:
        pixels = tf.where(uniform(flip_seed, tf.shape(pixels)[0], 0.0, 1.0) < 0.5, pixels[:, :, ::-1], pixels)
    pixels = change_light(pixels, settings.brightness, settings.contrast, light_seed)
    return change_colours(pixels, settings.colour, colour_seed)


def crop(pixels: tf.Tensor, min_area: float, seed: tf.Tensor) -> tf.Tensor:
    """A rectangle of each image, resized to its size (bilinear).

    Its area is uniform in [min_area, 1] of the image's, the logarithm of its height over its width in
    [-log(4/3), log(4/3)]; a side that would be longer than the image's is the image's.
    """
    num_images, size = tf.shape(pixels)[0], pixels.shape[1]
    area_seed, ratio_seed, top_seed, left_seed = split_seed(seed, 4)
    area = uniform(area_seed, num_images, min_area, 1.0, rank=1)
    ratio = tf.exp(uniform(ratio_seed, num_images, -_MAX_LOG_RATIO, _MAX_LOG_RATIO, rank=1))
    heights, widths = tf.minimum(tf.sqrt(area * ratio), 1.0), tf.minimum(tf.sqrt(area / ratio), 1.0)
    ruler = tf.linspace(0.0, 1.0, size)

    def draw_weights(sides: tf.Tensor, start_seed: tf.Tensor) -> tf.Tensor:
        """[num_images, size, size] float32, of the image's rows (or columns) in each row of the crop."""
        starts = uniform(start_seed, num_images, 0.0, 1.0, rank=1) * (1.0 - sides)
        places = (starts[:, tf.newaxis] + sides[:, tf.newaxis] * ruler) * (size - 1)
        return tf.maximum(0.0, 1.0 - tf.abs(places[..., tf.newaxis] - tf.range(size, dtype=tf.float32)))

    return resample(pixels, draw_weights(heights, top_seed), draw_weights(widths, left_seed))


def resample(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """[num_images, new_height, new_width, channels], the rows and columns of each image mixed by its own weights.

    Args:
        images: [num_images, height, width, channels].
        rows: [num_images, new_height, height].
        columns: [num_images, new_width, width].
    """
    return tf.einsum("nxj,nyjc->nyxc", columns, tf.einsum("nyi,nijc->nyjc", rows, images))


def change_light(pixels: tf.Tensor, brightness: float, contrast: float, seed: tf.Tensor) -> tf.Tensor:
    """(pixels - mean) * U(1 - contrast, 1 + contrast) + mean + U(-brightness, brightness), cut off at 0 and 1."""
    num_images = tf.shape(pixels)[0]
    brightness_seed, contrast_seed = split_seed(seed, 2)
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
    factor = uniform(contrast_seed, num_images, 1.0 - contrast, 1.0 + contrast)
    shift = uniform(brightness_seed, num_images, -brightness, brightness)
    return tf.clip_by_value((pixels - mean) * factor + mean + shift, 0.0, 1.0)


def change_colours(pixels: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Saturation times U(1 - strength, 1 + strength), hue turned by U(-strength, strength) of half a turn.

    Grey pixels stay as they are, and so do images of one channel; others are cut off at 0 and 1.
    """
    if pixels.shape[-1] != 3 or not strength:
        return pixels
    num_images = tf.shape(pixels)[0]
    saturation_seed, hue_seed = split_seed(seed, 2)
    saturation = uniform(saturation_seed, num_images, 1.0 - strength, 1.0 + strength, rank=3)
    turn = uniform(hue_seed, num_images, -strength * _MAX_TURN, strength * _MAX_TURN, rank=3)
    luma, i, q = tf.unstack(tf.einsum("nhwc,yc->ynhw", pixels, _TO_YIQ))
    cos, sin = saturation * tf.cos(turn), saturation * tf.sin(turn)
    turned = tf.stack([luma, cos * i - sin * q, sin * i + cos * q])
    return tf.clip_by_value(tf.einsum("ynhw,cy->nhwc", turned, tf.linalg.inv(_TO_YIQ)), 0.0, 1.0)


def rotate(images: tf.Tensor, seed: tf.Tensor) -> Rotated:
    """Turns each image by 0, 90, 180 or 270 degrees, all equally likely; images must be square.

    Nothing may be done to the images afterwards that moves pixels: a mirrored quarter turn is that of the other side.
    """
    quarters = tf.random.stateless_uniform([tf.shape(images)[0]], seed, 0, 4, tf.int32)
    turned = images
    for number in (1, 2, 3):
        here = tf.reshape(quarters == number, [-1, 1, 1, 1])
        turned = tf.where(here, tf.image.rot90(images, number), turned)
    return Rotated(turned, quarters)


# --- Hidden patches --------------------------------------------------------------------------------------


def hide_patches(images: tf.Tensor, patch: int, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Sets a share of the patches of each image to 0, mid-grey once normalised: of n patches ceil(rate * n).

    Args:
        images: [num_images, size, size, channels] float32, normalised.
        patch: side of a patch, divides size.
        rate: in [0, 1]; 0 hides nothing.
        seed: [2] int64; the same seed hides the same patches.
    """
    side = images.shape[1] // patch
    num_patches = side * side
    # The rate of a whole number of patches may be a hair above it: 0.1 * 30 > 3.
    num_hidden = math.ceil(rate * num_patches - 1e-9)
    draws = tf.random.stateless_uniform([tf.shape(images)[0], num_patches], seed)
    ranks = tf.argsort(tf.argsort(draws, axis=1), axis=1)
    hidden = tf.reshape(ranks < num_hidden, [-1, side, side, 1])
    return tf.where(enlarge(hidden, patch), 0.0, images)


def enlarge(cells: tf.Tensor, side: int) -> tf.Tensor:
    """[n, rows, columns, channels] -> [n, rows * side, columns * side, channels], each cell a square of its value."""
    return tf.repeat(tf.repeat(cells, side, axis=1), side, axis=2)
