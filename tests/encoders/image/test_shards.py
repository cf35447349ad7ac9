"""Preparing images for pre-training: arrays, the split, what is rejected, and preparations that were killed."""

import dataclasses
import json
import os

import numpy as np
import pytest

from recsys_ssl.encoders.image import files, shards
from recsys_ssl.encoders.image.files import load_all, read_images
from recsys_ssl.encoders.image.pixels import unpack
from recsys_ssl.encoders.image.reading import ImageSize
from recsys_ssl.encoders.image.shards import prepare
from tests.encoders.image.made_images import encode, noise

NUM_IMAGES = 200
SETTINGS = {"size": 6, "channels": 1, "seed": 3, "validation_share": 0.25}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """200 images, of which every twentieth cannot be read."""
    folder = tmp_path_factory.mktemp("images")
    for place in range(NUM_IMAGES):
        content = b"no image" if place % 20 == 7 else encode(noise(6, 6, seed=place))
        (folder / f"{place:03d}.png").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    return prepare(source, tmp_path_factory.mktemp("whole"), **SETTINGS)


def in_order(images):
    """The images of an array by their pixels, which tell them apart."""
    return sorted(image.tobytes() for image in images)


def test_all_images_are_there_once_in_their_order(source, whole):
    results = list(load_all(read_images(source), ImageSize(6, 1)))
    pixels = [unpack(result).tobytes() for result in results if isinstance(result, bytes)]
    assert len(pixels) == NUM_IMAGES - 10
    assert in_order([*whole.train, *whole.validation]) == sorted(pixels)
    train = {image.tobytes() for image in whole.train}
    assert [image.tobytes() for image in whole.train] == [image for image in pixels if image in train]
    assert whole.train.shape[1:] == whole.validation.shape[1:] == (6, 6, 1)
    assert isinstance(whole.train, np.memmap)
    assert not whole.train.flags.writeable
    assert whole.summary == shards.Summary(NUM_IMAGES, len(whole.train), len(whole.validation), {"no_image": 10})


def test_what_is_rejected_is_listed(whole):
    lines = [json.loads(line) for line in (whole.directory / "rejected.jsonl").read_text().splitlines()]
    assert whole.rejected == {"no_image": 10}
    assert lines == [{"row": row, "reason": "no_image", "image": f"{row:03d}.png"} for row in range(7, 200, 20)]


def test_the_seed_and_the_share_decide_who_is_validated_on(source, whole, tmp_path):
    # 190 draws of 0.25: 47.5 +- 6.
    assert 47.5 - 4 * 6 < len(whole.validation) < 47.5 + 4 * 6
    other = prepare(source, tmp_path, **{**SETTINGS, "seed": 4})
    more = prepare(source, tmp_path, **{**SETTINGS, "validation_share": 0.5})
    none = prepare(source, tmp_path, **{**SETTINGS, "validation_share": 0.0})
    held_out = set(in_order(whole.validation))
    assert set(in_order(other.validation)) != held_out
    assert set(in_order(more.validation)) > held_out
    assert none.validation.shape == (0, 6, 6, 1)
    assert len(none.train) == 190
    assert len({whole.name, other.name, more.name, none.name}) == 4


def test_equal_images_are_on_one_side(tmp_path):
    images = noise(40, 6, 6)
    np.save(tmp_path / "x.npy", np.concatenate([images] * 3))
    found = prepare(tmp_path / "x.npy", tmp_path, **SETTINGS)
    assert not set(in_order(found.train)) & set(in_order(found.validation))
    assert len(set(in_order(found.validation))) * 3 == len(found.validation) > 0


def test_workers_prepare_the_same(source, whole, tmp_path):
    found = prepare(source, tmp_path, **SETTINGS, workers=2)
    assert (found.name, found.summary) == (whole.name, whole.summary)
    np.testing.assert_array_equal(found.train, whole.train)
    np.testing.assert_array_equal(found.validation, whole.validation)


@pytest.mark.parametrize("killed_at", [0, 40, 90, 199])
def test_a_killed_preparation_goes_on(source, whole, tmp_path, monkeypatch, killed_at):
    monkeypatch.setattr(shards, "SAVE_EVERY", 30)
    monkeypatch.setattr(files, "_CHUNK_SIZE", 4)
    monkeypatch.setattr(shards, "_TELL_EVERY", 1)
    told = []

    def die(phase, done, most):
        if phase == "read images":
            told.append(done)
            assert most == NUM_IMAGES
            if done == killed_at:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path, **SETTINGS, tell=die)
    (directory,) = tmp_path.iterdir()
    # What was written after the last note, maybe in part, is no good.
    for name in ("train.u8", "validation.u8", "rejected.jsonl"):
        with open(directory / name, "ab") as file:
            file.write(b"half an image")
    told.clear()
    killed_at = None
    found = prepare(source, tmp_path, **SETTINGS, tell=die)
    assert told[0] in range(0, 200, 30)
    assert found.summary == whole.summary
    np.testing.assert_array_equal(found.train, whole.train)
    np.testing.assert_array_equal(found.validation, whole.validation)
    assert (found.directory / "rejected.jsonl").read_bytes() == (whole.directory / "rejected.jsonl").read_bytes()


def test_a_finished_preparation_is_not_repeated_but_a_changed_source_is_another(tmp_path):
    (tmp_path / "images").mkdir()
    for place in range(3):
        (tmp_path / "images" / f"{place}.png").write_bytes(encode(noise(6, 6, seed=place)))

    def run(**changes):
        phases = []
        found = prepare(
            tmp_path / "images", tmp_path / "to", **{**SETTINGS, **changes}, tell=lambda *at: phases.append(at)
        )
        return found.name, "read images" in {phase for phase, *_ in phases}

    name, is_new = run()
    assert is_new
    assert run() == (name, False)
    others = [run(size=7), run(channels=3)]
    os.utime(tmp_path / "images" / "1.png", ns=(5, 5))
    others.append(run())
    (tmp_path / "images" / "3.png").write_bytes(b"?")
    others.append(run())
    assert all(is_new for _, is_new in others)
    assert len({name, *(other for other, _ in others)}) == 5


def test_pixels_count_by_their_content(tmp_path):
    array = noise(5, 6, 6)
    names = []
    for change in (0, 0, 1):
        array[2, 3, 3] += change
        np.save(tmp_path / "x.npy", array)
        names.append(prepare(tmp_path / "x.npy", tmp_path, **SETTINGS).name)
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size must be in 1-256"),
        ({"channels": 4}, "channels must be 1"),
        ({"validation_share": 1.0}, r"validation_share must be in \[0, 1\). Received: 1.0"),
    ],
)
def test_settings_have_bounds(source, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        prepare(source, tmp_path, **{**SETTINGS, **change})
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_set_does_not_change(whole):
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.train = None
