"""What a cell may hold: files, files within archives, data URIs and bytes; and paths that are refused."""

import base64
import gzip
import io
import os
import tarfile
import zipfile
from urllib.parse import quote_from_bytes

import pytest

from recsys_ssl.encoders.image import archives, cells
from recsys_ssl.encoders.image.archives import PACKED_ADVICE
from recsys_ssl.encoders.image.cells import read_cell
from recsys_ssl.encoders.image.pixels import ImageError
from tests.encoders.image.made_images import grey

IMAGES = {name: grey(level) for level, name in enumerate(["a.png", "deep/b.png", "deep/er/c d.PNG"])}


def write_tar(path, images, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)


def write_zip(path, images, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("folder")
        for name, content in images.items():
            archive.writestr(name, content)


@pytest.fixture
def data(tmp_path):
    """A data directory with images, archives of them, and a secret beside it."""
    top = tmp_path / "data"
    for name, content in IMAGES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    write_zip(top / "z.zip", IMAGES)
    write_tar(top / "deep" / "t.TAR", {f"./{name}": content for name, content in IMAGES.items()})
    write_tar(top / "packed.tar.gz", IMAGES, "w:gz")
    (tmp_path / "secret.png").write_bytes(grey(99))
    return top


def reason_of(cell, directory):
    with pytest.raises(ImageError) as error:
        read_cell(cell, str(directory))
    return error.value.reason


# --- Files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("beginning", ["", "./", "z.zip/", "deep/t.TAR/", "deep//t.TAR/./"])
def test_a_path_means_a_file_and_an_archive_stands_in_it_as_a_directory(data, name, beginning):
    assert read_cell(beginning + name, str(data)) == IMAGES[name]


def test_a_directory_may_be_named_as_an_archive_is(data):
    (data / "d.zip").mkdir()
    (data / "d.zip" / "x.png").write_bytes(b"x")
    assert read_cell("d.zip/x.png", str(data)) == b"x"


def test_paths_begin_in_the_working_directory_where_no_directory_is_given(data, monkeypatch):
    monkeypatch.chdir(data)
    assert read_cell("a.png", None) == IMAGES["a.png"]
    assert read_cell(str(data / "z.zip" / "a.png"), None) == IMAGES["a.png"]
    assert read_cell("../secret.png", None) == grey(99)


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "deep/../../secret.png", "deep/../a.png", "/etc/passwd", "link.png", "linked/secret.png"]
    + ["z.zip/../../secret.png"],
)
def test_a_path_stays_in_its_directory(data, path):
    (data / "link.png").symlink_to("../secret.png")
    (data / "linked").symlink_to(data.parent)
    assert reason_of(path, data) == "outside"


def test_a_link_within_the_directory_and_a_directory_that_is_a_link_are_followed(data, tmp_path):
    (data / "link.png").symlink_to("deep/b.png")
    (tmp_path / "other").symlink_to(data)
    assert read_cell("link.png", str(tmp_path / "other")) == IMAGES["deep/b.png"]


def test_what_is_no_file_is_named(data, monkeypatch):
    os.mkfifo(data / "pipe.png")
    (data / "large.png").write_bytes(bytes(2000))
    monkeypatch.setattr(cells, "MAX_BYTES", 1999)
    reasons = {
        "none.png": "no_file",
        "a.png/b.png": "no_file",
        "deep": "no_file",
        "zero\0.png": "no_file",
        "x" * 5000: "no_file",
        "pipe.png": "unreadable",
        "large.png": "too_large",
        "https://host/a.png": "a_link",
        "gs://bucket/a.png": "a_link",
    }
    assert {cell: reason_of(cell, data) for cell in reasons} == reasons


def test_a_file_without_permission_is_unreadable(data, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)  # for root, who may read every file

    with monkeypatch.context() as patch:
        patch.setattr(cells.os, "stat", refuse)
        assert reason_of("a.png", data) == "unreadable"


# --- Archives --------------------------------------------------------------------------------------------


