"""Encoded images to pixels: every mode with the pixel it must give, and every kind of damage with its reason."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recsys_ssl.encoders.image.pixels import (
    MAX_PIXELS,
    ImageError,
    decode,
    from_array,
    pack,
    unpack,
    unpack_header,
)
from recsys_ssl.encoders.image.reading import ColumnConfig, ImageSize
from tests.encoders.image.made_images import encode, noise

GREY, COLOUR = ImageSize(4, 1), ImageSize(4, 3)
RED = (200, 30, 10)
LUMA_OF_RED = round(0.299 * 200 + 0.587 * 30 + 0.114 * 10)


def pixel(content, size=COLOUR):
    """The one colour of an image that has one."""
    pixels = decode(content, size)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (size.size, size.size, size.channels)
    colours = np.unique(pixels.reshape(-1, size.channels), axis=0)
    assert len(colours) == 1
    return tuple(colours[0].tolist())


def palette(transparent=None):
    """[4, 4] of the second of two colours, which may be the transparent one."""
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    return encode(image) if transparent is None else encode(image, transparency=transparent)


# --- Modes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encode(Image.new("RGB", (4, 4), RED)), RED),
        (encode(Image.new("RGB", (4, 4), RED), "BMP"), RED),
        (encode(Image.new("RGB", (4, 4), RED), "WEBP", lossless=True), RED),
        (encode(Image.new("L", (4, 4), 77)), (77,) * 3),
        (encode(Image.new("1", (4, 4), 1)), (255,) * 3),
        (encode(Image.new("I;16", (4, 4), 257 * 99)), (99,) * 3),
        (palette(), RED),
        (palette(transparent=1), (255,) * 3),
        (palette(transparent=0), RED),
        (encode(Image.new("RGBA", (4, 4), (*RED, 255))), RED),
        (encode(Image.new("RGBA", (4, 4), (*RED, 0))), (255,) * 3),
        (encode(Image.new("RGB", (4, 4), RED), transparency=RED), (255,) * 3),
        (encode(Image.new("LA", (4, 4), (50, 255))), (50,) * 3),
        (encode(Image.new("LA", (4, 4), (50, 0))), (255,) * 3),
    ],
    ids=[
        *(
            "RGB",
            "BMP",
            "WebP",
            "grey",
            "one bit",
            "16 bits",
            "palette",
            "transparent entry",
            "other transparent entry",
        ),
        *("opaque", "transparent", "transparent colour", "grey and opaque", "grey and transparent"),
    ],
)
def test_a_mode_gives_its_colour(content, colour):
    assert pixel(content) == colour


def test_half_transparent_is_half_white():
    (found,) = {pixel(encode(Image.new("RGBA", (4, 4), (*RED, 51))))}
    # Opacity 51 / 255 = 0.2 over white.
    np.testing.assert_allclose(found, [0.2 * level + 0.8 * 255 for level in RED], atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_give_about_their_colour(kind):
    pixels = decode(encode(Image.new("RGB", (16, 16), RED), kind), COLOUR)
    np.testing.assert_allclose(pixels.reshape(-1, 3), [RED] * 16, atol=6)


def test_cmyk_has_ink_where_it_is_dark():
    # No cyan, all of magenta and yellow: red.
    red = pixel(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    np.testing.assert_allclose(red, (255, 0, 0), atol=6)


def test_levels_of_16_bits_are_rounded():
    levels = np.array([[0, 128, 129, 65535], [300, 386, 20000, 257]], np.uint16)
    found = decode(encode(Image.fromarray(levels)), ImageSize(4, 1))
    expected = [[0, 0, 1, 255], [1, 2, 78, 1]]  # of 257: 128 / 257 < 0.5 < 129 / 257; 300, 386: 1.17, 1.502; 77.8
    assert found[1:3, :, 0].tolist() == expected


def test_colour_becomes_grey_by_luma_and_grey_becomes_colour_by_repetition():
    assert pixel(encode(Image.new("RGB", (4, 4), RED)), GREY) == (LUMA_OF_RED,)
    assert pixel(encode(Image.new("RGBA", (4, 4), (*RED, 255))), GREY) == (LUMA_OF_RED,)
    assert pixel(encode(Image.new("L", (4, 4), 9)), COLOUR) == (9, 9, 9)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_taken(kind):
    first, second = (Image.new("RGB", (4, 4), colour) for colour in (RED, (0, 0, 255)))
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(first, kind, save_all=True, append_images=[second], **options)
    assert pixel(content) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_tells_which_side_is_up(orientation):
    """A camera stores what it sees as its sensor lies; the tag says how to turn it back."""
    upright = noise(4, 4, 3)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),  # shown turned to the right
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(np.ascontiguousarray(turned), exif=exif.tobytes())
    np.testing.assert_array_equal(decode(content, COLOUR), upright)


def test_a_damaged_exif_counts_as_none():
    image = noise(4, 4, 3)
    content = encode(image, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(9))
    np.testing.assert_array_equal(decode(content, COLOUR), image)


# --- Sizes -----------------------------------------------------------------------------------------------


def test_an_image_of_the_size_is_kept_exactly():
    image = noise(28, 28)
    np.testing.assert_array_equal(decode(encode(image), ImageSize())[:, :, 0], image)


@pytest.mark.parametrize(("height", "width"), [(8, 4), (80, 40), (2, 1)])
def test_a_tall_image_is_shown_whole_between_white(height, width):
    pixels = decode(encode(np.full((height, width), 60, np.uint8)), ImageSize(8, 1))[:, :, 0]
    assert (pixels[:, 2:6] == 60).all()
    assert (pixels[:, :2] == 255).all()
    assert (pixels[:, 6:] == 255).all()


def test_a_wide_image_is_shown_whole_between_white():
    pixels = decode(encode(np.full((10, 40), 60, np.uint8)), ImageSize(8, 1))[:, :, 0]
    assert pixels[:, 0].tolist() == [255] * 3 + [60] * 2 + [255] * 3


def test_a_line_keeps_a_pixel():
    pixels = decode(encode(np.zeros((1, 1000), np.uint8)), ImageSize(4, 1))[:, :, 0]
    assert (pixels == 0).sum() == 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_fine_grating_becomes_its_mean(kind):
    """Without antialiasing a smaller image would pick black or white lines."""
    grating = np.zeros((256, 256), np.uint8)
    grating[:, ::2] = 255
    pixels = decode(encode(grating, kind), ImageSize(16, 1)).astype(int)
    assert np.abs(pixels[2:-2, 2:-2] - 127.5).max() < 5


def test_places_are_kept_when_an_image_is_scaled():
    quarters = np.zeros((64, 64, 3), np.uint8)
    quarters[:32, :32], quarters[:32, 32:], quarters[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for content in (encode(quarters), encode(quarters, "JPEG", quality=95, subsampling=0)):
        pixels = decode(content, ImageSize(16, 3)).astype(int)
        for (row, column), colour in {(3, 3): (255, 0, 0), (3, 12): (0, 255, 0), (12, 3): (0, 0, 255)}.items():
            np.testing.assert_allclose(pixels[row, column], colour, atol=12)
        assert pixels[12, 12].max() < 12


# --- What gives no image ---------------------------------------------------------------------------------


def large_png(width, height):
    """A PNG whose header tells a size, and that ends where its pixels begin."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\1\0IDAT"


