"""What a file is by its first bytes: of files as their own libraries write them."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, orc, parquet

from recsys_ssl.file_kinds import KINDS, find_kind, name_compression

TABLE = pa.table({"a": [1, 2]})


def written(write):
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def pack_zip(*names):
    def write(out):
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                archive.writestr(name, "text")

    return written(write)


def pack_tar(out):
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (gzip.compress(b"text"), ["gzip"]),
        (bz2.compress(b"text"), ["bzip2"]),
        (bz2.compress(b""), ["bzip2"]),
        (lzma.compress(b"text"), ["xz"]),
        (lzma.compress(b"text", lzma.FORMAT_ALONE), ["lzma"]),
        (zlib.compress(b"text"), ["zlib"]),
        (b"\x50\x2a\x4d\x18\x04\0\0\0skip", ["zstd"]),
        (pa.Codec("zstd").compress(b"text", asbytes=True), ["zstd"]),
        (pack_zip("a"), ["zip"]),
        (pack_zip(), ["empty zip"]),
        (written(pack_tar), ["tar"]),
        (written(lambda out: parquet.write_table(TABLE, out)), ["parquet", "parquet with data"]),
        (written(lambda out: orc.write_table(TABLE, out)), ["orc"]),
        (written(lambda out: feather.write_feather(TABLE, out)), ["arrow"]),
        (written(lambda out: np.save(out, np.zeros(3))), ["numpy"]),
        (pickle.dumps(["a"] * 9), ["pickle"]),
    ],
    ids=lambda value: " and ".join(value) if isinstance(value, list) else "content",
)
def test_a_file_is_of_the_kind_that_wrote_it(content, kinds):
    assert [kind for kind in KINDS if find_kind(content, [kind])] == kinds
    assert find_kind(content, KINDS) == kinds[0]
    assert find_kind(content, ["pdf", "page"]) is None


@pytest.mark.parametrize("text", [b"", b"user,item\nu1,i1\n", b'{"user": "u1"}\n', "ключ,é\n".encode()])
def test_a_text_is_of_no_kind(text):
    assert find_kind(text, KINDS) is None


@pytest.mark.parametrize("text", [b"PAR1,CCO\n", b"BZhx,CC\n", b"x\x9c,i1\n"])
def test_a_text_that_begins_like_a_kind_with_a_short_mark_has_no_data_of_it(text):
    assert find_kind(text, ["parquet with data", "bzip2"]) is None
    assert name_compression(text) is None


@pytest.mark.parametrize(
    ("archive", "name"), [(pack_zip("a"), "zip"), (pack_zip(), "zip"), (zlib.compress(b"t"), "zlib")]
)
def test_a_compression_has_one_name(archive, name):
    assert name_compression(archive) == name
