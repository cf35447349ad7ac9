"""The study of images on made ones: files, labels that are drawn, budgets, and trials that are not run twice."""

import gzip
import struct

import numpy as np
import pytest

from benchmarks.images import run, trials
from benchmarks.images.datasets import FILES, read_labelled
from benchmarks.images.trials import (
    ARMS,
    FINETUNED,
    OBJECTIVES,
    SUPERVISED,
    UNTRAINED,
    Trial,
    draw_labelled,
    read_trials,
)

TINY = {"batch_size": 8, "max_learning_rate": 1e-3, "vit": "mini", "patch": 4, "dim": 8, "depth": 1, "num_heads": 2}


def write_idx(path, array, pack=False):
    content = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


def make_part(num, rng):
    """Images of three classes, each light in another third."""
    labels = (np.arange(num) % 3).astype(np.uint8)
    images = rng.integers(0, 100, [num, 12, 12]).astype(np.uint8)
    for image, label in zip(images, labels):
        image[4 * label : 4 * label + 4] += 100
    return images, labels


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    top, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part, num in (("train", 90), ("test", 30)):
        images, labels = make_part(num, rng)
        write_idx(top / FILES[f"{part}_images"], images)
        write_idx(top / f"{FILES[f'{part}_labels']}.gz", labels, pack=True)
    return top


def test_idx_files_are_read_plain_and_packed(directory):
    data = read_labelled(directory)
    images, labels = make_part(90, np.random.default_rng(0))
    np.testing.assert_array_equal(data.train_images, images[..., np.newaxis])
    np.testing.assert_array_equal(data.train_labels, labels)
    assert (data.test_images.shape, data.test_labels.shape) == ((30, 12, 12, 1), (30,))
    assert data.digest == read_labelled(directory.parent).digest  # found below, too


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must hold train-images-idx3-ubyte, plain or .gz. Received: no such file"),
        (b"PK\3\4", "must be an IDX file of bytes"),
        (b"\0\0\x08\x01" + struct.pack(">I", 4) + b"abc", "must have .* values. Received: 3"),
        (b"\0\0\x08\x01" + struct.pack(">I", 3) + b"abc", "train must have square images and as many labels"),
    ],
    ids=["missing", "other", "cut", "labels"],
)
def test_files_that_cannot_be_used(directory, tmp_path, content, message):
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    images = tmp_path / FILES["train_images"]
    images.unlink() if content is None else images.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_labelled(tmp_path)


def test_a_share_of_each_class_is_drawn_by_the_seed():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    rows = draw_labelled(labels, 0.1, 1)
    assert np.bincount(labels[rows]).tolist() == [10, 5, 1]
    np.testing.assert_array_equal(rows, draw_labelled(labels, 0.1, 1))
    assert rows.tolist() != draw_labelled(labels, 0.1, 2).tolist()
    np.testing.assert_array_equal(draw_labelled(labels, 1.0, 1), np.arange(153))


def test_a_trial_is_named_by_what_was_run(directory):
    data = read_labelled(directory)
    planned = run.list_pending([], list(ARMS), 2, 60.0, 50, data)
    assert len({trial.key for trial in planned}) == 2 * len(ARMS) == 2 * 13
    assert [trial.arm for trial in planned[:13]] == [*UNTRAINED, *OBJECTIVES, *SUPERVISED, *FINETUNED]
    assert {trial.arm for trial in planned if not trial.budget} == set(UNTRAINED)
    left = run.list_pending(planned[:20], list(ARMS), 2, 60.0, 50, data)
    assert left == planned[20:]
    # Another budget is another trial, but of arms that have none.
    again = run.list_pending(planned, list(ARMS), 1, 90.0, 50, data)
    assert {trial.arm for trial in again} == set(ARMS) - set(UNTRAINED)


def test_trials_run_once_and_are_judged(directory, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trials, "SETTINGS", TINY)
    monkeypatch.setattr(trials, "_COMPONENTS", 2)
    path = tmp_path / "trials.jsonl"
    arms = ["pixels", "pca", "random", "contrast", "finetuned_100"]
    options = ["--data", str(directory), "--budget-core-seconds", "0.4", "--seeds", "1", "--probe-size", "60"]
    command = [*options, "--trials", str(path), "--arms", *arms]
    assert run.main(command) == 0
    done = {trial.arm: trial for trial in read_trials(path)}
    assert list(done) == arms
    assert all(trial.settings == TINY for trial in done.values())
    for arm in ("pixels", "pca"):
        assert done[arm].metrics == {"linear": 1.0, "nearest": 1.0, "few_shot": 1.0}
    assert set(done["random"].metrics) == {"linear", "nearest", "few_shot"}
    assert done["random"].steps == 0
    for arm in ("contrast", "finetuned_100"):
        assert done[arm].steps > 2
        # The last step may pass the budget.
        assert 0.4 <= done[arm].core_seconds < 0.4 + 0.4
    assert done["finetuned_100"].metrics["accuracy"] > 0.4  # 1/3 by chance
    capsys.readouterr()
    content = path.read_bytes()
    path.write_bytes(content + b'{"key": "cut off by a kill')
    assert run.main(command) == 0
    assert path.read_bytes() == content
    assert capsys.readouterr().out == ""
    assert run.main(["--data", str(tmp_path)]) == 1
    assert "must hold train-images" in capsys.readouterr().err


def test_a_trial_of_an_arm_that_is_gone_is_left_out(tmp_path):
    trial = Trial("contrast", 0, "abc", 1.0, 10, TINY, metrics={"linear": 0.5})
    path = tmp_path / "trials.jsonl"
    path.write_text(trial.to_json() + "\n" + trial.to_json().replace('"contrast"', '"gone"') + "\n")
    assert read_trials(path) == [trial]
