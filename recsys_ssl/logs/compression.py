"""The bytes of a file without its compression, which its first bytes tell, whatever its name.

A file that is cut off or damaged gives every byte before that: to find the last ones it is read once more, with care.
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Optional, Protocol

import pyarrow as pa

from recsys_ssl.file_kinds import HEAD_BYTES, name_compression
from recsys_ssl.logs.batches import LogError

_READ_BYTES = 1 << 20
_GIVEN_BYTES = 1 << 20  # at most at a time, since a few bytes may stand for many


class DamageError(Exception):
    """The rest of a file cannot be read. Compression notices damage late, so the last records may be wrong."""


def find_compression(stream: BinaryIO) -> Optional[str]:
    """The compression by the first bytes, see `file_kinds.name_compression`. The stream is at its start."""
    head = stream.read(HEAD_BYTES)
    while len(head) < HEAD_BYTES and (more := stream.read(HEAD_BYTES - len(head))):
        head += more
    stream.seek(0)
    return name_compression(head)


def read_plain(stream: BinaryIO, file: str) -> Iterator[bytes]:
    """Yields the bytes of a file without its compression.

    Args:
        stream: can be read again from its start.
        file: name for messages.

    Raises:
        DamageError: after the last byte that can be had, when that is not all of them.
        LogError: a zip archive holds not just one file, or one that cannot be read.
    """
    compression = find_compression(stream)
    if compression is None:
        return _read(stream)
    if compression == "zip":
        return _read_zip(stream, file)
    if compression == "zstd":
        return _read_zstd(stream)
    make: dict[str, Callable[[], _Unpacker]] = {
        "gzip": lambda: _Inflater(16 + zlib.MAX_WBITS),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
        "lzma": lzma.LZMADecompressor,  # which tells both apart
        "zlib": lambda: _Inflater(zlib.MAX_WBITS),
    }
    return _read_packed(stream, make[compression], compression)


def _read(stream: BinaryIO, careful_from: Optional[int] = None) -> Iterator[bytes]:
    """Yields the rest of a stream, byte by byte from a place on."""
    size = _READ_BYTES
    while data := stream.read(size):
        if careful_from is not None and stream.tell() > careful_from:
            for i in range(len(data)):
                yield data[i : i + 1]
        else:
            yield data


# --- gzip, bzip2, xz, lzma, zlib ---------------------------------------------------------------------


class _Unpacker(Protocol):
    """As in `bz2` and `lzma`."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Inflater:
    """zlib with the methods of `bz2` and `lzma`."""

    def __init__(self, wbits: int):
        self._inflater, self._rest = zlib.decompressobj(wbits), b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        given = self._inflater.decompress(self._rest + data if self._rest else data, max(max_length, 0))
        self._rest = self._inflater.unconsumed_tail
        self.needs_input = not self._rest and len(given) != max_length
        return given


def _read_packed(stream: BinaryIO, make: Callable[[], _Unpacker], name: str, begin: int = 0) -> Iterator[bytes]:
    """Yields the bytes of all members, one after the other; of a zip archive only the one that begins there."""
    num_given = 0
    stream.seek(begin)
    try:
        for data in _unpack(_read(stream), make, name == "zip"):
            num_given += len(data)
            yield data
    except EOFError as error:
        raise DamageError(f"{name} file is cut off here") from error
    except (OSError, zlib.error, lzma.LZMAError) as error:
        yield from _read_until_damage(stream, make, name == "zip", begin, num_given)
        raise DamageError(f"{name} data is damaged here or shortly before") from error


def _unpack(reads: Iterator[bytes], make: Callable[[], _Unpacker], is_single: bool) -> Iterator[bytes]:
    """Raises EOFError when a member does not end."""
    unpacker: Optional[_Unpacker] = None
    for data in reads:
        while data or (unpacker and not unpacker.needs_input):
            if unpacker is None:
                data = data if is_single else data.lstrip(b"\0")  # padding between members
                if not data:
                    break
                unpacker = make()
            given, data = unpacker.decompress(data, _GIVEN_BYTES), b""
            if unpacker.eof:
                data, unpacker = unpacker.unused_data, None
            yield given
            if unpacker is None and is_single:
                return
    if unpacker is not None:
        raise EOFError


