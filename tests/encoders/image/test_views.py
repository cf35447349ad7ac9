"""Augmented views and views with hidden patches: what may change, what may not, and that the seed decides."""

import colorsys
import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.image import views
from recsys_ssl.encoders.image.views import Augmentation
from tests.encoders.image.made_batches import OTHER_SEED, SEED, make_images

PLAIN = Augmentation(min_crop=1.0, brightness=0.0, contrast=0.0, colour=0.0, flip=False)
GREY = views.to_pixels(make_images(40, 12))
COLOUR = views.to_pixels(make_images(40, 12, 3))


def seed(number):
    return tf.constant([3, number], tf.int64)


def test_pixels_are_normalised_and_back():
    pixels = views.to_pixels(tf.constant([[0, 51, 255]], tf.uint8))
    np.testing.assert_allclose(pixels, [[0.0, 0.2, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(views.normalise(pixels), [[-2.0, (0.2 - 0.5) / 0.25, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(views.denormalise(views.normalise(pixels)), pixels, atol=1e-6)


# --- Augmentation ----------------------------------------------------------------------------------------


def test_without_any_strength_nothing_changes():
    for pixels in (GREY, COLOUR):
        np.testing.assert_allclose(views.augment(pixels, PLAIN, SEED), pixels, atol=1e-6)


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_seed_decides_and_a_graph_draws_the_same(pixels):
    augment = tf.function(lambda seed: views.augment(pixels, Augmentation(), seed), autograph=False)
    one = views.augment(pixels, Augmentation(), SEED).numpy()
    np.testing.assert_allclose(augment(SEED), one, atol=1e-5)
    assert one.shape == pixels.shape
    assert one.min() >= 0
    assert one.max() <= 1
    other = augment(OTHER_SEED).numpy()
    assert (np.abs(one - other).max(axis=(1, 2, 3)) > 1e-3).all()


def test_half_of_the_images_are_mirrored_and_the_others_are_as_they_were():
    flipped = views.augment(GREY, PLAIN._replace(flip=True), SEED).numpy()
    was = (np.abs(flipped - GREY) < 1e-5).all(axis=(1, 2, 3))
    mirrored = (np.abs(flipped - GREY[:, :, ::-1]) < 1e-5).all(axis=(1, 2, 3))
    assert (was ^ mirrored).all()
    assert 10 < was.sum() < 30  # 20 of 40, 3.2 deviations


def test_a_crop_is_a_rectangle_of_the_image_within_its_bounds():
    """The rows and columns of images that tell their own place say what was cut out."""
    size, num_images, least = 32, 300, 0.3
    places = np.linspace(0.0, 1.0, size, dtype=np.float32)
    for axis in (0, 1):
        ramp = np.broadcast_to(places[:, None] if axis == 0 else places[None], [size, size])
        pixels = np.broadcast_to(ramp[None, :, :, None], [num_images, size, size, 1])
        cut = views.crop(tf.constant(pixels), least, SEED).numpy()[..., 0]
        ends = cut[:, [0, -1], 0] if axis == 0 else cut[:, 0, [0, -1]]
        assert ends.min() >= -1e-6
        assert ends.max() <= 1 + 1e-6
        sides = ends[:, 1] - ends[:, 0]
        # As along a ruler from the first to the last.
        along = cut[:, :, 0] if axis == 0 else cut[:, 0, :]
        np.testing.assert_allclose(along, np.linspace(ends[:, 0], ends[:, 1], size, axis=1), atol=1e-5)
        if axis == 0:
            heights = sides
    areas, ratios = heights * sides, heights / sides
    assert areas.min() >= least * 0.75  # a long side is cut off at the image's: at most by 4/3
    assert areas.max() <= 1 + 1e-6
    assert np.quantile(areas, 0.1) < least + 0.15
    assert np.abs(np.log(ratios)).max() <= math.log(4 / 3) + 1e-5
    assert np.abs(np.log(ratios)).max() > 0.2


def test_light_shifts_all_pixels_and_scales_them_about_their_mean():
    pixels = 0.4 + 0.2 * GREY  # far from 0 and 1
    changed = views.change_light(pixels, 0.2, 0.5, SEED).numpy()
    before = pixels.numpy().reshape(40, -1)
    mean, centred = before.mean(axis=1), before - before.mean(axis=1, keepdims=True)
    after = changed.reshape(40, -1)
    factors = (after - after.mean(axis=1, keepdims=True))[:, 0] / centred[:, 0]
    expected = factors[:, None] * centred + after.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(after, expected, atol=1e-5)
    shifts = after.mean(axis=1) - mean
    for values, low, high in ((factors, 0.5, 1.5), (shifts, -0.2, 0.2)):
        assert low <= values.min() < low + 0.2 * (high - low)
        assert high - 0.2 * (high - low) < values.max() <= high
    assert np.corrcoef(factors, shifts)[0, 1] < 0.5  # drawn apart
    assert views.change_light(GREY, 1.0, 1.0, SEED).numpy().max() == 1.0


def test_colours_change_in_hue_and_saturation_but_not_in_luma():
    pixels = 0.4 + 0.2 * COLOUR
    changed = views.change_colours(pixels, 0.3, SEED).numpy()
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(changed @ luma, pixels.numpy() @ luma, atol=2e-3)
    assert (np.abs(changed - pixels).max(axis=(1, 2, 3)) > 1e-3).all()
    hues = [[colorsys.rgb_to_hsv(*image[0, 0])[0] for image in images] for images in (pixels.numpy(), changed)]
    turns = (np.subtract(*hues) + 0.5) % 1.0 - 0.5
    assert np.abs(turns).max() < 0.3 * 0.5 + 0.06  # hue angles of both colour models differ a little
    assert np.abs(turns).max() > 0.05
    grey = tf.repeat(GREY, 3, axis=-1)
    np.testing.assert_allclose(views.change_colours(grey, 0.3, SEED), grey, atol=1e-4)
    assert views.change_colours(GREY, 0.3, SEED) is GREY


# --- Rotation --------------------------------------------------------------------------------------------


def test_the_label_of_a_rotation_is_right_and_all_are_drawn():
    rotated = tf.function(views.rotate, autograph=False)(GREY, SEED)
    for image, found, quarter in zip(GREY.numpy(), rotated.images.numpy(), rotated.quarters.numpy()):
        np.testing.assert_array_equal(found, np.rot90(image, quarter))
    assert np.bincount(rotated.quarters, minlength=4).min() >= 3
    np.testing.assert_array_equal(views.rotate(GREY, SEED).quarters, rotated.quarters)


# --- Hidden patches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_a_share_of_the_patches_is_hidden_whole(rate):
    images = views.normalise(GREY)
    hide = tf.function(lambda seed: views.hide_patches(images, 3, rate, seed), autograph=False)
    hidden = hide(SEED).numpy()
    np.testing.assert_array_equal(hidden, views.hide_patches(images, 3, rate, SEED))
    changed = (hidden != images.numpy()).reshape(40, 4, 3, 4, 3).transpose(0, 1, 3, 2, 4).reshape(40, 16, 9)
    # No pixel of the noise is 0.
    assert (changed.all(axis=2) == changed.any(axis=2)).all()
    assert (changed.all(axis=2).sum(axis=1) == math.ceil(round(rate * 16, 6))).all()
    assert (hidden[hidden != images.numpy()] == 0).all()


def test_all_patches_are_equally_likely_to_be_hidden_and_images_differ():
    images = tf.ones([2000, 4, 4, 1])
    hidden = views.hide_patches(images, 2, 0.5, SEED).numpy()[:, ::2, ::2, 0].reshape(2000, 4) == 0
    np.testing.assert_allclose(hidden.mean(axis=0), 0.5, atol=5 * math.sqrt(0.25 / 2000))
    assert len(np.unique(hidden, axis=0)) == math.comb(4, 2)
    other = views.hide_patches(images, 2, 0.5, OTHER_SEED).numpy()[:, ::2, ::2, 0].reshape(2000, 4) == 0
    assert 0.1 < (hidden == other).all(axis=1).mean() < 0.25  # 1/6 by chance
