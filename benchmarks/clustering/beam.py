"""Measures k-means at scale: whether the Beam job gives what memory gives.

python -m benchmarks.clustering beam

Rows are drawn around as many centres as there are clusters, near enough to each other that k-means moves for many
rounds, and written as Parquet. Both arms begin at the same rows: `pipelines.stages.kmeans` with the in-process runner,
and Lloyd's iteration of scikit-learn on all rows in float64. The figure is the largest absolute difference of a
coordinate of a centroid, the coordinates of the rows having a standard deviation of about 1.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.cluster import KMeans

from benchmarks.claims import RESULTS, describe_hardware, record
from pipelines.stages.kmeans import iterate_kmeans, list_rows
from recsys_ssl import lists
from recsys_ssl.evaluation.vectors import open_vectors

COMMAND = "python -m benchmarks.clustering beam"
_FILES = 4
_GROUP_ROWS = 1024


def main(arguments: Sequence[str], results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    started = time.monotonic()
    rows = draw_rows(options.rows, options.dim, options.clusters, options.seed)
    chosen = np.random.default_rng([options.seed, 1]).choice(len(rows), options.clusters, replace=False)
    start = rows[chosen].astype(np.float64)
    with tempfile.TemporaryDirectory() as directory:
        by_beam = iterate_in_beam(rows, start, options.iterations, Path(directory))
    in_memory = iterate_in_memory(rows, start, options.iterations)
    difference = float(np.abs(by_beam - in_memory).max())
    moved = float(np.abs(in_memory - start).max())
    print(f"{len(rows):,} x {options.dim}, k = {options.clusters}, {options.iterations} rounds, {describe_hardware()}")
    print(f"largest difference {difference:.3g}; the centroids moved by up to {moved:.3g}")
    record(
        "clustering",
        id="beam_vs_memory_max_diff",
        what=f"Largest difference of a centroid's coordinate, k-means by Beam against memory, {len(rows):,} rows of "
        f"{options.dim}, {options.clusters} clusters, {options.iterations} rounds",
        value=difference,
        command=" ".join([COMMAND, *arguments]),
        seconds=time.monotonic() - started,
        results=results,
    )


def draw_rows(num_rows: int, dim: int, num_clusters: int, seed: int) -> np.ndarray:
    """[num_rows, dim] float32 around `num_clusters` centres that lie as far apart as the rows of one spread."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=0.5, size=(num_clusters, dim))
    return (centres[rng.integers(num_clusters, size=num_rows)] + rng.normal(size=(num_rows, dim))).astype(np.float32)


def iterate_in_beam(rows: np.ndarray, start: np.ndarray, iterations: int, directory: Path) -> np.ndarray:
    """The centroids after so many rounds of the job, whatever they gain."""
    (directory / "vectors").mkdir()
    for number, part in enumerate(np.array_split(rows, _FILES)):
        table = pa.table({"vector": lists.from_vectors(part)})
        pq.write_table(table, directory / "vectors" / f"rows-{number}.parquet", row_group_size=_GROUP_ROWS)
    of_job = list_rows(open_vectors(directory / "vectors"))
    return iterate_kmeans(of_job, start, str(directory / "iterations"), iterations=iterations, tolerance=-1.0)


def iterate_in_memory(rows: np.ndarray, start: np.ndarray, iterations: int) -> np.ndarray:
    """The same of scikit-learn."""
    model = KMeans(len(start), init=start, n_init=1, max_iter=iterations, tol=0.0, algorithm="lloyd")
    return model.fit(rows.astype(np.float64)).cluster_centers_
