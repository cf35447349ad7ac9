"""Writes a catalogue of particles and a log of who measured which, for the recommender and for clustering.

Particles come in families: some blobs of electrons, and for each particle the same blobs a little elsewhere, turned
some way. What is told of a particle is its 3-D intensity as numbers that do not change when it is turned, see
`recsys_ssl.diffraction.descriptor`. Families are the topics of the log, see `simulate`: a group that measures
particles has a favourite one, so that a new particle can be recommended by its structure.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys_ssl import lists
from recsys_ssl.datasets.simulate import Simulation, Truth, name_rows, write_log
from recsys_ssl.diffraction import descriptor
from recsys_ssl.diffraction.rotations import draw_rotations, to_matrices
from recsys_ssl.diffraction.simulate import Scatterers, draw_blobs, intensity

_SIDE, _PER_VOXEL = 27, 0.25
"""Voxels of an intensity, and q of one in one over the diameter of a particle: to three speckles."""
_RADII = tuple(range(3, 12))
_MAX_ORDER = 10
STRUCTURE_DIM = len(_RADII) * _MAX_ORDER // 2


@dataclasses.dataclass(frozen=True)
class ParticleCatalogue:
    """A catalogue and its log.

    Memory: that of `simulate.Simulation`, and 8 * side^3 bytes a particle, about 160 kB, for the voxels.

    Attributes:
        num_particles: at least one a family.
        num_families: what the log and the labels tell apart.
        num_blobs: of a particle.
        spread: how far blobs of a particle lie from those of its family, in its diameter (standard deviation).
        num_groups, num_measurements: of the log: who measures, and how often.
        seed: of all of it.
    """

    num_particles: int = 200
    num_families: int = 8
    num_blobs: int = 12
    spread: float = 0.02
    num_groups: int = 400
    num_measurements: int = 6_000
    seed: int = 0

    def __post_init__(self):
        if self.num_families < 2 or self.num_particles < self.num_families:
            raise ValueError(
                "a catalogue needs two families, and a particle in each. Received: "
                f"num_particles={self.num_particles}, num_families={self.num_families}. Use 200 and 8."
            )
        if self.num_blobs < 2 or not 0 <= self.spread < 1:
            raise ValueError(
                "a particle needs two blobs, and a spread in [0, 1). Received: "
                f"num_blobs={self.num_blobs}, spread={self.spread}. Use 12 and 0.02."
            )


def simulate_particles(catalogue: ParticleCatalogue, directory: str) -> Truth:
    """Writes the catalogue, its log and the spec `particles.yaml`; the same catalogue writes the same numbers.

    Files: `items.parquet` with `item` and the vector `structure`; `users.csv.gz` and `events.csv.gz`; for
    `recsys-ssl cluster` `structures.npz`, the vectors standardised over the catalogue, `families.csv`, the labels, and
    `voxels.npy`, the intensities themselves, a floor: particles are turned at random.
    """
    os.makedirs(directory, exist_ok=True)
    truth = Truth(
        Simulation(
            num_users=catalogue.num_groups,
            num_items=catalogue.num_particles,
            num_events=catalogue.num_measurements,
            num_topics=catalogue.num_families,
            makers_per_topic=1,
            seed=catalogue.seed,
        )
    )
    volumes = draw_particles(catalogue, truth.topic)
    structures = np.stack([descriptor.describe(volume, _RADII, _MAX_ORDER) for volume in volumes])
    ids = name_rows("item", np.arange(catalogue.num_particles))
    items = pa.table({"item": ids, "structure": lists.from_vectors(structures)})
    pq.write_table(items, os.path.join(directory, "items.parquet"))
    write_log(truth, directory)
    standardised = (structures - structures.mean(axis=0)) / structures.std(axis=0)
    np.savez(os.path.join(directory, "structures.npz"), vectors=standardised, ids=np.array(ids.to_pylist()))
    np.save(os.path.join(directory, "voxels.npy"), volumes.reshape(len(volumes), -1).astype(np.float32))
    families = pa.table({"item": ids, "family": name_rows("family", truth.topic)})
    pa_csv.write_csv(families, os.path.join(directory, "families.csv"))
    with open(os.path.join(directory, "particles.yaml"), "w", encoding="utf-8") as stream:
        stream.write(_SPEC)
    return truth


def draw_particles(catalogue: ParticleCatalogue, families: np.ndarray) -> np.ndarray:
    """[num_particles, side, side, side] float64, intensities of particles, each turned some way.

    Args:
        families: [num_particles] int64, of each.
    """
    rng = np.random.default_rng([catalogue.seed, 7])
    bases = [draw_blobs(catalogue.num_blobs, seed=1000 * catalogue.seed + n) for n in range(catalogue.num_families)]
    turns = to_matrices(draw_rotations(catalogue.num_particles, rng))
    found = []
    for family, turn in zip(families, turns, strict=True):
        base = bases[family]
        moved = base.positions + catalogue.spread * rng.standard_normal(base.positions.shape)
        found.append(intensity(Scatterers(moved @ turn.T, base.widths, base.electrons), _SIDE, _PER_VOXEL))
    return np.stack(found)


_SPEC = f"""# Written by the simulator; a particle is known by its structure alone.
version: 1
name: particles
events:
  paths: [events.csv.gz]
  query_id: user
  item_id: item
  timestamp: {{column: time, unit: s}}
  label: {{event_type: event, positive: {{click: 1.0}}, impressions: [impression]}}
items:
  table: {{paths: [items.parquet], format: parquet}}
  id: item
  features:
    - {{name: item, kind: id}}
    - {{name: structure, kind: dense, dim: {STRUCTURE_DIM}}}
queries:
  table: {{paths: [users.csv.gz]}}
  id: user
  features:
    - {{name: user, kind: id}}
    - {{name: interest, kind: categorical}}
    - {{name: history, kind: item_sequence, length: 20}}
"""
