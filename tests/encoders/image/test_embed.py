"""Vectors of images: those of the tower, whatever the images come as, and what gives none."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.image.encoder import make, unpack
from recsys_ssl.encoders.image.files import RawImage, Rejection, read_images
from recsys_ssl.encoders.image.pixels import pack
from recsys_ssl.encoders.image.settings import EncoderConfig
from tests.encoders.image.made_images import encode, noise

IMAGES = [noise(28, 28, seed=number) for number in range(7)]


@pytest.fixture(scope="module")
def encoder():
    return make(EncoderConfig(dim=8, depth=1, num_heads=2))


@pytest.fixture(scope="module")
def embedder(encoder):
    from recsys_ssl.encoders.image.embed import Embedder

    return Embedder(encoder)


@pytest.fixture
def folder(tmp_path):
    for number, image in enumerate(IMAGES):
        (tmp_path / f"{number}.png").write_bytes(encode(image))
    (tmp_path / "3.png").write_bytes(b"no image")
    return tmp_path


def test_a_stream_gives_the_vectors_of_packed_images_batch_by_batch(embedder, folder, monkeypatch):
    monkeypatch.setattr("recsys_ssl.encoders.image.embed._BATCH_SIZE", 4)
    rejected = []
    batches = list(embedder.embed_stream(read_images(folder), rejected))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 4], [5, 6]]
    assert rejected == [Rejection(3, "no_image", "3.png")]
    expected = embedder.embed([encode(image) for number, image in enumerate(IMAGES) if number != 3])
    np.testing.assert_allclose(np.concatenate([batch.vectors for batch in batches]), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-4


def test_a_vector_is_that_of_the_packed_image(encoder, embedder):
    content = unpack(tf.constant([pack(IMAGES[0][:, :, np.newaxis])]))
    expected = encoder.encode(content)
    for image in (RawImage("array", IMAGES[0]), encode(IMAGES[0])):
        np.testing.assert_allclose(embedder.embed([image]), expected, rtol=1e-5, atol=1e-6)


def test_what_gives_no_image_is_an_error_or_nan(embedder, folder):
    paths = [str(folder / "0.png"), str(folder / "3.png"), str(folder / "none.png")]
    with pytest.raises(ValueError, match=r"Received: 2 of 3 that are not, the first '.*3.png' at 1 \(no_image\)"):
        embedder.embed(paths)
    rejected = []
    vectors = embedder.embed(paths, rejected)
    assert np.isnan(vectors).any(axis=1).tolist() == [False, True, True]
    assert [(rejection.row, rejection.reason) for rejection in rejected] == [(1, "no_image"), (2, "no_file")]


def test_no_image_gives_no_vector(embedder):
    assert embedder.embed([]).shape == (0, embedder.dim)
