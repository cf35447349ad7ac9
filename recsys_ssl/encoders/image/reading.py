"""What a spec may say of a column of images, and the size that all of them are brought to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

MAX_SIZE = 256
"""Largest side of an image, in pixels: what one byte of its header counts."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""How names of images end, in lower case."""
ARCHIVES = (".tar", ".zip")
"""How names of archives end that paths may lead into, in lower case."""


@dataclass(frozen=True)
class ImageSize:
    """What all images are brought to: [size, size, channels] uint8, so size * size * channels bytes each.

    Attributes:
        size: side in pixels, 1-256.
        channels: 1, grey; or 3, red, green and blue.
    """

    size: int = 28
    channels: int = 1

    def __post_init__(self):
        if not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"size must be in 1-{MAX_SIZE}. Received: size={self.size}. Use 28-224.")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour). Received: channels={self.channels}.")


@dataclass(frozen=True)
class ColumnConfig(ImageSize):
    """A column of images in a spec.

    Attributes:
        size, channels: see `ImageSize`.
        path: where a cell that names a file lies in the data directory; {} stands for the cell: `posters/{}.jpg`.
    """

    reads_bytes: ClassVar[bool] = True

    path: str = "{}"

    def __post_init__(self):
        super().__post_init__()
        if self.path.count("{}") != 1 or set(self.path.replace("{}", "")) & {"{", "}"}:
            raise ValueError(f"path must hold {{}} once. Received: path={self.path!r}. Write e.g. posters/{{}}.jpg.")

    @property
    def file_paths(self) -> tuple[str, ...]:
        """The directory or archive that all files lie in, as far as `path` tells; none for one that begins with {}."""
        parts = self.path[: self.path.index("{}")].split("/")[:-1]
        end = next((place for place, part in enumerate(parts, start=1) if part.lower().endswith(ARCHIVES)), len(parts))
        folder = "/".join(parts[:end])
        return (folder,) if folder.strip("/.") else ()
