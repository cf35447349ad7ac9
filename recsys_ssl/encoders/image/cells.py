"""What a cell of images may hold: a path, a path into an archive, a data URI, or the bytes of a file themselves.

    posters/12.jpg              a file of the data directory
    posters.zip/small/12.jpg    a file within an archive, which stands in the path as a directory does
    data:image/png;base64,...   the file itself

A path stays below its directory: it is relative, without `..`, and no symbolic link leads out.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from typing import NamedTuple, Optional, Union
from urllib.parse import unquote_to_bytes

from recsys_ssl.encoders.image.archives import MAX_BYTES, PACKED, PACKED_ADVICE, read_member
from recsys_ssl.encoders.image.pixels import ImageError
from recsys_ssl.encoders.image.reading import ARCHIVES

_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Place(NamedTuple):
    """Where the file of a path lies."""

    path: str
    member: Optional[str] = None
    """Name within the archive at `path`; None: the file itself."""


def read_cell(cell: Union[str, bytes], directory: Optional[str]) -> bytes:
    """The encoded image that a cell means.

    Args:
        cell: a path, a data URI, or encoded bytes, which are returned as they are.
        directory: where paths begin, which they may not leave; None: any path of this machine.

    Raises:
        ImageError: `no_file`; `outside`, the path leaves the directory; `a_link`, to a server; `unreadable`, without
            permission or no regular file; `too_large`, more than archives.MAX_BYTES; `bad_data_uri`; what
            `archives.read_member` raises.
    """
    if isinstance(cell, bytes):
        return cell
    if cell[:5].lower() == "data:":
        return _read_uri(cell)
    place = find_file(cell, directory)
    try:
        if place.member is not None:
            return read_member(place.path, place.member)
        with open(place.path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ImageError("too_large")
            return file.read()
    except OSError as error:
        raise ImageError("unreadable") from error


def _read_uri(text: str) -> bytes:
    head, comma, content = text.partition(",")
    if not comma:
        raise ImageError("bad_data_uri")
    content_bytes = unquote_to_bytes(content)
    if not head.lower().endswith(";base64"):
        return content_bytes
    try:
        return base64.b64decode(b"".join(content_bytes.split()), validate=True)
    except binascii.Error as error:
        raise ImageError("bad_data_uri") from error


def find_file(path: str, directory: Optional[str]) -> Place:
    """The file of a path; an archive on the way is told from a directory of such a name.

    Raises:
        ImageError: see `read_cell`.
    """
    if _LINK.match(path):
        raise ImageError("a_link")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if directory is None:
        parts = ["/", *parts] if path.startswith("/") else parts
    elif path.startswith("/") or ".." in parts:
        raise ImageError("outside")
    try:
        return _find(os.path.realpath(directory or "."), parts, is_kept=directory is not None)
    except ImageError:
        raise
    except PermissionError as error:
        raise ImageError("unreadable") from error
    except (OSError, ValueError) as error:  # e.g. a name that is too long, or has a zero byte
        raise ImageError("no_file") from error


def _find(top: str, parts: list[str], is_kept: bool) -> Place:
    """See `find_file`; raises OSError and ValueError too.

    Args:
        top: real path of the directory.
        is_kept: whether the file may not be outside of it.
    """
    place = Place(os.path.join(top, *parts))
    for end, part in enumerate(parts[:-1], start=1):
        path = os.path.join(top, *parts[:end])
        if (part.lower().endswith(ARCHIVES) or PACKED.search(part)) and os.path.isfile(path):
            if PACKED.search(part):
                raise ImageError(PACKED_ADVICE)
            place = Place(path, "/".join(parts[end:]))
            break
    real = os.path.realpath(place.path)
    if is_kept and os.path.commonpath([real, top]) != top:
        raise ImageError("outside")
    mode = os.stat(real).st_mode
    if not stat.S_ISREG(mode):
        raise ImageError("no_file" if stat.S_ISDIR(mode) else "unreadable")
    return place._replace(path=real)
