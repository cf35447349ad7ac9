"""Properties of images: the table that is read, the split, and the head on the encoder."""

import base64
import dataclasses
import gzip
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recsys_ssl.encoders.finetune import finetune, load_predictor, predict, save_predictor
from recsys_ssl.encoders.image import predict as module
from recsys_ssl.encoders.image.encoder import ImageEncoder, unpack
from recsys_ssl.encoders.image.predictor import ImagePredictor
from recsys_ssl.encoders.image.settings import FinetuneConfig, ViTConfig
from recsys_ssl.evaluation.prediction import Split
from tests.encoders.image.made_batches import SEED, make_images, pack

CONFIG = ViTConfig(size=4, patch=2, dim=8, depth=1, num_heads=2, dropout=0.0)
SMALL = FinetuneConfig(epochs=3, warmup_epochs=0, batch_size=20, learning_rate=0.03, dropout=0.0)
IMAGES = make_images(60, 4)
IMAGES[::2] //= 8  # dark
PACKED = [pack(image) for image in IMAGES]
LIGHT = (np.arange(60) % 2).astype(np.float32)[:, np.newaxis]
SPLIT = Split(np.arange(40), np.arange(40, 50), np.arange(50, 60))


def uri(image):
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


# --- Tables ----------------------------------------------------------------------------------------------


def test_images_and_targets_are_read_and_a_bad_row_is_told(tmp_path):
    Image.fromarray(IMAGES[1][..., 0]).save(tmp_path / "one.png")
    cells = [uri(IMAGES[0]), "one.png", *[uri(image) for image in IMAGES[2:40]], "none.png"]
    lines = [f'"{cell}";{row};{"" if row == 1 else 0.5 * row}' for row, cell in enumerate(cells)]
    (tmp_path / "table.csv").write_text("photo;number; half\n" + "\n\n".join(lines) + "\n")
    table = module.read_table(tmp_path / "table.csv", "photo", ["half", "number"], encoder=ImageEncoder(CONFIG))
    assert table.rows.tolist() == list(range(40))
    assert table.contents == PACKED[:40]
    assert table.names == ["half", "number"]
    expected = np.stack([0.5 * np.arange(40), np.arange(40)], axis=1)
    expected[1, 0] = np.nan
    np.testing.assert_array_equal(table.targets, expected)
    assert table.texts[1] == "one.png"
    assert [(rejection.row, rejection.reason) for rejection in table.rejections] == [(40, "no_file")]
    alone = module.read_table(tmp_path / "table.csv", "photo", [])
    assert alone.targets.shape == (40, 0)
    assert alone.contents[0][2:4] == bytes([28, 1])  # the default's size


@pytest.mark.parametrize(
    ("text", "targets", "message"),
    [
        ('photo,y\n"{0}",1\nno.png,2\n', ["y"], "at most 5% of the rows may give no image. Received: 1 no_file of 2"),
        ('photo,y\n"{0}",much\n', ["y"], "column 'y' must hold numbers.* 'much' in row 0"),
        ('photo,y\n"{0}",inf\n', None, "column 'y' must hold numbers"),
        ('photo,y\n"{0}",1\n', ["z"], "not there once: z"),
        ('photo,y,y\n"{0}",1,2\n', ["y"], "not there once: y"),
    ],
    ids=["rejected", "text", "infinite", "missing", "twice"],
)
def test_a_table_that_cannot_be_used(tmp_path, text, targets, message):
    (tmp_path / "table.csv").write_text(text.format(uri(IMAGES[0])))
    with pytest.raises(ValueError, match=message):
        module.read_table(tmp_path / "table.csv", "photo", targets, encoder=ImageEncoder(CONFIG))


@pytest.mark.parametrize("last", ["29.png", "none.png"])
def test_targets_without_a_header_are_an_error(tmp_path, last):
    """A header that is the first row would give each image the target of the next one."""
    for row in range(30):
        Image.fromarray(IMAGES[row][..., 0]).save(tmp_path / f"{row}.png")
    names = [*(f"{row}.png" for row in range(29)), last]
    (tmp_path / "table.csv").write_text("".join(f"{name},{row}\n" for row, name in enumerate(names)))
    with pytest.raises(ValueError, match="a table of targets must have a header. Received: none in"):
        module.read_table(tmp_path / "table.csv", "1", ["0"], encoder=ImageEncoder(CONFIG))


