"""Where a working directory keeps what a recommendation needs."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from recsys_ssl import artifacts
from recsys_ssl.artifacts import PLACES_FILE


@dataclass(frozen=True)
class Places:
    """Where a working directory keeps what a recommendation needs (places.json).

    The file names what lies below the working directory by its path from there, so that both can be moved.
    """

    interactions_dir: str
    catalogue_dir: str
    recommender_dir: str

    def write(self, workdir: str) -> None:
        places = {name: _from(workdir, place) for name, place in asdict(self).items()}
        artifacts.write_text(Path(workdir, PLACES_FILE), artifacts.to_json(places))

    @classmethod
    def read(cls, workdir: str) -> Places:
        path = Path(workdir, PLACES_FILE)
        if not path.exists():
            raise FileNotFoundError(
                f"no {PLACES_FILE} in {workdir}. Finish `recsys-ssl run` or `recsys-ssl index` first."
            )
        places = artifacts.from_json(cls, artifacts.read_text(path))
        return cls(*(_below(workdir, place) for place in asdict(places).values()))


def _from(workdir: str, place: str) -> str:
    path, above = Path(os.path.abspath(place)), os.path.abspath(workdir)
    return path.relative_to(above).as_posix() if path.is_relative_to(above) else place


def _below(workdir: str, place: str) -> str:
    # Earlier versions wrote a path that begins where the command was given.
    path = Path(workdir, place)
    return str(path) if path.exists() or not Path(place).exists() else place
