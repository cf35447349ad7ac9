"""Streams of images: every kind of source, its order, its memory, and what is wrong with others."""

import csv
import gc
import gzip
import hashlib
import struct
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.encoders.image import files
from recsys_ssl.encoders.image.files import RawImage, Rejection, load_all, read_images
from recsys_ssl.encoders.image.pixels import unpack
from recsys_ssl.encoders.image.reading import ImageSize
from tests.encoders.image.made_images import as_uri, encode, grey, noise
from tests.encoders.image.test_cells import write_tar, write_zip

SIZE = ImageSize(4, 1)
NAMES = ["a.png", "b/1.png", "b/2.PNG", "c.png"]
ARRAYS = noise(5, 6, 4)


def levels(source, column=None, workers=1):
    """The level of each image, or why there is none."""
    results = load_all(read_images(source, column), SIZE, workers)
    return [result.reason if isinstance(result, Rejection) else int(unpack(result).min()) for result in results]


@pytest.fixture
def folder(tmp_path):
    """Images whose levels are their places."""
    for level, name in enumerate(NAMES):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(grey(level))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


# --- Sources ---------------------------------------------------------------------------------------------


def test_a_directory_is_read_by_path(folder):
    assert [str(image) for image in read_images(folder)] == ["a.png", "c.png", "b/1.png", "b/2.PNG"]
    assert levels(folder) == [0, 3, 1, 2]
    assert levels(folder / "c.png") == [3]


@pytest.mark.parametrize(("name", "write"), [("x.zip", write_zip), ("x.tar", write_tar)])
def test_an_archive_is_read_in_its_order(tmp_path, name, write):
    write(tmp_path / name, {"z.png": grey(9), "notes.txt": b"", "d/a.png": grey(8), "bad.png": b"?"})
    assert [str(image) for image in read_images(tmp_path / name)] == ["z.png", "d/a.png", "bad.png"]
    assert levels(tmp_path / name) == [9, 8, "no_image"]


def write_table(path, names, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";" if path.suffix == ".txt" else ",").writerows([names] * bool(names) + rows)


def test_a_column_of_a_table_names_files_beside_it(folder):
    rows = [["1", "c.png", "b/1.png"], ["2", "", "a.png"], ["3", "none.png", ""]]
    write_table(folder / "t.csv", ["id", "photo", "other"], rows)
    write_table(folder / "t.txt", [], rows)
    assert levels(folder / "t.csv") == [3, "empty", "no_file"]
    assert levels(folder / "t.csv", "other") == [1, 0, "empty"]
    assert levels(folder / "t.txt") == [3, "empty", "no_file"]
    assert levels(folder / "t.txt", "3") == [1, 0, "empty"]
    assert [str(image) for image in read_images(folder / "t.csv", "other")] == ["b/1.png", "a.png", ""]


def test_a_list_of_paths_is_a_table_of_one_column(folder):
    (folder / "list.txt").write_text("c.png\nb/1.png\n../x.png\n")
    assert levels(folder / "list.txt") == [3, 1, "outside"]


def test_a_cell_of_a_table_may_be_a_long_data_uri(tmp_path):
    content = encode(noise(300, 300, 3))
    uri = as_uri(content)
    assert len(uri) > csv.field_size_limit() or csv.field_size_limit() > 131_072
    write_table(tmp_path / "t.csv", ["photo"], [[uri]])
    (image,) = read_images(tmp_path / "t.csv")
    assert image.cell == uri
    told = hashlib.sha256(uri.encode()).hexdigest()[:12]
    assert str(image) == f"{uri[:100]}... ({len(uri):,} characters, {told})"
    ((packed),) = load_all(iter([image]), SIZE)
    assert unpack(packed).shape == (4, 4, 1)


