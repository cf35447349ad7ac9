"""Images of a table: packed pixels, what is missing, and what is rejected."""

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.encoders.image.column import read
from recsys_ssl.encoders.image.guess import tell
from recsys_ssl.encoders.image.pixels import unpack
from recsys_ssl.encoders.image.reading import ColumnConfig
from tests.encoders.image.made_images import as_uri, encode, grey, noise

URI = as_uri(grey(3))


def texts(values):
    return pa.array(values, pa.large_list(pa.large_string()))


def levels(images):
    """The level of each grey image, None where there is none."""
    return [int(unpack(packed[0]).min()) if packed else None for packed in images.to_pylist()]


@pytest.fixture
def data(tmp_path):
    for level in (1, 2):
        (tmp_path / f"{level}.png").write_bytes(grey(level))
    (tmp_path / "text.png").write_text("no image")
    return str(tmp_path)


def test_a_cell_becomes_its_pixels_and_a_missing_one_nothing(data):
    images, reasons = read(texts([["2.png"], [], [URI], ["1.png"]]), data_dir=data)
    assert images.type == pa.large_list(pa.large_binary())
    assert reasons == {}
    assert levels(images) == [2, None, 3, 1]
    assert unpack(images.to_pylist()[0][0]).shape == (28, 28, 1)


def test_each_reason_names_its_records(data):
    cells = [["1.png"], ["none.png"], ["text.png"], [], ["../x.png"], ["other.png"]]
    images, reasons = read(texts(cells), data_dir=data)
    found = {reason: np.flatnonzero(mask).tolist() for reason, mask in reasons.items()}
    assert found == {"no_file": [1, 5], "no_image": [2], "outside": [4]}
    assert levels(images) == [1] + [None] * 5


def test_bytes_are_images_themselves():
    cells = pa.array([[grey(8)], [], [b"1.png"]], pa.large_list(pa.large_binary()))
    images, reasons = read(cells)
    assert levels(images) == [8, None, None]
    assert {reason: mask.tolist() for reason, mask in reasons.items()} == {"no_image": [False, False, True]}


def test_settings_decide_size_channels_and_where_files_lie(data, tmp_path):
    (tmp_path / "posters").mkdir()
    image = noise(16, 16, 3)
    (tmp_path / "posters" / "7-large.png").write_bytes(encode(image))
    config = ColumnConfig(size=16, channels=3, path="posters/{}-large.png")
    images, reasons = read(texts([["7"], [URI], ["../7"]]), config, data)
    assert list(reasons) == ["outside"]
    np.testing.assert_array_equal(unpack(images.to_pylist()[0][0]), image)
    assert unpack(images.to_pylist()[1][0]).shape == (16, 16, 3)  # data URIs have no place


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("{}", ()),
        ("./{}", ()),
        ("{}/large.jpg", ()),
        ("posters/{}.jpg", ("posters",)),
        ("a/b/poster-{}.jpg", ("a/b",)),
        ("a/posters.ZIP/deep/{}", ("a/posters.ZIP",)),
    ],
)
def test_the_path_tells_which_files_to_watch(path, found):
    assert ColumnConfig(path=path).file_paths == found


def test_files_of_a_remote_directory_are_refused():
    images, reasons = read(texts([["1.png"], [URI]]), data_dir="gs://bucket/data")
    assert levels(images) == [None, 3]
    assert list(reasons) == ["remote_data_dir"]


def test_no_record_gives_no_image():
    images, reasons = read(texts([]))
    assert (len(images), images.type, reasons) == (0, pa.large_list(pa.large_binary()), {})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["a.jpg", "b/c.JPEG", "d e.png", "f.webp", "z.zip/g.gif"], "the texts name images"),
        (["a.jpg"] * 9 + ["x"], "the texts name images"),
        (["a.jpg"] * 8 + ["x"] * 2, None),
        ([URI], "the texts are images in data URIs"),
        ([grey(1).decode("utf-8", "replace")], "the values are files of images"),
        ([encode(noise(4, 4), "JPEG").decode("utf-8", "replace")], "the values are files of images"),
        ([encode(noise(4, 4), "WEBP").decode("utf-8", "replace")], "the values are files of images"),
        (["https://host/a.jpg", "https://host/b.jpg"], None),
        (["png", "jpg"], None),
        (["a.txt"], None),
    ],
)
def test_texts_that_look_like_images(values, why):
    assert tell(values, []) == why