def test_a_gzipped_table_is_read(tmp_path):
    text = "photo,y\n" + "".join(f'"{uri(image)}",{row}\n' for row, image in enumerate(IMAGES[:20]))
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(text.encode()))
    table = module.read_table(tmp_path / "table.csv.gz", "photo", ["y"], encoder=ImageEncoder(CONFIG))
    assert table.contents == PACKED[:20]
    assert table.targets[:, 0].tolist() == list(range(20))
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(text.encode())[:-40])
    with pytest.raises(ValueError, match="a table must be CSV in UTF-8. Received: "):
        module.read_table(tmp_path / "table.csv.gz", "photo", ["y"], encoder=ImageEncoder(CONFIG))


def test_images_as_text_that_begin_alike_are_told_apart(tmp_path):
    def to_bmp(image):
        file = io.BytesIO()
        Image.fromarray(image[..., 0]).resize((28, 28)).save(file, "BMP")
        return "data:image/bmp;base64," + base64.b64encode(file.getvalue()).decode()

    lines = [f'"{to_bmp(image)}",{row}' for row, image in enumerate(IMAGES[:50])]
    (tmp_path / "table.csv").write_text("\n".join(["photo,y", *lines]) + "\n")
    table = module.read_table(tmp_path / "table.csv", "photo", ["y"], encoder=ImageEncoder(CONFIG))
    assert [len(part) for part in module.split_randomly(table.texts, 0)] == [40, 5, 5]


def test_a_split_keeps_equal_texts_together_and_is_a_function_of_the_seed():
    texts = [f"{row % 50}.png" for row in range(100)]
    parts = module.split_randomly(texts, 1)
    assert [len(part) for part in parts] == [80, 10, 10]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    for part in parts:
        assert {row % 50 for row in part} == {row % 50 for row in part if row < 50}
    np.testing.assert_array_equal(module.split_randomly(texts, 1).test, parts.test)
    assert module.split_randomly(texts, 2).test.tolist() != parts.test.tolist()


# --- Predictor -------------------------------------------------------------------------------------------


def test_a_prediction_is_linear_in_the_vector():
    for task in ("classification", "regression"):
        model = ImagePredictor(CONFIG, 2, task)
        model.standardise(np.array([10.0, -3.0]), np.array([2.0, 0.5]))
        kernel, bias = (variable.numpy() for variable in model.head_variables)
        outputs = model.encoder.encode(unpack(module.batch(PACKED[:5]))).numpy() @ kernel + bias
        expected = 1 / (1 + np.exp(-outputs)) if task == "classification" else outputs * [2.0, 0.5] + [10.0, -3.0]
        np.testing.assert_allclose(model.predict_targets(module.batch(PACKED[:5])), expected, rtol=1e-4, atol=1e-5)
        targets = np.array([[1.0, np.nan], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, np.nan]], np.float32)
        if task == "classification":
            losses = np.log(1 + np.exp(-np.where(targets == 1, outputs, -outputs)))
        else:
            losses = (outputs - targets) ** 2
        found = model.loss(module.batch(PACKED[:5]), tf.constant(targets), SMALL, SEED)
        assert float(found) == pytest.approx(losses[np.isfinite(targets)].mean(), rel=1e-4)
    np.testing.assert_allclose(model.to_outputs(tf.constant([[14.0, -3.5]])), [[2.0, -1.0]])


@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["linear", "full"])
def test_a_class_is_learned_with_the_encoder_or_without(scale, tmp_path):
    encoder = ImageEncoder(CONFIG)
    before = encoder.get_weights()
    config = dataclasses.replace(SMALL, encoder_lr_scale=scale, learning_rate=0.03 if scale else 0.3)
    found = finetune("image", encoder, PACKED, LIGHT, SPLIT, "classification", config)
    assert found.metrics["test"] > 0.9
    moved = [(ours != theirs).any() for ours, theirs in zip(found.model.encoder.get_weights(), before)]
    assert any(moved) == (scale > 0)
    for ours, theirs in zip(encoder.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)
    if scale:
        save_predictor(found.model, "image", config, ["light"], "photo", str(tmp_path / "predictor"))
        stored = load_predictor(tmp_path / "predictor", "image")
        np.testing.assert_allclose(predict("image", stored.model, PACKED), found.predictions, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((2, "ranking"), "task must be one of"), ((0, "regression"), "num_tasks must be 1 or more")],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImagePredictor(CONFIG, *arguments)
