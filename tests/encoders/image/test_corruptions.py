"""Corrupted views: how much of an image is replaced, by what, and that nothing else changes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.image import corruptions
from recsys_ssl.encoders.image.objective import Objective
from recsys_ssl.encoders.image.views import normalise, to_pixels
from tests.encoders.image.made_batches import OTHER_SEED, SEED, make_images

SIZE, PATCH, NUM = 24, 4, 60
# No pixel is 0, so that a hidden one is told from a shown one.
IMAGES = {channels: normalise(to_pixels(make_images(NUM, SIZE, channels))) for channels in (1, 3)}
CLEAN = Objective(contrast_weight=1.0)
EACH = {
    "noise": {"noise": 0.3},
    "zeros": {"zeros": 0.5},
    "alien": {"alien": 0.35},
    "grey": {"grey": 1.0},
    "blur": {"blur": 1.0},
    "jitter": {"jitter": 1.0},
}
ALL = {name: value for settings in EACH.values() for name, value in settings.items()}


def settings_of(**changes):
    return dataclasses.replace(CLEAN, **changes)


def corrupt(channels=1, seed=SEED, **changes):
    return corruptions.corrupt(IMAGES[channels], settings_of(**changes), PATCH, seed)


def areas(mask):
    return mask.numpy().mean(axis=(1, 2, 3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("changes", [*EACH.values(), ALL], ids=[*EACH, "all"])
def test_nothing_changes_outside_of_the_mask_and_the_seed_decides(channels, changes):
    clean = IMAGES[channels].numpy()
    images, mask = corrupt(channels, **changes)
    hidden = np.broadcast_to(mask.numpy(), clean.shape)
    np.testing.assert_array_equal(images.numpy()[~hidden], clean[~hidden])
    assert np.isfinite(images.numpy()).all()
    again = tf.function(lambda seed: corrupt(channels, seed, **changes), autograph=False)
    np.testing.assert_array_equal(again(SEED).mask, mask)
    np.testing.assert_allclose(again(SEED).images, images, atol=1e-5)
    assert (again(OTHER_SEED).mask.numpy() != mask.numpy()).any(axis=(1, 2, 3)).mean() > 0.9


def test_without_corruption_nothing_changes():
    images, mask = corrupt()
    np.testing.assert_array_equal(images, IMAGES[1])
    assert not mask.numpy().any()
    assert not CLEAN.corrupts


# --- How much --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("least", [0.0, 1.0])
def test_blocks_cover_a_share_within_its_bounds(align, least):
    share, longest = 0.5, 0.25
    found = areas(corrupt(zeros=share, least=least, max_side=longest, align=align).mask)
    assert found.max() <= share
    # One more block would have been too much: what is missing is smaller than the largest one.
    block = (max(1, round(longest * (6 if align else 24))) / (6 if align else 24)) ** 2
    assert found.min() > least * share - block
    expected = share * (1 + least) / 2
    assert expected - block < found.mean() <= expected + 0.06


def test_blocks_are_squares_of_whole_patches_where_they_are_aligned():
    mask = corrupt(zeros=0.5, align=True).mask.numpy()[..., 0].reshape(NUM, 6, 4, 6, 4)
    assert (mask.all(axis=(2, 4)) == mask.any(axis=(2, 4))).all()
    mask = corrupt(zeros=0.5).mask.numpy()[..., 0].reshape(NUM, 6, 4, 6, 4)
    assert (mask.all(axis=(2, 4)) != mask.any(axis=(2, 4))).any()


def test_a_rectangle_is_one_rectangle_and_comes_at_its_rate():
    mask = corrupt(grey=0.5).mask.numpy()[..., 0]
    some = mask.any(axis=(1, 2))
    assert 17 < some.sum() < 43  # 30 of 60, 3.3 deviations
    shapes = []
    for shown in mask[some]:
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        assert shown.sum() == len(rows) * len(columns)
        assert shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shapes.append((len(rows), len(columns)))
    lengths = np.array(shapes)
    assert lengths.min() >= 1
    assert lengths.max() > 0.8 * SIZE
    assert (lengths[:, 0] != lengths[:, 1]).any()


def test_rectangles_reach_every_border():
    mask = corruptions.draw_rectangle(tf.zeros([4000, 6, 6, 1]), 1.0, 1, SEED).numpy()[..., 0]
    for border in (mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1]):
        assert border.any(axis=1).mean() > 0.3


@pytest.mark.parametrize(("size", "cell"), [(8, 1), (28, 1), (64, 1), (96, 2), (224, 4), (67, 67)])
def test_large_images_have_larger_cells(size, cell):
    assert corruptions.smallest_cell(size) == cell


# --- By what ---------------------------------------------------------------------------------------------


def test_blocks_of_another_image_show_it_at_the_same_place():
    images, mask = (part.numpy() for part in corrupt(alien=0.35))
    clean = IMAGES[1].numpy()
    for row in np.flatnonzero(mask.any(axis=(1, 2, 3))):
        shown = images[row][mask[row]]
        # Exactly one image of the batch has these pixels there, and it is another.
        owners = [other for other in range(NUM) if (clean[other][mask[row]] == shown).all()]
        assert len(owners) == 1 or mask[row].sum() < 3
        assert row not in owners


@pytest.mark.parametrize("num_images", [2, 3, 50])
def test_another_image_is_never_the_same_and_each_other_one_is_as_likely(num_images):
    draw = tf.function(lambda seed: corruptions.draw_others(num_images, seed), autograph=False)
    drawn = np.stack([draw(tf.constant([1, step], tf.int64)) for step in range(400)])
    assert (drawn != np.arange(num_images)).all()
    assert drawn.min() == 0
    assert drawn.max() == num_images - 1
    if num_images == 3:
        share = (drawn[:, 0] == 1).mean()
        assert abs(share - 0.5) < 5 * np.sqrt(0.25 / 400)


def test_a_single_image_has_no_other():
    images, mask = corruptions.corrupt(IMAGES[1][:1], settings_of(alien=0.5, least=1.0), PATCH, SEED)
    np.testing.assert_array_equal(images, IMAGES[1][:1])
    assert not mask.numpy().any()


def test_some_images_have_no_alien_blocks():
    some = corrupt(alien=0.35, least=1.0, alien_rate=0.5).mask.numpy().any(axis=(1, 2, 3))
    assert 17 < some.sum() < 43


def test_zeros_are_0_and_noise_has_deviation_1():
    images, mask = (part.numpy() for part in corrupt(zeros=0.5))
    assert (images[mask] == 0).all()
    images, mask = (part.numpy() for part in corrupt(noise=0.5))
    assert abs(images[mask].mean()) < 0.05
    assert abs(images[mask].std() - 1) < 0.05


def test_grey_is_the_mean_of_the_channels():
    images, mask = (part.numpy() for part in corrupt(3, grey=1.0))
    where = mask[..., 0]
    expected = IMAGES[3].numpy().mean(axis=-1)[where]
    np.testing.assert_allclose(images[where], np.repeat(expected[:, None], 3, axis=1), atol=1e-6)


def test_blur_is_a_gaussian_with_mirrored_edges():
    images = IMAGES[3][:3]
    found = corruptions.blur(images, SEED).numpy()
    drawn = tf.random.stateless_uniform([3], SEED, 0.1, 5.1).numpy()
    offsets = np.arange(-7, 8)
    for image, blurred, width in zip(images.numpy(), found, drawn):
        kernel = np.exp(-0.5 * (offsets / width) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(image, [(7, 7), (7, 7), (0, 0)], mode="reflect")
        rows = sum(weight * padded[i : i + SIZE] for i, weight in enumerate(kernel))
        expected = sum(weight * rows[:, i : i + SIZE] for i, weight in enumerate(kernel))
        np.testing.assert_allclose(blurred, expected, atol=1e-5)
    assert corruptions.blur(tf.ones([2, 3, 3, 1]), SEED).numpy() == pytest.approx(1.0)  # smaller than the kernel


def test_jitter_is_within_black_and_white():
    found = corruptions.jitter(IMAGES[3], SEED).numpy()
    assert found.min() >= -2 - 1e-5
    assert found.max() <= 2 + 1e-5
    assert (np.abs(found - IMAGES[3]).max(axis=(1, 2, 3)) > 0.01).all()
