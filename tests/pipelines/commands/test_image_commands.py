"""`recsys-ssl pretrain image`, `embed image`, `finetune image` and `predict image` from files to files."""

import base64
import csv
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recsys_ssl.encoders import store
from recsys_ssl.encoders.image.embed import Embedder

SETTINGS = ["size=8", "patch=4", "dim=8", "depth=1", "num_heads=2", "steps=2", "eval_every=2", "batch_size=8"]
SETTINGS += ["validation_share=0.2"]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # nothing wraps
    monkeypatch.setenv("TERM", "dumb")  # nor has colours


def encode(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_images_become_an_encoder_vectors_and_a_predictor(cli, tmp_path):
    """All commands, since each needs what the one before makes."""
    photos, work = tmp_path / "photos", tmp_path / "work"
    photos.mkdir()
    images = np.random.default_rng(0).integers(0, 256, [60, 8, 8]).astype(np.uint8)
    images[::2] //= 8
    for number, image in enumerate(images):
        (photos / f"{number:02}.png").write_bytes(encode(image))
    (photos / "99.png").write_bytes(b"no image")

    settings = [f"--set=pretrain.{setting}" for setting in SETTINGS]
    result = cli("pretrain", "image", "--data", photos, "--workdir", work, *settings)
    assert result.status == 0, result.output
    for part in ("✓ pretrain image", "rejected: 1 no_image", "contrast top1", "mean image l1", str(work / "encoder")):
        assert part in result.output
    facts = json.loads((work / "pretrain.json").read_text())
    assert facts["data"]["num_train"] + facts["data"]["num_validation"] == 60
    assert facts["last_step"] == 2

    vectors = tmp_path / "vectors.parquet"
    result = cli("embed", "image", "--model", work / "encoder", "--data", photos, "--to", vectors)
    assert result.status == 0, result.output
    assert "60 vectors, 1 rejected" in result.output
    table = pq.read_table(vectors).to_pydict()
    assert table["text"] == [f"{number:02}.png" for number in range(60)]
    embedder = Embedder(store.load(work / "encoder"))
    expected = embedder.embed([str(photos / name) for name in table["text"]])
    np.testing.assert_allclose(np.array(table["vector"], np.float32), expected, rtol=1e-4, atol=1e-5)

    with open(tmp_path / "table.csv", "w", newline="") as file:
        rows = [[f"photos/{number:02}.png", number % 2] for number in range(58)]
        rows += [[f"data:image/png;base64,{base64.b64encode(encode(image)).decode()}", ""] for image in images[58:]]
        csv.writer(file).writerows([["photo", "light"], *rows])
    table = ["--data", tmp_path / "table.csv", "--column", "photo"]
    tune = ["--set=finetune.epochs=3", "--set=finetune.warmup_epochs=0", "--set=finetune.learning_rate=0.03"]
    arguments = [*table, "--target", "light", "--workdir", tmp_path / "light", *tune]
    result = cli("finetune", "image", "--model", work / "encoder", *arguments)
    assert result.status == 0, result.output
    metrics = json.loads((tmp_path / "light" / "metrics.json").read_text())
    assert metrics["split"] == "random"

    to = tmp_path / "predicted.csv"
    result = cli("predict", "image", "--model", tmp_path / "light" / "predictor", *table, "--to", to)
    assert result.status == 0, result.output
    with open(to, newline="") as file:
        predicted = [float(row["light"]) for row in csv.DictReader(file)]
    light = np.arange(60) % 2 == 1
    assert len(predicted) == 60
    assert np.mean(np.array(predicted)[light]) > np.mean(np.array(predicted)[~light]) + 0.2
