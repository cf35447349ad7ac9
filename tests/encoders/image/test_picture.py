"""A packed image as PNG: pixel by pixel what the encoder reads."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recsys_ssl.encoders.image import picture
from recsys_ssl.encoders.image.pixels import pack


@pytest.mark.parametrize("shape", [(7, 7, 3), (8, 8, 1), (256, 256, 1)])
def test_pixels_are_those_that_were_packed(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    drawn = picture.draw(pack(pixels))
    assert drawn.media_type == "image/png"
    found = np.asarray(Image.open(io.BytesIO(drawn.data)))
    np.testing.assert_array_equal(found.reshape(shape), pixels)


def test_what_is_no_image_is_told():
    with pytest.raises(tf.errors.InvalidArgumentError, match="a packed image must have the length"):
        picture.draw(b"I1\x08\x01short")