BYTES = [grey(4), None, b"", grey(6), b"?"]


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        ("photo", pa.binary(), BYTES),
        ("photo", pa.large_binary(), BYTES),
        ("photo.bytes", pa.struct([("bytes", pa.binary()), ("path", pa.string())]), BYTES),
        ("photo", pa.string(), ["a.png", None, "", "c.png", "bad.png"]),
        ("photo", pa.dictionary(pa.int32(), pa.string()), ["a.png", None, "", "c.png", "bad.png"]),
    ],
    ids=["bytes", "large bytes", "struct", "paths", "dictionary"],
)
def test_a_column_of_parquet_holds_bytes_or_paths(folder, column, kind, values):
    if pa.types.is_struct(kind):
        values = [{"bytes": value, "path": "x"} for value in values]
    (folder / "bad.png").write_text("no image")
    table = pa.table({"id": pa.array(range(5)), "photo": pa.array(values, kind)})
    pq.write_table(table, folder / "t.parquet", row_group_size=2)
    first = 4 if column == "photo.bytes" or "binary" in str(kind) else 0
    expected = [first, "empty", "empty", 6 if first else 3, "no_image"]
    assert levels(folder / "t.parquet") == levels(folder / "t.parquet", column) == expected


def write_idx(path, array, opener=open):
    with opener(path, "wb") as file:
        file.write(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


@pytest.mark.parametrize("name", ["x.npy", "one.npz", "two.npz", "train-images-idx3-ubyte", "x-idx3-ubyte.gz"])
@pytest.mark.parametrize("shape", [(5, 6, 4), (5, 6, 4, 1), (5, 6, 4, 3)], ids=["grey", "one channel", "colour"])
def test_arrays_are_read_row_by_row(tmp_path, name, shape):
    array = noise(*shape)
    {
        "x.npy": lambda path: np.save(path, array),
        "one.npz": lambda path: np.savez(path, anything=array),
        "two.npz": lambda path: np.savez_compressed(path, y=np.zeros(5), x_train=array, x_test=array[:1]),
        "train-images-idx3-ubyte": lambda path: write_idx(path, array),
        "x-idx3-ubyte.gz": lambda path: write_idx(path, array, gzip.open),
    }[name](tmp_path / name)
    found = list(read_images(tmp_path / name))
    assert [str(image) for image in found] == [f"{name}:{row}" for row in range(5)]
    np.testing.assert_array_equal([image.cell for image in found], array)
    if name == "two.npz":
        assert len(list(read_images(tmp_path / name, "x_test"))) == 1


# --- Errors ----------------------------------------------------------------------------------------------


def make(tmp_path, name):
    """A faulty source of the name."""
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif name == "empty.zip":
        write_zip(path, {"a.txt": b""})
    elif name == "bad.zip":
        path.write_bytes(b"no archive")
    elif name == "x.tar.gz":
        write_tar(path, {"a.png": grey(1)}, "w:gz")
    elif name == "float.npy":
        np.save(path, np.zeros((2, 4, 4), np.float32))
    elif name == "columns.npy":
        np.save(path, np.asfortranarray(ARRAYS))
    elif name == "flat.npy":
        np.save(path, np.zeros((2, 16), np.uint8))
    elif name == "many.npz":
        np.savez(path, a=ARRAYS, b=ARRAYS)
    elif name == "cut.gz":
        write_idx(path, ARRAYS, gzip.open)
        path.write_bytes(path.read_bytes()[:-20])
    elif name == "cut-idx3-ubyte":
        write_idx(path, ARRAYS)
        path.write_bytes(path.read_bytes()[:-1])
    elif name in ("words.csv", "known.csv"):
        path.write_text("id,name\n1,x\n2,y\n")
    elif name == "empty.csv":
        path.write_text("")
    elif name == "latin.csv":
        path.write_bytes(b"photo\n\xe9.png\n")
    elif name == "bad.parquet":
        path.write_bytes(b"PAR1 no table")
    elif name == "words.parquet":
        pq.write_table(pa.table({"id": [1], "name": ["x"]}), path)
    elif name == "labels-idx1-ubyte":
        path.write_bytes(b"\0\0\x08\x01\0\0\0\1\5")
    return path


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("none", None, "no file .*none"),
        ("empty", None, r"there must be images, named .jpg, .*none in .*empty'"),
        ("empty.zip", None, "there must be images"),
        ("bad.zip", None, "an archive must be whole. Received: .*bad.zip', bad_archive"),
        ("x.tar.gz", None, "Unpack it and name the directory, or make it a .tar or .zip"),
        ("float.npy", None, "must be uint8, rows first. Received: float32 in"),
        ("columns.npy", None, "Received: uint8, columns first in"),
        ("flat.npy", None, r"Received: \[2, 16\] in"),
        ("many.npz", None, "Received: None of .*which has a, b. Name one by --column"),
        ("many.npz", "c", "Received: 'c' of .*which has a, b"),
        ("cut.gz", None, "a file of images must be whole"),
        ("cut-idx3-ubyte", None, "it ends within image 4 of 5"),
        ("labels-idx1-ubyte", None, "must be a directory, an archive, a table, .npy, .npz or IDX"),
        ("words.csv", None, "none that looks like images; there are 'id', 'name'. Name one of them by --column"),
        ("known.csv", "photo", "Received: 'photo'; there are 'id', 'name'"),
        ("empty.csv", None, "whose first line is empty"),
        ("latin.csv", None, "a table must be CSV in UTF-8"),
        ("bad.parquet", None, "a table must be whole"),
        ("words.parquet", None, "none that looks like images; there are 'id', 'name'"),
        ("words.parquet", "id", "Received: 'id'; there are"),
        ("empty", "photo", "only tables and .npz have columns. Received: column 'photo'"),
    ],
)
def test_a_faulty_source_is_told_in_one_line(tmp_path, name, column, message):
    path = make(tmp_path, name)
    with pytest.raises(FileNotFoundError if name == "none" else ValueError, match=message) as error:
        list(read_images(path, column))
    assert "\n" not in str(error.value)


