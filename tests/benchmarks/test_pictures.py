"""The pictures of the page on images, of made ones."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.images import pictures
from benchmarks.images.datasets import LabelledImages
from benchmarks.images.training import make_encoder
from recsys_ssl.encoders.image.settings import PretrainConfig

TINY = {"size": 12, "patch": 4, "dim": 8, "depth": 1, "num_heads": 2, "batch_size": 8, "steps": 2}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, [num, 12, 12, 1]).astype(np.uint8) for num in (40, 20))
    train[7] = test[0]  # of the first class that is asked for
    labels = [(np.arange(num) % 3).astype(np.uint8) for num in (40, 20)]
    return LabelledImages(train, labels[0], test, labels[1])


def cell(picture, row, column):
    """The pixels of an image of a picture, at its own size."""
    side = 12 * pictures._SCALE + 2 * pictures._GAP
    rows, columns = (slice(place * side + pictures._GAP, (place + 1) * side - pictures._GAP) for place in (row, column))
    return picture[rows, columns][:: pictures._SCALE, :: pictures._SCALE]


def test_rows_are_laid_out_enlarged_on_white(data):
    picture = pictures.lay_out([data.test_images[:3], data.train_images[:3]])
    assert picture.shape == (2 * 28, 3 * 28)
    np.testing.assert_array_equal(cell(picture, 1, 2), data.train_images[2, ..., 0])
    assert (picture[:2] == 255).all()


def test_an_image_is_its_own_nearest_neighbour(data):
    encoder = make_encoder(PretrainConfig(**TINY))
    picture = pictures.draw_neighbours(data, encoder)
    np.testing.assert_array_equal(cell(picture, 0, 0), data.test_images[0, ..., 0])
    assert (cell(picture, 0, 1) == 255).all()
    np.testing.assert_array_equal(cell(picture, 0, 2), data.test_images[0, ..., 0])


def test_weights_with_a_rotation_token_lose_it():
    first, plain = (make_encoder(PretrainConfig(objective=name, **TINY)) for name in ("v1", "contrast"))
    pictures.with_weights(plain, first.get_weights())
    for given, taken in zip(first.get_weights(), plain.get_weights()):
        rows = [row for row in range(given.shape[1]) if row != 1] if given.shape != taken.shape else slice(None)
        np.testing.assert_array_equal(given[:, rows] if given.ndim > 1 else given, taken)


def test_the_head_learns_and_the_encoder_stays(data):
    config = PretrainConfig(objective="reconstruction", dropout=0.0, **TINY)
    weights = make_encoder(PretrainConfig(objective="reconstruction", **TINY, seed=5)).get_weights()
    model = pictures.train_head(data, config, weights)
    for given, kept in zip(weights, model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(given, kept)
    picture = pictures.draw_reconstructions(model, data.test_images[:4], config)
    assert picture.shape == (3 * 28, 4 * 28)
    assert not np.array_equal(cell(picture, 0, 0), cell(picture, 1, 0))


def test_pictures_are_small_files(data, tmp_path, capsys):
    shown = np.random.default_rng(0).integers(0, 256, [4, 14, 14, 1]).astype(np.uint8)  # of whole patches
    picture = pictures.draw_views(data._replace(train_images=shown), shown)
    pictures.save(picture, tmp_path / "views.png")
    with Image.open(tmp_path / "views.png") as image:
        assert (image.mode, image.size) == ("L", (4 * 32, 5 * 32))
    assert "views.png: " in capsys.readouterr().out


def test_missing_weights_are_one_line(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "read_labelled", lambda _: data)
    assert pictures.main(["--data", ".", "--weights", str(tmp_path / "none.npz"), "--to", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