SOUND = encode(noise(40, 30, 3))
JPEG = encode(noise(40, 30, 3), "JPEG")
BAD = {
    "empty": (b"", "empty"),
    "text": (b"no image at all", "no_image"),
    "zeros": (bytes(100), "no_image"),
    "page": (b"<html><body>404</body></html>", "no_image"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "other_format"),
    "tiff": (encode(noise(4, 4), "TIFF"), "other_format"),
    "cut PNG": (SOUND[:-500], "truncated"),
    "cut JPEG": (JPEG[: len(JPEG) // 2], "truncated"),
    "cut WebP": (encode(noise(40, 30, 3), "WEBP")[:-90], "truncated"),
    "cut BMP": (encode(noise(40, 30, 3), "BMP")[:-90], "truncated"),
    "cut GIF": (encode(noise(40, 30), "GIF")[:-90], "truncated"),
    "damaged PNG": (SOUND[:200] + bytes(300) + SOUND[500:], "corrupt"),
    "no chunk": (SOUND[:8] + bytes(20), "corrupt"),
    "large": (large_png(MAX_PIXELS // 1000, 1001), "too_many_pixels"),
    "huge": (large_png(2**31 - 1, 2**31 - 1), "too_many_pixels"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_what_gives_no_image_is_named(content, reason):
    with pytest.raises(ImageError) as error:
        decode(content, COLOUR)
    assert error.value.reason == reason


# Pillow warns of large images too; outside of pytest, which sets its own filters, that is not shown.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_damage_gives_an_image_or_a_reason(kind):
    rng = np.random.default_rng(1)
    sound = encode(noise(20, 20, 3), kind)
    reasons = set()
    for _ in range(60):
        content = bytearray(sound)
        for place in rng.integers(0, len(content), 8):
            content[place] = rng.integers(256)
        try:
            assert decode(bytes(content), COLOUR).shape == (4, 4, 3)
        except ImageError as error:
            reasons.add(error.reason)
    assert reasons
    assert reasons <= {"corrupt", "truncated", "no_image", "other_format", "too_many_pixels"}


def test_nothing_is_written_to_the_terminal(tmp_path):
    """A fresh process, since pytest takes warnings away."""
    (tmp_path / "large.png").write_bytes(large_png(12_000, 12_000))
    (tmp_path / "damaged.jpg").write_bytes(JPEG[:300] + bytes(50) + JPEG[350:])
    # Transparency of a palette by entry, of which Pillow warns when it is converted, and an EXIF that is cut off.
    (tmp_path / "entries.png").write_bytes(palette(transparent=bytes([0, 128])))
    (tmp_path / "exif.jpg").write_bytes(encode(noise(8, 8), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(9)))
    code = """
import sys
from pathlib import Path
from recsys_ssl.encoders.image.pixels import ImageError, decode
from recsys_ssl.encoders.image.reading import ImageSize
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode(path.read_bytes(), ImageSize())
    except ImageError as error:
        pass
"""
    root = Path(__file__).parents[3]
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_a_large_image_is_not_decoded():
    """The header alone decides: this one has no pixels behind it."""
    content = encode(Image.new("1", (9000, 9000)))
    assert len(content) < 20_000
    with pytest.raises(ImageError, match="too_many_pixels"):
        decode(content[:100], GREY)


# --- Arrays ----------------------------------------------------------------------------------------------


def test_an_array_of_the_size_is_kept_and_another_is_scaled_as_its_image():
    image = noise(28, 28)
    np.testing.assert_array_equal(from_array(image, ImageSize())[:, :, 0], image)
    for array in (noise(9, 12), noise(9, 12, 3), noise(9, 12, 4)):
        np.testing.assert_array_equal(from_array(array, COLOUR), decode(encode(array), COLOUR))
    np.testing.assert_array_equal(from_array(noise(9, 12, 1), GREY), from_array(noise(9, 12), GREY))


@pytest.mark.parametrize("array", [noise(4, 4, 2), noise(4), np.zeros((4, 4), np.float32), noise(2, 2, 2, 3)])
def test_another_array_is_an_error(array):
    with pytest.raises(ValueError, match=r"an image must be \[height, width\]"):
        from_array(array, GREY)


def test_an_array_without_pixels_is_empty():
    with pytest.raises(ImageError, match="empty"):
        from_array(np.zeros((0, 4), np.uint8), GREY)


# --- Packed bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "byte"), [(1, 1), (28, 28), (255, 255), (256, 0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_packed_bytes_are_a_header_and_the_pixels(size, byte, channels):
    image = noise(size, size, channels)
    packed = pack(image)
    assert packed[:4] == b"I1" + bytes([byte, channels])
    assert packed[4:] == image.tobytes()
    assert unpack_header(packed) == ImageSize(size, channels)
    np.testing.assert_array_equal(unpack(packed), image)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 4), (4, 4, 2), (257, 257, 1), (0, 0, 1)])
def test_another_shape_cannot_be_packed(shape):
    with pytest.raises(ValueError, match="must be"):
        pack(np.zeros(shape, np.uint8))


PACKED = pack(noise(4, 4, 3))


@pytest.mark.parametrize("content", [b"", PACKED[:3], PACKED[:-1], PACKED + b"x", b"J1" + PACKED[2:], b"I1\4\2" * 9])
def test_other_bytes_are_no_packed_image(content):
    with pytest.raises(ValueError, match="a packed image must have its mark"):
        unpack(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, r"size must be in 1-256. Received: size=0"),
        ({"size": 257}, r"size must be in 1-256. Received: size=257"),
        ({"channels": 2}, r"channels must be 1 \(grey\) or 3 \(colour\). Received: channels=2"),
        ({"path": "posters/"}, r"path must hold {} once. Received: path='posters/'"),
        ({"path": "{}/{}.jpg"}, r"path must hold {} once"),
        ({"path": "{}/{x}.jpg"}, r"path must hold {} once"),
    ],
)
def test_settings_have_bounds(change, message):
    with pytest.raises(ValueError, match=message):
        ColumnConfig(**change)
