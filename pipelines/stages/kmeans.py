"""k-means of vectors that no one machine holds: Lloyd's iteration as a Beam job.

Each iteration is a stage of the job: workers read row groups and add up what the rows say of the centroids, the sums
are combined, and one worker updates the centroids and writes them. A job is of a few iterations; the next one, and the
same command after a kill, goes on at the newest centroids. `SumRows` and `iterate_sums` know nothing of k-means: any
expect and maximize in the form of `recsys_ssl.evaluation.kmeans` will do.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from sklearn.cluster import kmeans_plusplus

from pipelines.progress import PROGRESS
from pipelines.stages.sums import AddUp
from recsys_ssl import artifacts
from recsys_ssl.evaluation import kmeans
from recsys_ssl.evaluation.clustering import (
    ClusterConfig,
    Fit,
    Model,
    check_components,
    check_differ,
    draw_sample,
    scale,
)
from recsys_ssl.evaluation.vectors import BATCH_ROWS, Group, GroupReader, VectorTable

ITERATIONS = 50
_TOLERANCE = 1e-4
_STAGES_PER_JOB = 5

Prepare = Callable[[np.ndarray], np.ndarray]


class Rows(NamedTuple):
    """Some rows of a table, which a worker reads."""

    group: Group
    keep: Optional[bytes]
    """A bit for each row of the group, whether it is one of them; None: all."""
    dim: int
    num_left_out: int


class State(NamedTuple):
    """What an iteration leaves."""

    model: np.ndarray
    loss: float
    """Of the model before it; NaN before the first iteration."""


def list_rows(table: VectorTable, keep: Optional[np.ndarray] = None) -> list[Rows]:
    """The rows of a table of Parquet files, an eighth of a byte a row; row groups without a kept row are left out.

    Args:
        keep: [num_rows] bool.

    Raises:
        ValueError: the table is an array, which workers cannot read.
    """
    if table.array is not None:
        raise ValueError(
            f"a Beam job reads Parquet. Received: an array, {table.name}. Write it as Parquet with a column 'vector', "
            "or cluster it in batches."
        )
    found, start = [], 0
    for group in table.groups:
        bits = None if keep is None else keep[start : start + group.num_rows]
        start += group.num_rows
        if bits is None or bits.any():
            found.append(
                Rows(group, None if bits is None else np.packbits(bits).tobytes(), table.dim, table.num_left_out)
            )
    return found


# --- Transforms ----------------------------------------------------------------------------------------


class SumRows(beam.PTransform):
    """Rows -> one element, the sums of what `expect` says of each batch of them for the model.

    A worker holds a batch of rows, and the sums once or twice.
    """

    def __init__(
        self, expect: Callable[[Any, np.ndarray], Any], model: Any, prepare: Optional[Prepare], batch_rows: int
    ):
        super().__init__()
        self._expect, self._model, self._prepare, self._batch_rows = expect, model, prepare, batch_rows

    def expand(self, rows):
        return (
            rows
            | "Expect" >> beam.ParDo(_ExpectRows(self._expect, self._prepare, self._batch_rows), self._model)
            | "AddUp" >> beam.CombineGlobally(AddUp(_add)).without_defaults()
        )


class _ExpectRows(beam.DoFn):
    def __init__(self, expect, prepare, batch_rows: int):
        self._expect, self._prepare, self._batch_rows = expect, prepare, batch_rows

    def setup(self):
        self._reader = GroupReader(FileSystems.open)

    def process(self, element: Rows, model):
        kept = None if element.keep is None else np.unpackbits(np.frombuffer(element.keep, np.uint8)).astype(bool)
        start = 0
        for part in self._reader.read(element.group, element.dim, self._batch_rows, element.num_left_out):
            vectors = part if kept is None else part[kept[start : start + len(part)]]
            start += len(part)
            if len(vectors):
                yield self._expect(model, self._prepare(vectors) if self._prepare else vectors)


def _add(left, right):
    return kmeans.add_up((left, right))


# --- Iterations ----------------------------------------------------------------------------------------


def iterate_sums(
    rows: Sequence[Rows],
    expect: Callable[[np.ndarray, np.ndarray], Any],
    maximize: Callable[[np.ndarray, Any], np.ndarray],
    loss: Callable[[Any], float],
    start: np.ndarray,
    checkpoint_dir: str,
    iterations: int = ITERATIONS,
    tolerance: float = _TOLERANCE,
    beam_args: Sequence[str] = (),
    prepare: Optional[Prepare] = None,
    batch_rows: int = BATCH_ROWS,
) -> np.ndarray:
    """The model after so many rounds of `expect` over all rows and `maximize`, or when it hardly gets better.

    Each iteration writes its model to a file of its own in a directory of the rows and the start, and is never done
    again. A job has five; where the loss fell by no more than `tolerance` of itself in the last of them, no other job
    begins.

    Args:
        expect: model, [num_batch_rows, dim] -> sums, a NamedTuple of arrays that add up.
        loss: sums -> what falls with each iteration.
        start: the first model.
        checkpoint_dir: where Beam reaches.
        prepare: [num_batch_rows, dim] -> what `expect` gets.
    """
    place = os.path.join(checkpoint_dir, _name_job(rows, start, prepare))
    done, state = _read_newest(place) or (0, State(start, float("nan")))
    if done:
        PROGRESS.info(f"goes on after iteration {done:,}")
    while done < iterations and not _is_settled(place, done, state, tolerance):
        stages = min(_STAGES_PER_JOB, iterations - done)
        with beam.Pipeline(options=PipelineOptions(list(beam_args))) as root:
            elements = root | "ListRows" >> beam.Create(list(rows)) | "SpreadRows" >> beam.Reshuffle()
            model = root | "Start" >> beam.Create([state.model])
            for number in range(done + 1, done + stages + 1):
                at = beam.pvalue.AsSingleton(model)
                sums = elements | f"Sum{number}" >> SumRows(expect, at, prepare, batch_rows)
                path = _name(place, number)
                model = sums | f"Update{number}" >> beam.Map(_update, at, maximize=maximize, loss=loss, path=path)
        done += stages
        state = _read_state(_name(place, done))
        PROGRESS.info(f"iteration {done:,}, loss {state.loss:.6g}")
    return state.model


def _is_settled(place: str, done: int, state: State, tolerance: float) -> bool:
    if done < 2:
        return False
    before = _read_state(_name(place, done - 1)).loss
    return before - state.loss <= tolerance * before


def _update(sums, model: np.ndarray, maximize, loss, path: str) -> np.ndarray:
    updated, content = maximize(model, sums), io.BytesIO()
    np.savez(content, model=updated, loss=loss(sums))
    artifacts.write_bytes(path, content.getvalue())
    return updated


def _name(place: str, number: int) -> str:
    return os.path.join(place, f"iteration-{number:06d}.npz")


def _read_newest(place: str) -> Optional[tuple[int, State]]:
    """The number of the last iteration and what it left."""
    found = FileSystems.match([os.path.join(place, "iteration-*.npz")])[0].metadata_list
    paths = sorted(each.path for each in found if not artifacts.is_unfinished(each.path))
    if not paths:
        return None
    return int(os.path.basename(paths[-1])[len("iteration-") : -len(".npz")]), _read_state(paths[-1])


def _read_state(path: str) -> State:
    with FileSystems.open(path) as file, artifacts.reading(path):
        stored = np.load(io.BytesIO(file.read()))
        return State(stored["model"], float(stored["loss"]))


def _name_job(rows: Sequence[Rows], start: np.ndarray, prepare: Optional[Prepare]) -> str:
    """A hash of the rows, of their files' sizes and times, of the start and of what is done to the rows."""
    digest = hashlib.sha256(np.ascontiguousarray(start).tobytes())
    for match in FileSystems.match(list(dict.fromkeys(row.group.path for row in rows))):
        for file in match.metadata_list:
            digest.update(f"{file.path} {file.size_in_bytes} {file.last_updated_in_seconds}\n".encode())
    for row in rows:
        digest.update(f"{row.group.path} {row.group.place} {row.group.num_rows} ".encode() + (row.keep or b"all"))
    for part in getattr(prepare, "args", ()):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


