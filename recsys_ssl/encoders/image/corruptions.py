"""Corrupted views: groups of connected rectangles of an image are replaced, not aligned with its patches.

References:
    Atito et al. 2021, arXiv:2104.03602, Section 3.1 (group masked model learning).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from recsys_ssl.encoders.image.objective import Objective
from recsys_ssl.encoders.image.views import (
    change_colours,
    change_light,
    denormalise,
    enlarge,
    normalise,
    resample,
    split_seed,
    uniform,
)

_MOST_CELLS = 64
"""Of a side, of which rectangles are made: those of larger images begin and end at every second or fourth pixel."""
_LEAST_BLUR, _MOST_BLUR = 0.1, 5.1
_BLUR_RADIUS = 7
"""Half of the published largest kernel, 15 pixels."""
_JITTER = 0.4
_SPARE_BLOCKS = 8


class Corrupted(NamedTuple):
    """Images of which parts are replaced."""

    images: tf.Tensor
    """[num_images, size, size, channels] float32."""
    mask: tf.Tensor
    """[num_images, size, size, 1] bool, what may differ from the clean image."""


def corrupt(images: tf.Tensor, settings: Objective, patch: int, seed: tf.Tensor) -> Corrupted:
    """Corrupts each image: grey, blurred and recoloured rectangles first, then blocks of noise, zeros and others.

    Blocks of another image show it as it was given, at the same place.

    Args:
        images: [num_images, size, size, channels] float32, normalised.
        settings: which corruptions; one of rate or share 0 is not even drawn.
        patch: side of a patch, for blocks that are aligned with them.
        seed: [2] int64.
    """
    num_images, size = tf.shape(images)[0], images.shape[1]
    cell = patch if settings.align else smallest_cell(size)
    grey_seed, blur_seed, jitter_seed, noise_seed, zeros_seed, alien_seed = split_seed(seed, 6)
    changed, mask = images, tf.zeros([num_images, size, size, 1], tf.bool)

    def put(values: tf.Tensor, where: tf.Tensor) -> None:
        nonlocal changed, mask
        changed, mask = tf.where(where, values, changed), mask | where

    if settings.grey:
        put(tf.reduce_mean(changed, axis=-1, keepdims=True), draw_rectangle(images, settings.grey, cell, grey_seed))
    if settings.blur:
        place_seed, width_seed = split_seed(blur_seed, 2)
        put(blur(changed, width_seed), draw_rectangle(images, settings.blur, cell, place_seed))
    if settings.jitter:
        place_seed, colour_seed = split_seed(jitter_seed, 2)
        put(jitter(changed, colour_seed), draw_rectangle(images, settings.jitter, cell, place_seed))
    if settings.noise:
        place_seed, value_seed = split_seed(noise_seed, 2)
        noise = tf.random.stateless_normal(tf.shape(images), value_seed)
        put(noise, draw_blocks(images, settings.noise, settings, cell, place_seed))
    if settings.zeros:
        put(tf.zeros_like(images), draw_blocks(images, settings.zeros, settings, cell, zeros_seed))
    if settings.alien:
        place_seed, other_seed, rate_seed = split_seed(alien_seed, 3)
        some = (uniform(rate_seed, num_images, 0.0, 1.0) < settings.alien_rate) & (num_images > 1)
        where = draw_blocks(images, settings.alien, settings, cell, place_seed) & some
        put(tf.gather(images, draw_others(num_images, other_seed)), where)
    return Corrupted(changed, mask)


# --- Where -----------------------------------------------------------------------------------------------


def smallest_cell(size: int) -> int:
    """The smallest divisor of size that leaves at most 64 cells a side."""
    return next(cell for cell in range(1, size + 1) if size % cell == 0 and size // cell <= _MOST_CELLS)


def draw_blocks(images: tf.Tensor, share: float, settings: Objective, cell: int, seed: tf.Tensor) -> tf.Tensor:
    """[num_images, size, size, 1] bool, a union of rectangles of about the share of each image.

    A target is drawn from [least * share, share]; rectangles come one after the other as long as their union is not
    larger than the target.
    """
    side = images.shape[1] // cell
    shortest, longest = (max(1, round(bound * side)) for bound in (settings.min_side, settings.max_side))
    # So many that chance seldom covers less: a union of k blocks of area a leaves about exp(-k a) of an image bare.
    mean_area = (0.5 * (shortest + longest) / side) ** 2
    num_blocks = math.ceil(2.0 * -math.log1p(-share) / mean_area) + _SPARE_BLOCKS
    block_seed, target_seed = split_seed(seed, 2)
    blocks = _draw_cells([tf.shape(images)[0], num_blocks], side, shortest, longest, block_seed)
    # The first block of each cell; sorted, they tell how much the first blocks cover together.
    numbers = tf.range(num_blocks)[:, tf.newaxis, tf.newaxis]
    first = tf.reduce_min(tf.where(blocks, numbers, num_blocks), axis=1)
    target = uniform(target_seed, tf.shape(images)[0], settings.least * share, share, rank=1) * side**2
    # The first cell beyond the target: its block, and those after it, would cover too much.
    beyond = tf.gather(
        tf.sort(tf.reshape(first, [-1, side**2]), axis=1), tf.cast(tf.floor(target), tf.int32), batch_dims=1
    )
    covered = first < beyond[:, tf.newaxis, tf.newaxis]
    return enlarge(covered[..., tf.newaxis], cell)


def draw_rectangle(images: tf.Tensor, rate: float, cell: int, seed: tf.Tensor) -> tf.Tensor:
    """[num_images, size, size, 1] bool, one rectangle, of sides from 5% to all, in an image with probability `rate`."""
    side = images.shape[1] // cell
    place_seed, rate_seed = split_seed(seed, 2)
    drawn = _draw_cells([tf.shape(images)[0], 1], side, max(1, round(0.05 * side)), side, place_seed)[:, 0]
    some = uniform(rate_seed, tf.shape(images)[0], 0.0, 1.0) < rate
    return enlarge(drawn[..., tf.newaxis], cell) & some


def _draw_cells(shape: list, side: int, shortest: int, longest: int, seed: tf.Tensor) -> tf.Tensor:
    """[*shape, side, side] bool, a rectangle each that lies within the square."""
    length_seed, start_seed = split_seed(seed, 2)
    # The two sides of a rectangle lie in the last axis.
    lengths = tf.random.stateless_uniform([*shape, 2], length_seed, shortest, longest + 1, tf.int32)
    free = tf.cast(side - lengths + 1, tf.float32)
    starts = tf.cast(tf.floor(tf.random.stateless_uniform([*shape, 2], start_seed) * free), tf.int32)
    places = tf.range(side)
    inside = (places >= starts[..., tf.newaxis]) & (places < (starts + lengths)[..., tf.newaxis])
    return inside[..., 0, :, tf.newaxis] & inside[..., 1, tf.newaxis, :]


# --- What ------------------------------------------------------------------------------------------------


def draw_others(num_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """[num_images] int32, for each image another one, all equally likely; itself where there is no other."""
    steps = tf.random.stateless_uniform([num_images], seed) * tf.cast(num_images - 1, tf.float32)
    # A float below 1 may round up to n - 1 steps, which is the image itself.
    steps = tf.minimum(tf.cast(steps, tf.int32), tf.maximum(num_images - 2, 0)) + 1
    return (tf.range(num_images) + steps) % num_images


def blur(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Each image by a Gaussian of its own width, from 0.1 to 5.1 pixels, cut off after 7; edges are mirrored."""
    num_images, size = tf.shape(images)[0], images.shape[1]
    widths = uniform(seed, num_images, _LEAST_BLUR, _MOST_BLUR, rank=2)
    radius = min(_BLUR_RADIUS, size - 1)
    offsets = tf.range(-radius, radius + 1)
    kernel = tf.nn.softmax(-0.5 * tf.square(tf.cast(offsets, tf.float32) / widths), axis=1)
    # One matrix an image blurs its rows and its columns: the weights of the pixels that an offset reaches, mirrored.
    reached = tf.abs(tf.range(size)[:, tf.newaxis] + offsets)
    reached = tf.where(reached < size, reached, 2 * (size - 1) - reached)
    matrices = tf.einsum("nk,ykx->nyx", kernel, tf.one_hot(reached, size))
    return resample(images, matrices, matrices)


def jitter(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Normalised images in another light and, with three channels, of other colours."""
    light_seed, colour_seed = split_seed(seed, 2)
    pixels = change_light(denormalise(images), _JITTER, _JITTER, light_seed)
    return normalise(change_colours(pixels, _JITTER, colour_seed))
