"""Made images, encoded, for the tests of what reads them."""

import base64
import io

import numpy as np
from PIL import Image


def encode(image, kind="PNG", **options):
    """The bytes of a Pillow image, or of [height, width] or [height, width, channels] uint8."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def as_uri(content):
    """Encoded bytes as a cell of a table."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def noise(*shape, seed=0):
    """uint8 of the shape."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def grey(level, size=4):
    """The bytes of a grey PNG that is of one level."""
    return encode(np.full((size, size), level, np.uint8))
