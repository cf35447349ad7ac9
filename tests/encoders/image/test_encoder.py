"""Packed images to vectors: what is unpacked, what a vector holds, and chunks."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders import store
from recsys_ssl.encoders.contract import Mask, Pass
from recsys_ssl.encoders.image import encoder as module
from recsys_ssl.encoders.image.settings import EncoderConfig, PretrainConfig, ViTConfig
from recsys_ssl.encoders.image.views import hide_patches, normalise, to_pixels
from tests.encoders.image.made_batches import SEED, make_images, pack

CONFIG = ViTConfig(size=8, patch=2, dim=8, depth=1, num_heads=2)
IMAGES = make_images(5, 8)
PIXELS = normalise(to_pixels(IMAGES))


@pytest.fixture(scope="module")
def encoder():
    return module.ImageEncoder(CONFIG)


def unpack(images):
    return module.unpack(tf.constant([b"" if image is None else pack(image) for image in images]))


# --- Packed images ---------------------------------------------------------------------------------------


def test_an_image_is_unpacked_as_it_was():
    for channels in (1, 3):
        images = make_images(3, 6, channels)
        packed = tf.constant([pack(image) for image in images])
        np.testing.assert_array_equal(module.decode(packed, 6, channels), normalise(to_pixels(images)))
    large = make_images(1, 256)
    np.testing.assert_array_equal(module.decode(tf.constant([pack(large[0])]), 256, 1), normalise(to_pixels(large)))


def test_grey_and_colour_become_each_other():
    colour = make_images(2, 4, 3)
    packed = tf.constant([pack(image) for image in colour])
    luma = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(module.decode(packed, 4, 1)[..., 0], normalise(luma / 255), atol=1e-5)
    grey = make_images(2, 4)
    packed = tf.constant([pack(image) for image in grey])
    expected = np.repeat(normalise(to_pixels(grey)), 3, axis=-1)
    np.testing.assert_array_equal(module.decode(packed, 4, 3), expected)


def test_another_size_is_resized():
    image = np.zeros([8, 8, 1], np.uint8)
    image[:, 4:] = 200
    decode = tf.function(lambda packed: module.decode(packed, 4, 1), autograph=False)
    found = decode(tf.constant([pack(image)])).numpy()[0, :, :, 0]
    # The triangle of antialiasing has half-width 2: of columns 0-7 the four about 2 (x + 1/2), by 1, 3, 3, 1.
    np.testing.assert_allclose((found[0] * 0.25 + 0.5) * 255, [0, 200 / 8, 200 * 7 / 8, 200], atol=0.01)
    np.testing.assert_allclose(found, np.broadcast_to(found[0], [4, 4]), atol=1e-5)


@pytest.mark.parametrize(
    "packed",
    [b"I1", b"I1\x02\x01abc", b"I1\x02\x01abcde", b"I2\x02\x01abcd", b"I1\x02\x02abcdefgh", b"I1\x00\x01"],
    ids=["no header", "short", "long", "magic", "channels", "empty"],
)
def test_bytes_that_are_no_image_are_an_error(packed):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have the length that its header tells"):
        module.unpack(tf.constant([pack(IMAGES[0]), packed, b""]))


def test_images_of_several_sizes_are_an_error(encoder):
    content = module.unpack(tf.constant([pack(IMAGES[0]), pack(make_images(1, 6)[0])]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be of one size"):
        encoder.encode(content)


def test_nothing_retraces():
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def read(packed):
        traces.append(1)
        content = module.unpack(packed)
        return module.decode(tf.gather(content.packed, tf.where(content.present())[:, 0]), 8, 1)

    for images in (IMAGES, IMAGES[:2], make_images(2, 4, 3)):
        assert read(tf.constant([*map(pack, images), b""])).shape == (len(images), 8, 8, 1)
    assert read(tf.constant([b""])).shape == (0, 8, 8, 1)
    assert len(traces) == 1


# --- Vectors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotation", [False, True])
def test_a_vector_is_the_tokens_one_after_the_other(rotation):
    made = module.ImageEncoder(dataclasses.replace(CONFIG, rotation=rotation))
    tokens = made(PIXELS)
    own = [tokens.contrast, tokens.rotation] if rotation else [tokens.contrast]
    expected = np.concatenate([*own, tokens.data.numpy().mean(axis=1)], axis=1)
    assert made.dim == expected.shape[1] == (24 if rotation else 16)
    np.testing.assert_allclose(made.encode(unpack(IMAGES)), expected, rtol=1e-4, atol=1e-5)


def test_chunks_are_put_together(encoder, monkeypatch):
    content = unpack([IMAGES[0], None, *IMAGES[1:]]).gather(tf.constant([5, 0, 2, 3, 4], tf.int64))
    whole = encoder.encode(content).numpy()
    monkeypatch.setattr(module, "_CHUNK", 2)
    for encode in (encoder.encode, tf.function(encoder.encode, autograph=False)):
        np.testing.assert_allclose(encode(content), whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole, encoder.embed(PIXELS[..., :].numpy()[[4, 0, 1, 2, 3]]), rtol=1e-4, atol=1e-5)


def test_a_masked_view_hides_patches(encoder):
    found = encoder.encode(unpack(IMAGES), Pass(mask=Mask(0.5, SEED)))
    expected = encoder.embed(hide_patches(PIXELS, 2, 0.5, SEED))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_pretrained_encoder_keeps_its_sizes_and_takes_the_dropout(encoder, tmp_path):
    store.save(encoder, "image", encoder.config, tmp_path / "encoder", PretrainConfig(size=8, patch=2))
    made = module.make(EncoderConfig(pretrained=str(tmp_path / "encoder"), dropout=0.3, size=32, patch=8))
    assert made.config == dataclasses.replace(CONFIG, dropout=0.3)
    np.testing.assert_array_equal(made.encode(unpack(IMAGES)), encoder.encode(unpack(IMAGES)))
