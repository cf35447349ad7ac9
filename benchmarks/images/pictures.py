"""Draws the pictures of docs/images.md: corrupted views, reconstructions and nearest neighbours.

    python -m benchmarks.images.pictures --data DIR --weights FILE --reconstruction-weights FILE

DIR holds the IDX files of Fashion-MNIST (MIT licence), see `run.py`, and FILE the weights of an encoder of its size, of
any objective, that the study left in `build/images-study/weights`. The study keeps no heads: that of the
reconstructions is trained here, on the encoder as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks.claims import ROOT
from benchmarks.images.datasets import LabelledImages, read_labelled
from benchmarks.images.training import encode, make_encoder
from benchmarks.images.trials import make_config
from recsys_ssl import seeds
from recsys_ssl.encoders.image.encoder import ImageEncoder
from recsys_ssl.encoders.image.pretext import PRETEXT
from recsys_ssl.encoders.image.settings import PretrainConfig
from recsys_ssl.encoders.image.sit import SiT, make_views
from recsys_ssl.encoders.image.views import denormalise
from recsys_ssl.encoders.pretrain_step import PretrainStep

VIEWS, RECONSTRUCTIONS, NEIGHBOURS = "views.png", "reconstructions.png", "neighbours.png"
_OBJECTIVES = ("contrast", "v1", "momentum", "reconstruction")
"""A row of corrupted views each."""
_COLUMNS = 12
_ASKED, _FOUND = 8, 9
"""Test images whose neighbours are shown, and how many of each."""
_AMONG = 20_000
"""Training images among which neighbours are looked for."""
_SCALE, _GAP = 2, 2
"""Of a pixel, and between pictures, in pixels."""
_WHITE = 255


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of the IDX files, plain or .gz")
    parser.add_argument("--weights", type=Path, required=True, help="of the encoder that finds neighbours")
    parser.add_argument(
        "--reconstruction-weights", type=Path, help="of the encoder below the reconstructions; --weights"
    )
    parser.add_argument("--steps", type=int, default=1000, help="of training the head of the reconstructions")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args(arguments)
    try:
        data = read_labelled(options.data)
        config = make_config(data, "reconstruction", seed=0, steps=options.steps, dropout=0.0)
        weights = [read_weights(path) for path in (options.weights, options.reconstruction_weights or options.weights)]
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    options.to.mkdir(parents=True, exist_ok=True)
    shown = data.test_images[:_COLUMNS]
    save(draw_views(data, shown), options.to / VIEWS)
    save(draw_neighbours(data, with_weights(make_encoder(config), weights[0])), options.to / NEIGHBOURS)
    save(draw_reconstructions(train_head(data, config, weights[1]), shown, config), options.to / RECONSTRUCTIONS)
    return 0


def read_weights(path: Path) -> list[np.ndarray]:
    """The weights of an encoder, as `trials.run_trial` writes them.

    Raises:
        OSError, ValueError: there is no such file, or it is another.
    """
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def with_weights(encoder: ImageEncoder, weights: Sequence[np.ndarray]) -> ImageEncoder:
    """The encoder with these weights; the token of rotation, which only the first version has, is left out."""
    fitting = [
        given if given.shape == own.shape else np.delete(given, 1, axis=1)
        for given, own in zip(weights, encoder.get_weights(), strict=True)
    ]
    encoder.set_weights(fitting)
    return encoder


def train_head(data: LabelledImages, config: PretrainConfig, weights: Sequence[np.ndarray]) -> SiT:
    """A model whose encoder has these weights, and keeps them, and whose head is trained to reconstruct."""
    seeds.set_initial_weights(config.seed)
    model = SiT(config)
    with_weights(model.encoder, weights).trainable = False
    take = PretrainStep(model, PRETEXT, config).compile()
    rng = np.random.default_rng(config.seed)
    for _ in range(config.steps):
        take(data.train_images[rng.integers(0, len(data.train_images), config.batch_size)])
    return model


# --- Pictures --------------------------------------------------------------------------------------------


def draw_views(data: LabelledImages, shown: np.ndarray) -> np.ndarray:
    """Rows: the images, then a view of each as every objective makes it."""
    rows = [shown]
    for objective in _OBJECTIVES:
        views = make_views(tf.constant(shown), make_config(data, objective, seed=0), tf.constant([0, 3], tf.int64))
        rows.append(to_bytes(views.corrupted[: len(shown)]))
    return lay_out(rows)


def draw_reconstructions(model: SiT, shown: np.ndarray, config: PretrainConfig) -> np.ndarray:
    """Rows: the view as it is, corrupted, and as the model reconstructs it."""
    views = make_views(tf.constant(shown), config, tf.constant([0, 5], tf.int64))
    return lay_out([to_bytes(images) for images in (views.clean, views.corrupted, model(views).reconstructed)])


def draw_neighbours(data: LabelledImages, encoder: ImageEncoder) -> np.ndarray:
    """Rows: a test image of a class, then the training images whose vectors are the most alike, by cosine."""
    classes = np.unique(data.test_labels)[:_ASKED]
    asked = data.test_images[[np.flatnonzero(data.test_labels == label)[0] for label in classes]]
    known = data.train_images[:_AMONG]
    ours, theirs = (normalise_rows(encode(encoder, images)) for images in (asked, known))
    nearest = np.argsort(-ours @ theirs.T, axis=1, kind="stable")[:, :_FOUND]
    gap = np.full_like(asked[:1], _WHITE)
    return lay_out([np.concatenate([image[np.newaxis], gap, known[row]]) for image, row in zip(asked, nearest)])


def normalise_rows(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def to_bytes(images: tf.Tensor) -> np.ndarray:
    """Normalised images as uint8."""
    return np.clip(np.round(255.0 * denormalise(images).numpy()), 0, 255).astype(np.uint8)


def lay_out(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[height, width] uint8: rows of grey images, [num_columns, size, size, 1] each, enlarged, on white."""
    table = np.stack(rows)[..., 0].repeat(_SCALE, axis=2).repeat(_SCALE, axis=3)
    padded = np.pad(table, [(0, 0), (0, 0), (_GAP, _GAP), (_GAP, _GAP)], constant_values=_WHITE)
    return np.concatenate([np.concatenate(list(row), axis=1) for row in padded], axis=0)


def save(picture: np.ndarray, path: Path) -> None:
    Image.fromarray(picture).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