# --- Streams ---------------------------------------------------------------------------------------------


def test_workers_give_the_same(folder):
    images = [*read_images(folder), RawImage("no", b"?"), RawImage("array", ARRAYS[0])] * 20
    one, two = (list(load_all(iter(images), SIZE, workers, first_row=7)) for workers in (1, 2))
    assert one == two
    assert one[4] == Rejection(11, "no_image", "no")
    assert len(one) == len(images)


def test_texts_and_bytes_are_images_too(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = list(load_all(iter(["a.png", grey(5), "none.png", b""]), SIZE))
    assert [int(unpack(packed).min()) for packed in found[:2]] == [0, 5]
    assert found[2:] == [Rejection(2, "no_file", "none.png"), Rejection(3, "empty", "0 bytes")]


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x-idx3-ubyte.gz", "x.parquet"])
def test_a_long_stream_holds_a_few_images_only(tmp_path, monkeypatch, name):
    """Of 1,500 images no more than two chunks are alive at any time, however many are read."""
    num_images = 1_500
    array = np.broadcast_to(ARRAYS[0], (num_images, 6, 4)).copy()
    path = tmp_path / name
    if name == "x.npy":
        np.save(path, array)
    elif name == "x.npz":
        np.savez_compressed(path, array)
    elif name == "x.parquet":
        content = [encode(ARRAYS[0])] * num_images
        pq.write_table(pa.table({"image": pa.array(content, pa.binary())}), path, use_dictionary=False)
    else:
        write_idx(path, array, gzip.open)

    alive, peak = weakref.WeakSet(), 0

    class Raw:
        """An image as the stream has it, which can be followed."""

        def __init__(self, image):
            self.image = image

    def watch(images):
        for image in images:
            raw = Raw(image)
            alive.add(raw)
            yield raw

    real = files._load
    monkeypatch.setattr(files, "_as_raw", lambda raw: raw)
    monkeypatch.setattr(files, "_load", lambda raw, size: real(raw.image, size))
    gc.collect()
    num_found = 0
    for _ in load_all(watch(read_images(path)), SIZE):
        num_found += 1
        peak = max(peak, len(alive))
    assert num_found == num_images
    assert peak <= 2 * files._CHUNK_SIZE