# --- k-means -------------------------------------------------------------------------------------------


def iterate_kmeans(rows: Sequence[Rows], start: np.ndarray, checkpoint_dir: str, **options) -> np.ndarray:
    """Lloyd's iteration from centroids [k, dim]; arguments and result as `iterate_sums`."""
    return iterate_sums(
        rows, kmeans.expect_clusters, kmeans.maximize_clusters, _inertia, start, checkpoint_dir, **options
    )


def _inertia(sums: kmeans.ClusterSums) -> float:
    return float(sums.inertia)


def fit_in_beam(checkpoint_dir: str, beam_args: Sequence[str] = (), iterations: int = ITERATIONS) -> Fit:
    """A fit for `clustering.run_clustering`: exact principal components and Lloyd's iteration, both as Beam jobs.

    This process reads the rows once for a sample that k-means++ draws the first centroids from, and once more to score.
    It holds the sample, [dim, dim] products, and 1 byte a row.
    """

    def fit(table: VectorTable, train: np.ndarray, num_clusters: int, config: ClusterConfig, progress=None) -> Model:
        rows = list_rows(table, train)
        drawn = draw_sample(train, num_clusters, config)
        # All rows of train, of which a vector that is not finite is told of before any job.
        parts = [vectors[drawn[found]] for found, vectors in table.iterate(config.batch_rows, keep=train)]
        sample = scale(np.concatenate(parts), config.l2)
        check_differ(sample, table.name)
        check_components(config, table.dim, table.name)
        facts = np.array([config.l2, config.components or table.dim])
        path = os.path.join(checkpoint_dir, f"components-{_name_job(rows, facts, None)}.npz")
        # Added up in another order they have other last digits, and the iterations would be another job's.
        if not FileSystems.exists(path):
            with beam.Pipeline(options=PipelineOptions(list(beam_args))) as root:
                moments = root | "ListRows" >> beam.Create(rows) | "SpreadRows" >> beam.Reshuffle()
                scaled = functools.partial(_scale, config.l2)
                moments |= "Sum" >> SumRows(_expect_moments, None, scaled, config.batch_rows)
                _ = moments | "Write" >> beam.Map(_write_components, num_components=config.components, path=path)
        with FileSystems.open(path) as file:
            stored = np.load(io.BytesIO(file.read()))
            projection = kmeans.Projection(stored["mean"], stored["components"])
        prepare = functools.partial(_project, config.l2, *projection)
        first, centroids = projection.apply(sample), []
        for seed in config.all_seeds:
            start = kmeans_plusplus(first, num_clusters, random_state=seed)[0].astype(np.float64)
            options = {"iterations": iterations, "beam_args": beam_args, "prepare": prepare}
            centroids.append(iterate_kmeans(rows, start, checkpoint_dir, batch_rows=config.batch_rows, **options))
        return Model(config.l2, projection, tuple(centroids))

    return fit


def _scale(l2: bool, vectors: np.ndarray) -> np.ndarray:
    return scale(vectors, l2)


def _project(l2: bool, mean: np.ndarray, components: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return kmeans.Projection(mean, components).apply(scale(vectors, l2))


def _expect_moments(_, vectors: np.ndarray) -> kmeans.MomentSums:
    return kmeans.expect_moments(vectors)


def _write_components(sums: kmeans.MomentSums, num_components: Optional[int], path: str) -> None:
    content = io.BytesIO()
    np.savez(content, **kmeans.find_components(sums, num_components)._asdict())
    artifacts.write_bytes(path, content.getvalue())
