"""A working directory under a name that no library takes for a glob."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import tempfile
from pathlib import Path


def without_glob(workdir: str | os.PathLike) -> Path:
    r"""The working directory as it is, or a link to it when its path holds `*`, `?`, `[` or `\`.

    TensorFlow and TFX look for their own files by globs in which such a path cannot be quoted. The link lies among the
    temporary files, under a name that is the same in every run, so that a run finds its files again. Links to working
    directories that are gone are removed.

    Raises:
        OSError: the directory cannot be made, or another user holds the link's name.
    """
    target = os.path.abspath(workdir)
    if not set(target) & set("*?[\\"):
        return Path(workdir)
    os.makedirs(target, exist_ok=True)
    _remove_dead_links()
    link = _link_to(target)
    try:
        os.symlink(target, link)
    except FileExistsError:
        if not os.path.islink(link) or os.readlink(link) != target or os.lstat(link).st_uid != os.getuid():
            raise FileExistsError(
                f"{link} must be a link to the working directory {target!r}, and is not. Remove it, or choose a "
                "--workdir without * ? [ and backslash."
            ) from None
    return Path(link)


def own_names(text: str) -> str:
    """Text in which working directories have the names that the user gave them, in place of those of links."""

    def name(link: re.Match[str]) -> str:
        target = os.readlink(link[0]) if os.path.islink(link[0]) else ""
        return target if link[0] == _link_to(target) else link[0]

    return re.sub(f"{re.escape(_links())}[0-9a-f]{{16}}", name, text)


def _link_to(target: str) -> str:
    return f"{_links()}{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}"


def _links() -> str:
    """What the links of this user begin with."""
    return os.path.join(tempfile.gettempdir(), f"recsys-ssl-{os.getuid()}-")


def _remove_dead_links() -> None:
    for link in glob.glob(f"{glob.escape(_links())}{'[0-9a-f]' * 16}"):
        if os.path.islink(link) and not os.path.exists(link):
            with contextlib.suppress(OSError):  # another process was first, or it is another user's
                os.remove(link)
