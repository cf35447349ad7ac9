"""Films of MovieLens-100K and their posters, as the user's own copy has them."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pandas as pd

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""In the order of the flags of u.item; nothing is told of a film of the first one."""
COLUMNS = ("film", "title", "release", "video_release", "address", *GENRES)
"""Of u.item, which has no header."""

_POSTER = re.compile(r"(?:.*/)?([0-9]+)\.(?:jpe?g|png|webp)", re.IGNORECASE)


def describe_films(films: pd.DataFrame) -> pd.DataFrame:
    """A row a film: film, title, year of release, and genres joined with `|`; unknown ones are empty.

    Args:
        films: the texts of u.item, named by COLUMNS.
    """
    flags = films[list(GENRES[1:])].eq("1").to_numpy()
    genres = ["|".join(name for name, is_of in zip(GENRES[1:], row) if is_of) for row in flags]
    years = films["release"].str.extract(r"([0-9]{4})$", expand=False).fillna("")
    return films[["film", "title"]].assign(year=years, genres=genres)


def copy_posters(archive: Path, to: Path) -> dict[str, str]:
    """Writes the images named ID.jpg of a tar archive, packed or not, as a plain one without folders.

    Returns:
        Id of a film -> name of its file; of several files the first one.

    Raises:
        tarfile.TarError, OSError, EOFError, zlib.error: the archive is damaged or no tar archive.
    """
    posters: dict[str, str] = {}
    with tarfile.open(archive, "r:*") as source, tarfile.open(to, "w") as target:
        for member in source:
            named = _POSTER.fullmatch(member.name)
            if named is None or not member.isreg() or named[1] in posters:
                continue
            kept = tarfile.TarInfo(member.name.rpartition("/")[2])
            kept.size = member.size
            # Read whole, a poster after the other: one that is cut off must not become one that is padded.
            target.addfile(kept, io.BytesIO(_read(source, member)))
            posters[named[1]] = kept.name
    return posters


def _read(source: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = source.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise tarfile.ReadError(f"{member.name} is cut off")
    return content
