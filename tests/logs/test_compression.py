"""Every compression gives the file's bytes; what is cut off or damaged gives all bytes before that."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.logs import compression
from recsys_ssl.logs.batches import LogError
from recsys_ssl.logs.compression import DamageError, find_compression, read_plain

LINES = "".join(f"user{n},item{n}\n" for n in np.random.default_rng(0).integers(10**9, size=30_000)).encode()


def pack_zip(data, method=zipfile.ZIP_DEFLATED, names=("log.csv",)):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name in names:
            archive.writestr(name, data)
    return stream.getvalue()


PACK = {
    "gzip": gzip.compress,
    "bzip2": lambda data: bz2.compress(data, 1),  # in blocks of 100 kB
    "xz": lambda data: lzma.compress(data, preset=0),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
    "zlib": zlib.compress,
    "zlib, fast": lambda data: zlib.compress(data, 1),
    "zstd": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "zstd, skipping": lambda data: b"\x50\x2a\x4d\x18\x03\0\0\0abc" + pa.compress(data, codec="zstd", asbytes=True),
    "zip": pack_zip,
    "zip, stored": lambda data: pack_zip(data, zipfile.ZIP_STORED),
}
EVERY = pytest.mark.parametrize("pack", PACK.values(), ids=PACK)


def read(data):
    """What is read, and why it ends too early."""
    pieces = []
    try:
        for piece in read_plain(io.BytesIO(data), "log"):
            pieces.append(piece)
    except DamageError as error:
        return b"".join(pieces), str(error)
    return b"".join(pieces), None


@EVERY
def test_the_bytes_are_those_that_were_packed(pack):
    for data in (LINES, b"", b"x" * 3_000_000, np.random.default_rng(0).bytes(100_000)):
        assert read(pack(data)) == (data, None)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_members_are_one_file(name):
    assert read(PACK[name](b"a\n") + PACK[name](LINES)) == (b"a\n" + LINES, None)


@EVERY
@pytest.mark.parametrize("share", [0.5, 0.999])
def test_what_is_cut_off_gives_what_is_before(pack, share):
    packed = pack(LINES)
    found, why = read(packed[: int(share * len(packed))])
    assert LINES.startswith(found)
    assert len(found) > (share - 0.25) * len(LINES)  # a block at most is lost
    assert why.endswith("file is cut off here")


@EVERY
def test_what_is_damaged_gives_what_is_before(pack, monkeypatch):
    monkeypatch.setattr(compression, "_READ_BYTES", 1 << 14)  # so that several reads are sound
    packed = bytearray(pack(LINES))
    middle = len(packed) // 2
    packed[middle : middle + 100] = bytes(byte ^ 0x5A for byte in packed[middle : middle + 100])
    found, why = read(bytes(packed))
    assert found[: int(0.3 * len(LINES))] == LINES[: int(0.3 * len(LINES))]
    assert why is None or "damaged here or shortly before" in why
    assert why is not None or pack in (PACK["zstd"], PACK["zstd, skipping"])  # Arrow writes it without checksum


def test_a_few_bytes_that_stand_for_many_come_in_pieces():
    packed = gzip.compress(bytes(50_000_000))
    assert len(packed) < 100_000
    assert max(len(piece) for piece in read_plain(io.BytesIO(packed), "log")) <= 1 << 20


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a.csv", "b.csv"], "log: a zip archive must hold one file. Received 2: 'a.csv', 'b.csv'"),
        (["a/"], "Received 0: none"),
        ([], "Received 0: none"),
        (["[Content_Types].xml", "xl/workbook.xml"], "log: this is an Excel workbook. Save its table as CSV"),
        (["mimetype", "content.xml"], "an OpenDocument file"),
    ],
)
def test_a_zip_archive_of_other_than_one_file_is_named(names, match):
    with pytest.raises(LogError, match=match):
        read(pack_zip(b"", names=names))


@pytest.mark.parametrize("num_lost", [5, 25])
def test_a_zip_archive_that_lost_some_bytes_is_damaged(num_lost):
    archive = pack_zip(np.random.default_rng(0).bytes(999))
    _, damage = read(archive[:30] + archive[30 + num_lost :])
    assert damage is not None
    assert damage.startswith("zip")


def test_side_files_of_a_zip_archive_do_not_count():
    assert read(pack_zip(b"a", names=["log.csv", "__MACOSX/._log.csv", ".DS_Store"])) == (b"a", None)


def test_a_zip_archive_of_another_method_is_named():
    with pytest.raises(LogError, match="log: this zip archive is packed by method 12. Unpack it"):
        read(pack_zip(b"a", zipfile.ZIP_BZIP2))


@pytest.mark.parametrize(
    "data",
    [b"", b"P", b"q,i\n", b"BZ,i\n", b"BZhuser,i\n", b"BZh9\n", b"x^2,i\n1,2\n", "xÚ,i\n".encode("latin-1"), b"]0\n"],
)
def test_plain_bytes_stay(data):
    assert find_compression(io.BytesIO(data)) is None
    assert read(data) == (data, None)