def _read_until_damage(
    stream: BinaryIO, make: Callable, is_single: bool, begin: int, num_given: int
) -> Iterator[bytes]:
    """Yields the bytes after the given ones that can be had: a call that fails gives nothing, so it gets one byte."""
    careful_from, num_seen = max(begin, stream.tell() - _READ_BYTES), 0
    stream.seek(begin)
    try:
        for data in _unpack(_read(stream, careful_from), make, is_single):
            num_seen += len(data)
            if data and num_seen > num_given:
                yield data[-(num_seen - num_given) :]
                num_given = num_seen
    except (OSError, zlib.error, lzma.LZMAError):
        pass


# --- zstd --------------------------------------------------------------------------------------------


def _read_zstd(stream: BinaryIO) -> Iterator[bytes]:
    num_given = 0
    try:
        for data in _unpack_zstd(stream, _GIVEN_BYTES):
            num_given += len(data)
            yield data
    except OSError as error:
        what = "file is cut off here" if "Truncated" in str(error) else "data is damaged here or shortly before"
        stream.seek(0)
        for data in _unpack_zstd(stream, _GIVEN_BYTES, num_given):
            yield data
        raise DamageError(f"zstd {what}") from error


def _unpack_zstd(stream: BinaryIO, size: int, careful_from: Optional[int] = None) -> Iterator[bytes]:
    """Yields the bytes; with `careful_from` only those from that place on, up to where it fails."""
    file = pa.PythonFile(stream, mode="r")
    unpacked = pa.CompressedInputStream(file, "zstd")
    if careful_from is None:
        while data := unpacked.read(size):
            yield data
        return
    for _ in range(careful_from // size):
        unpacked.read(size)
    unpacked.read(careful_from % size)
    pieces = []
    try:
        while data := unpacked.read(1):  # a read that fails gives nothing
            pieces.append(data)
    except OSError:
        yield b"".join(pieces)


# --- zip ---------------------------------------------------------------------------------------------

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_LOCAL_MARK = b"PK\x03\x04"
_DOCUMENTS = {
    re.compile(r"xl/"): "an Excel workbook",
    re.compile(r"word/|ppt/"): "an Office document",
    re.compile(r"content\.xml$"): "an OpenDocument file",
}


def _read_zip(stream: BinaryIO, file: str) -> Iterator[bytes]:
    """Yields the bytes of the archive's only file."""
    try:
        member = _find_member(zipfile.ZipFile(stream), file)
    except zipfile.BadZipFile:  # its list of files is at its end
        member = None
    begin = member.header_offset if member else 0
    if begin < 0:  # its list of files says that it is longer than it is
        raise DamageError("zip data is damaged here or shortly before")
    stream.seek(begin)
    header = stream.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise DamageError("zip file is cut off here")
    mark, _, flags, method, *_, len_name, len_extra = _LOCAL_HEADER.unpack(header)
    if mark != _LOCAL_MARK:
        raise DamageError("zip data is damaged here or shortly before")
    if flags & 1 or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        what = "has a password" if flags & 1 else f"is packed by method {method}"
        raise LogError(f"{file}: this zip archive {what}. Unpack it, or pack it with gzip.")
    begin += _LOCAL_HEADER.size + len_name + len_extra
    if method == zipfile.ZIP_STORED:
        stream.seek(begin)
        reads = _read_size(stream, member.compress_size) if member else _read(stream)
    else:
        reads = _read_packed(stream, lambda: _Inflater(-zlib.MAX_WBITS), "zip", begin)
    checksum = 0
    for read in reads:
        checksum = zlib.crc32(read, checksum)
        yield read
    if member is None:
        raise DamageError("zip file is cut off here")
    if checksum != member.CRC:
        raise DamageError("zip data is damaged here or shortly before")


def _find_member(archive: zipfile.ZipFile, file: str) -> zipfile.ZipInfo:
    names = archive.namelist()
    document = next((kind for name, kind in _DOCUMENTS.items() if any(map(name.match, names))), None)
    if document is not None:
        raise LogError(f"{file}: this is {document}. Save its table as CSV.")
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not any(part.startswith(("_", ".")) for part in member.filename.split("/"))
    ]
    if len(members) != 1:
        listed = ", ".join(repr(member.filename) for member in members[:5]) + (", ..." if len(members) > 5 else "")
        raise LogError(
            f"{file}: a zip archive must hold one file. Received {len(members)}: {listed or 'none'}. Unpack it into a "
            "directory and name that."
        )
    return members[0]


def _read_size(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (data := stream.read(min(size, _READ_BYTES))):
        size -= len(data)
        yield data