def test_what_an_archive_does_not_give_is_named(data, monkeypatch):
    sound = (data / "z.zip").read_bytes()
    (data / "cut.zip").write_bytes(sound[:-30])
    (data / "no.zip").write_bytes(b"no archive")
    (data / "no.tar").write_bytes(b"no archive" * 200)
    (data / "gz.tar").write_bytes((data / "packed.tar.gz").read_bytes())
    start = sound.index(b"a.png") + 10  # within what is compressed
    (data / "damaged.zip").write_bytes(sound[:start] + bytes(9) + sound[start + 9 :])
    reasons = {
        "z.zip/none.png": "no_file",
        "z.zip/folder": "no_file",
        "deep/t.TAR/folder": "no_file",
        "cut.zip/a.png": "bad_archive",
        "no.zip/a.png": "bad_archive",
        "no.tar/a.png": "bad_archive",
        "gz.tar/a.png": PACKED_ADVICE,
        "packed.tar.gz/a.png": PACKED_ADVICE,
        "damaged.zip/a.png": "corrupt",
    }
    assert {cell: reason_of(cell, data) for cell in reasons} == reasons
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    assert reason_of("z.zip/a.png", data) == reason_of("deep/t.TAR/a.png", data) == "too_large"


def test_an_encrypted_member_is_named(data):
    write_zip(data / "e.zip", {"a.png": grey(1)}, zipfile.ZIP_STORED)
    content = bytearray((data / "e.zip").read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(mark) + place] |= 1
    (data / "e.zip").write_bytes(content)
    assert reason_of("e.zip/a.png", data) == "bad_archive"


@pytest.mark.parametrize(("name", "reader", "write"), [("z.zip", "_Zip", write_zip), ("deep/t.TAR", "_Tar", write_tar)])
def test_an_archive_is_opened_once_and_again_when_it_changed(data, monkeypatch, name, reader, write):
    opened = []
    real = getattr(archives, reader)
    monkeypatch.setattr(archives, reader, lambda path: opened.append(path) or real(path))
    for _ in range(3):
        for image, content in IMAGES.items():
            assert read_cell(f"{name}/{image}", str(data)) == content
    assert opened == [str(data / name)]
    write(data / name, {"a.png": grey(7)})
    os.utime(data / name, ns=(1, 1))
    assert read_cell(f"{name}/a.png", str(data)) == grey(7)
    assert reason_of(f"{name}/deep/b.png", data) == "no_file"
    assert opened == [str(data / name)] * 2


def test_an_archive_that_cannot_be_read_is_tried_once(data, monkeypatch):
    (data / "no.zip").write_bytes(b"no archive")
    tried = []
    monkeypatch.setattr(archives, "_Zip", lambda path: tried.append(path) or archives.zipfile.ZipFile(path))
    assert [reason_of("no.zip/a.png", data) for _ in range(3)] == ["bad_archive"] * 3
    assert len(tried) == 1


def test_a_tar_that_was_cut_is_bad_as_a_whole(data):
    content = (data / "deep" / "t.TAR").read_bytes()
    first = 512 + -(-len(IMAGES["a.png"]) // 512) * 512
    (data / "cut.tar").write_bytes(content[: first + 512 + 20])  # the header of the second, and 20 bytes of it
    assert reason_of("cut.tar/a.png", data) == "bad_archive"


# --- Cells that are images -------------------------------------------------------------------------------


def test_bytes_and_data_uris_are_the_image(data):
    content = grey(5)
    text = base64.b64encode(content).decode()
    assert read_cell(content, str(data)) == content
    assert read_cell(f"data:image/png;base64,{text}", str(data)) == content
    assert read_cell(f"DATA:;BASE64,{text[:9]}\n {text[9:]}", str(data)) == content
    assert read_cell(f"data:image/png,{quote_from_bytes(content)}", str(data)) == content


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:;base64,abc", "data:;base64,$$$$"])
def test_a_faulty_uri_is_named(data, uri):
    assert reason_of(uri, data) == "bad_data_uri"


def test_a_gzip_of_an_image_is_no_archive(data):
    (data / "a.png.gz").write_bytes(gzip.compress(grey(1)))
    assert read_cell("a.png.gz", str(data)) == gzip.compress(grey(1))
