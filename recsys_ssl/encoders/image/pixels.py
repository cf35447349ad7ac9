"""Encoded images to pixels of one size, and these to the bytes that an encoder unpacks.

An image is shown whole: it is brought to the size by its longer side, with antialiasing, and centred on white. Product
photos and posters have their subject near the edge, which cropping would cut off, and white is what most of them stand
on; for the same reason what is transparent becomes white.

Packed bytes are a header of 4 bytes, the mark I1, size (0 means 256) and channels, then [size, size, channels] uint8 in
C order.
"""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from recsys_ssl.encoders.image.reading import MAX_SIZE, ImageSize

HEADER_BYTES = 4
MAX_PIXELS = 64_000_000
"""Of an image as it is encoded, before it is decoded to at most 4 bytes a pixel; larger ones are rejected."""

_MARK = b"I1"
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_WHITE = (255, 255, 255)
# How files of these formats begin, and those that people take for images of them.
_KNOWN = re.compile(rb"(?s)\xff\xd8\xff|\x89PNG|RIFF....WEBP|BM|GIF8")
_OTHER = re.compile(rb"(?s)II\*\0|MM\0\*|....ftyp|\0\0\0\x0cjP|8BPS|\0\0\x01\0|P[1-6]\s|\s*<(?:svg|\?xml)|%PDF|%!PS")

# Pillow warns of damage that it reads past. Set once: changing filters for a while is not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(ValueError):
    """Why content gives no image.

    Attributes:
        reason: a word or two for it, joined by _, which rejects are counted by.
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


# --- Packed bytes ----------------------------------------------------------------------------------------


def pack(pixels: np.ndarray) -> bytes:
    """The bytes of an image, [size, size, channels] uint8.

    Raises:
        ValueError: the image has another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1]:
        raise ValueError(
            f"an image must be [size, size, channels] uint8. Received: {list(pixels.shape)} {pixels.dtype}. "
            "Bring it to one size by from_array."
        )
    size = ImageSize(pixels.shape[0], pixels.shape[2])  # which checks them
    return _MARK + bytes([size.size % MAX_SIZE, size.channels]) + pixels.tobytes()


def unpack_header(packed: bytes) -> ImageSize:
    """The size of a packed image.

    Raises:
        ValueError: the bytes are no packed image, or not whole.
    """
    if len(packed) >= HEADER_BYTES and packed.startswith(_MARK) and packed[3] in (1, 3):
        size = ImageSize(packed[2] or MAX_SIZE, packed[3])
        if len(packed) == HEADER_BYTES + size.size**2 * size.channels:
            return size
    raise ValueError(
        f"a packed image must have its mark, and the length that its header tells. Received: {len(packed)} bytes, "
        f"{packed[:8]!r} first. Pack it by pixels.pack."
    )


def unpack(packed: bytes) -> np.ndarray:
    """[size, size, channels] uint8, read only; raises as `unpack_header`."""
    size = unpack_header(packed)
    return np.frombuffer(packed, np.uint8, offset=HEADER_BYTES).reshape(size.size, size.size, size.channels)


# --- Images to pixels ------------------------------------------------------------------------------------


def decode(content: bytes, size: ImageSize) -> np.ndarray:
    """The pixels of an encoded image: JPEG, PNG, WebP, BMP, or GIF; of several frames the first one.

    Grey of 16 bits keeps its 8 higher ones, rounded. Colours become grey by Rec. 601 luma. EXIF's orientation is
    applied; a damaged EXIF counts as none.

    Returns:
        [size, size, channels] uint8.

    Raises:
        ImageError: `empty`, no bytes; `no_image`; `other_format`, an image of a format that is not read;
            `too_many_pixels`, more than MAX_PIXELS, of which none is decoded; `truncated`; `corrupt`.
    """
    if not content:
        raise ImageError("empty")
    try:
        with _open(content) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError("too_many_pixels")
            # JPEG can be decoded at an eighth, a quarter or a half of its size, which saves most of the time.
            image.draft(None, _fit(image.size, 2 * size.size))
            image.load()
            return _to_pixels(_turn(image), size)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # raised as the header is read
        raise ImageError("too_many_pixels") from error
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes lead to
        is_cut = "truncated" in str(error).lower() or isinstance(error, EOFError) or _is_cut_riff(content)
        raise ImageError("truncated" if is_cut else "corrupt") from error


def _open(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        if _KNOWN.match(content):
            raise
        raise ImageError("other_format" if _OTHER.match(content) else "no_image") from error


def _is_cut_riff(content: bytes) -> bool:
    """Whether a WebP is shorter than its header tells."""
    return content.startswith(b"RIFF") and len(content) < 8 + int.from_bytes(content[4:8], "little")


def _turn(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # whatever a damaged EXIF leads to: the pixels are sound
        return image


def from_array(pixels: np.ndarray, size: ImageSize) -> np.ndarray:
    """The pixels of a decoded image, brought to the size.

    Args:
        pixels: [height, width], or [height, width, 1, 3 or 4], uint8; the fourth channel is opacity.

    Returns:
        [size, size, channels] uint8.

    Raises:
        ImageError: `empty`, it has no pixel.
        ValueError: it has another shape or type.
    """
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))):
        raise ValueError(
            f"an image must be [height, width] or [height, width, 1, 3 or 4] uint8. Received: {list(pixels.shape)} "
            f"{pixels.dtype}. Scale it to 0-255 and put the channels last."
        )
    if not pixels.size:
        raise ImageError("empty")
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.shape == (size.size, size.size, size.channels):
        return np.ascontiguousarray(pixels)
    return _to_pixels(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), size)


def _to_pixels(image: Image.Image, size: ImageSize) -> np.ndarray:
    """[size, size, channels] uint8 of a decoded image of any mode."""
    image = _to_eight_bits(image, "L" if size.channels == 1 else "RGB")
    width, height = _fit(image.size, size.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    canvas = Image.new("RGB" if image.mode == "RGBA" else image.mode, (size.size, size.size), "white")
    # Opacity is the mask: on white the transparent is white.
    corner = ((size.size - width) // 2, (size.size - height) // 2)
    canvas.paste(image, corner, image if image.mode == "RGBA" else None)
    pixels = np.asarray(canvas.convert("L" if size.channels == 1 else "RGB"))
    return pixels.reshape(size.size, size.size, size.channels)


def _to_eight_bits(image: Image.Image, opaque: str) -> Image.Image:
    """The image as RGBA where some of it may be transparent, else in the mode `opaque`."""
    if image.mode.startswith(("I", "F")):  # 16 bits of grey, whose conversion would cut values above 255 off
        levels = np.clip(np.asarray(image, np.float32), 0, 65535)
        image = Image.fromarray(np.round(levels / 257).astype(np.uint8))
    return image.convert("RGBA" if image.has_transparency_data else opaque)


def _fit(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Width and height of an image that is scaled until its longer side is `size`; none is less than 1."""
    longer = max(shape)
    width, height = (max(1, round(side * size / longer)) for side in shape)
    return width, height
