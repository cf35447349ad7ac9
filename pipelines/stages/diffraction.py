"""The E-step of a reconstruction as a Beam job, for patterns that many machines share.

Blocks of patterns are files. Of the volume, each worker finds the statistics of a block over all rotations and leaves
what belongs to single patterns, 40 bytes each, in a file; the sums over patterns, 16 side^3 bytes, are combined as
those of k-means are. An iteration is a job; `emc.reconstruct` does the rest, with its checkpoints, as it does for
processes of one machine, which are faster as long as one machine will do.
"""

from __future__ import annotations

import functools
import io
import operator
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import scipy.sparse as sp
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.stages.sums import AddUp
from recsys_ssl import artifacts
from recsys_ssl.diffraction.emc import split
from recsys_ssl.diffraction.expectation import Problem, Shard, Statistics
from recsys_ssl.diffraction.likelihood import Normalizer

_SUMS_FILE = "sums.npz"


class Block(NamedTuple):
    """Some patterns, which a worker reads."""

    patterns: range
    path: str
    """Of their photons."""
    found_path: str
    """Where a worker leaves what it found of each."""


class Model(NamedTuple):
    """What an E-step is of."""

    volume: np.ndarray
    """[side, side, side] float64."""
    fluence: np.ndarray
    """[num_patterns] float64."""
    beta: float


# --- Transforms ----------------------------------------------------------------------------------------


class SumPatterns(beam.PTransform):
    """Blocks -> one element, their `expectation.Statistics`, without what belongs to single patterns."""

    def __init__(self, problem: Problem, model: Model):
        """Takes the problem without its photons, which workers read."""
        super().__init__()
        self._problem, self._model = problem, model

    def expand(self, blocks):
        expect = functools.partial(expect_block, problem=self._problem)
        return (
            blocks
            | "Expect" >> beam.Map(expect, model=beam.pvalue.AsSingleton(self._of_root(blocks)))
            | "AddUp" >> beam.CombineGlobally(AddUp(operator.add)).without_defaults()
        )

    def _of_root(self, blocks):
        return blocks.pipeline | "Model" >> beam.Create([self._model])


def expect_block(block: Block, problem: Problem, model: Model) -> Statistics:
    """The statistics of a block; what it found of each pattern goes to its file."""
    with FileSystems.open(block.path) as file:
        counts = sp.load_npz(io.BytesIO(file.read()))
    own = slice(block.patterns.start, block.patterns.stop)
    part = replace(problem, counts=counts, merged=problem.merged[own])
    shard = Shard(part, range(part.num_slices), range(part.num_patterns))
    normalizer = shard.score(model.volume, model.fluence[own], model.beta)
    found = shard.accumulate(normalizer)
    _write(block.found_path, expected=found.expected, **vars(normalizer))
    return replace(found, expected=np.zeros(0))


# --- The E-step ------------------------------------------------------------------------------------------


class BeamWorkers:
    """A Beam runner that does the E-step; a context manager, whose `expect` is for `emc.reconstruct`."""

    def __init__(self, problem: Problem, directory: str, num_blocks: int, beam_args: Sequence[str] = ()):
        """Writes the blocks.

        Args:
            problem: see `emc.make_problem`. Its patterns fit in this process, which does the other steps.
            directory: of this run alone, where the workers reach; gone at the end.
            num_blocks: of patterns, at most that many workers at once.

        Raises:
            ValueError: there are more blocks than patterns, or slices of equal weight.
        """
        if not 1 <= num_blocks <= problem.num_patterns:
            raise ValueError(
                f"parts of the patterns must be from 1 to {problem.num_patterns:,}. Received: {num_blocks}."
            )
        if problem.slice_weights == "equal":
            raise ValueError(
                "slices of equal weight need all patterns at once, which a Beam job has not. "
                "Received: slice_weights=equal. Use reconstruct.slice_weights=responsibility."
            )
        self._directory, self._beam_args = directory, list(beam_args)
        self._problem = replace(problem, counts=sp.csr_matrix(problem.counts.shape))
        self._blocks = []
        for number, patterns in enumerate(split(problem.num_patterns, num_blocks)):
            paths = (os.path.join(directory, f"{kind}-{number:05d}.npz") for kind in ("patterns", "found"))
            block, content = Block(patterns, *paths), io.BytesIO()
            sp.save_npz(content, problem.counts[patterns.start : patterns.stop])
            artifacts.write_bytes(block.path, content.getvalue())
            self._blocks.append(block)

    def __enter__(self) -> BeamWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        if FileSystems.exists(self._directory):
            FileSystems.delete([self._directory])

    def expect(self, volume: np.ndarray, fluence: np.ndarray, beta: float) -> tuple[Statistics, Normalizer]:
        """See `emc.Expect`."""
        path = os.path.join(self._directory, _SUMS_FILE)
        with beam.Pipeline(options=PipelineOptions(self._beam_args)) as root:
            blocks = root | "ListBlocks" >> beam.Create(self._blocks) | "Spread" >> beam.Reshuffle()
            sums = blocks | "Sum" >> SumPatterns(self._problem, Model(volume, fluence, beta))
            _ = sums | "Write" >> beam.Map(_write_sums, path=path)
        parts = [_read(block.found_path) for block in self._blocks]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        expected = joined.pop("expected")
        stored = _read(path)
        numbers = {name: stored[name] if stored[name].ndim else float(stored[name]) for name in stored}
        return Statistics(**numbers | {"expected": expected}), Normalizer(**joined)


def _write_sums(sums: Statistics, path: str) -> None:
    _write(path, **{field.name: getattr(sums, field.name) for field in fields(sums)})


def _write(path: str, **arrays) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)
    artifacts.write_bytes(path, content.getvalue())


def _read(path: str) -> dict[str, np.ndarray]:
    with FileSystems.open(path) as file, artifacts.reading(path), np.load(io.BytesIO(file.read())) as stored:
        return dict(stored)
