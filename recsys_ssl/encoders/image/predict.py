"""Properties of images by the contract of fine-tuning."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_ssl import seeds
from recsys_ssl.encoders.image.encoder import ImageEncoder
from recsys_ssl.encoders.image.files import Rejection, load_all, read_images
from recsys_ssl.encoders.image.predictor import ImagePredictor
from recsys_ssl.encoders.image.reading import ImageSize
from recsys_ssl.encoders.image.settings import FinetuneConfig, ViTConfig
from recsys_ssl.encoders.image.tables import find_delimiter, open_text
from recsys_ssl.evaluation.prediction import Split, Task
from recsys_ssl.seeds import FinetuneStream

BATCH_SPEC = tf.TensorSpec([None], tf.string)
MAX_REJECTED_SHARE = 0.05
"""More rows than this that give no image are an error: then it is the wrong column, not a bad row."""
_TRAIN_SHARE, _VALIDATION_SHARE = 0.8, 0.1


class PropertyTable(NamedTuple):
    """Images that can be read, in the order of the file."""

    rows: np.ndarray
    """[num_images] int64 row of the file, its first one below the header 0."""
    texts: list[str]
    """[num_images] the cells, or what stands for them."""
    contents: list[bytes]
    """[num_images] packed, of the encoder's size."""
    targets: np.ndarray
    """[num_images, num_tasks] float32, NaN where the file has nothing."""
    names: list[str]
    """[num_tasks] columns of the targets."""
    rejections: list[Rejection]
    """Rows without an image."""


def split_randomly(texts: Sequence[str], seed: int) -> Split:
    """80/10/10; the same text is on one side."""
    distinct, places = np.unique(np.array(texts, str), return_inverse=True)
    order = seeds.generator(seed, FinetuneStream.SPLIT).permutation(len(distinct))
    cuts = [math.floor(share * len(distinct)) for share in (_TRAIN_SHARE, _TRAIN_SHARE + _VALIDATION_SHARE)]
    return Split(*(np.flatnonzero(np.isin(places, part)) for part in np.split(order, cuts)))


SPLITS = {"random": split_randomly}
"""Name -> (texts, seed) -> split; the first one is the default."""


def read_table(
    path: Path, column: str, targets: Optional[Sequence[str]], workers: int = 1, encoder: Optional[ImageEncoder] = None
) -> PropertyTable:
    """Reads images and targets of a CSV file; paths in it begin beside it.

    All images are in memory, size * size * channels bytes each.

    Args:
        column: of paths or data URIs.
        targets: none for images alone; None takes all columns but that of the images.
        workers: processes that read images, see `files.load_all`.
        encoder: whose size they are brought to.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a target is no number, or too many rows give no image.
    """
    images = list(read_images(path, column))
    header, cells = _read_cells(path)
    if len(cells) != len(images):
        raise ValueError(f"a table of targets must have a header. Received: none in {str(path)!r}. Write one.")
    names = [name for name in header if name != column] if targets is None else [name.strip() for name in targets]
    missing = [name for name in names if header.count(name) != 1]
    if missing or len(set(names)) < len(names) or not cells:
        raise ValueError(
            f"a table must have rows and distinct columns of targets. Received: {len(cells)} rows, columns "
            f"{', '.join(header)}; not there once: {', '.join(missing) or 'none'}. Name others."
        )
    sizes = ViTConfig() if encoder is None else encoder.config
    results = list(load_all(iter(images), ImageSize(sizes.size, sizes.channels), workers))
    rejections = [result for result in results if isinstance(result, Rejection)]
    _check_rejected(rejections, len(results), column)
    packed = [(row, result) for row, result in enumerate(results) if isinstance(result, bytes)]
    numbers = [[_read_number(cells[row], header.index(name), name, row) for name in names] for row, _ in packed]
    return PropertyTable(
        np.array([row for row, _ in packed], np.int64),
        [images[row].name for row, _ in packed],
        [content for _, content in packed],
        np.array(numbers, np.float32).reshape(len(packed), len(names)),
        names,
        rejections,
    )


def _read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header, and the rows that are not empty, as `files.read_images` counts them."""
    with open_text(path) as file:
        header, *rows = [row for row in csv.reader(file, delimiter=find_delimiter(file, path)) if row]
    return [name.strip() for name in header], rows


def _read_number(cells: list[str], place: int, name: str, row: int) -> float:
    text = cells[place].strip() if place < len(cells) else ""
    try:
        number = float(text or "nan")
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise ValueError(
            f"column {name!r} must hold numbers, or nothing where unknown. "
            f"Received: {text!r} in row {row}. Mend the file or name another --target."
        )
    return number


def _check_rejected(rejections: Sequence[Rejection], num_rows: int, column: str) -> None:
    if len(rejections) > MAX_REJECTED_SHARE * num_rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(r.reason for r in rejections).items())
        raise ValueError(
            f"at most {MAX_REJECTED_SHARE:.0%} of the rows may give no image. Received: {reasons} of {num_rows}, "
            f"the first in row {rejections[0].row}: {rejections[0].image!r:.99}. Is {column!r} the column?"
        )


# --- The contract ----------------------------------------------------------------------------------------


def batch(contents: Sequence[bytes]) -> tf.Tensor:
    """[num_images] string."""
    return tf.constant(list(contents), tf.string)


def make(encoder: ImageEncoder | ViTConfig, num_tasks: int, task: Task, config: FinetuneConfig) -> ImagePredictor:
    """A predictor with a copy of the encoder, or with one from scratch of these sizes; dropout is that of `config`."""
    sizes = encoder.config if isinstance(encoder, ImageEncoder) else encoder
    model = ImagePredictor(dataclasses.replace(sizes, dropout=config.dropout), num_tasks, task)
    if isinstance(encoder, ImageEncoder):
        model.encoder.set_weights(encoder.get_weights())
    return model


def restore(encoder: dict[str, Any], num_tasks: int, task: Task, config: FinetuneConfig) -> ImagePredictor:
    """A predictor whose weights are read afterwards; `encoder` has the fields of `ViTConfig`."""
    return ImagePredictor(ViTConfig(**encoder), num_tasks, task)
