"""Films with posters, ratings, genres and years, as `recsys-ssl data movielens-100k-posters` writes them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks import records
from recsys_ssl.encoders.image.pixels import decode
from recsys_ssl.encoders.image.reading import ImageSize

HISTOGRAM_BINS = (8, 4, 4)
"""Of hue, saturation and value."""
_LAST_DECADES, _FIRST_YEAR = range(1950, 1990, 10), 1990
_ADVICE = "Run recsys-ssl data movielens-100k-posters --source COPY --to DIR."


class Films(NamedTuple):
    """The films that have a poster."""

    ratings: np.ndarray
    """[num_users, num_films] bool, who has rated what, whatever the rating."""
    posters: np.ndarray
    """[num_films, size, size, 3] uint8, as ingestion brings posters to a size."""
    histograms: np.ndarray
    """[num_films, 128] float64, shares of a poster's pixels by hue, saturation and value."""
    genres: np.ndarray
    """[num_films, num_genres] float64, 0 or 1."""
    years: np.ndarray
    """[num_films, num_years] float64, 0 or 1: years since 1990, decades before, unknown."""

    @property
    def digest(self) -> str:
        """Names the content."""
        return records.hash_arrays(self)


def read_films(directory: Path, size: int) -> Films:
    """Reads the films; those without a poster are left out.

    Args:
        size: side that posters are brought to.

    Raises:
        OSError, ValueError: a file is missing, or is another.
    """
    try:
        films = pd.read_csv(directory / "films.csv", dtype=str, keep_default_na=False)
        events = pd.read_csv(directory / "ratings.csv", dtype=str)
        with tarfile.open(directory / "posters.tar", "r:") as archive:
            contents = {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}
    except FileNotFoundError as error:
        raise ValueError(f"{directory} must hold films.csv, ratings.csv and posters.tar. {_ADVICE}") from error
    films = films[films["poster"] != ""].reset_index(drop=True)
    rows = events["film"].map({film: row for row, film in enumerate(films["film"])})
    users = pd.factorize(events["user"], sort=True)[0]
    ratings = np.zeros([users.max() + 1, len(films)], bool)
    ratings[users[rows.notna()], rows.dropna().astype(int)] = True
    encoded = [contents[name] for name in films["poster"]]
    return Films(
        ratings,
        np.stack([decode(content, ImageSize(size, 3)) for content in encoded]),
        np.stack([colour_histogram(content) for content in encoded]),
        films["genres"].str.get_dummies("|").to_numpy(np.float64),
        pd.get_dummies(films["year"].map(_describe_year)).to_numpy(np.float64),
    )


def _describe_year(year: str) -> str:
    if not year:
        return ""
    decade = next((first for first in reversed(_LAST_DECADES) if int(year) >= first), 0)
    return year if int(year) >= _FIRST_YEAR else f"{decade}s"


def colour_histogram(content: bytes) -> np.ndarray:
    """[128] float64: the share of an encoded image's pixels in each of HISTOGRAM_BINS boxes."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB").convert("HSV")).reshape(-1, 3)
    counts, _ = np.histogramdd(pixels, HISTOGRAM_BINS, [(0, 256)] * 3)
    return counts.ravel() / len(pixels)
