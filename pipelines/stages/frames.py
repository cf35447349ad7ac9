"""Frames of a detector to photon patterns, as a Beam job: each worker reads some frames and leaves their hits.

Hits go to files of sparse photons, which `recsys-ssl reconstruct` takes as a directory; what is no hit goes to a table
with its reason. Most frames of an experiment have seen no particle, so that many rejected ones are no fault.
"""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from recsys_ssl import artifacts
from recsys_ssl.diffraction.frames import FrameSettings, find_hits, read_frames
from recsys_ssl.diffraction.patterns import Patterns, to_npz

_FRAMES_PER_PART = 256


class Frames(NamedTuple):
    """Some frames of a file, which a worker reads."""

    path: str
    rows: range
    to: str
    """The file that their hits go to."""


def list_frames(paths: Sequence[str], counts: Sequence[int], directory: str) -> list[Frames]:
    """All frames, in parts; `counts` says how many each file has."""
    found: list[Frames] = []
    for path, count in zip(paths, counts, strict=True):
        for first in range(0, count, _FRAMES_PER_PART):
            to = os.path.join(directory, f"patterns-{len(found):06d}.npz")
            found.append(Frames(path, range(first, min(count, first + _FRAMES_PER_PART)), to))
    return found


class FindHits(beam.PTransform):
    """Frames -> the number of hits of each part; and by the tag `rejected` rows path, frame, reason, photons."""

    REJECTED = "rejected"

    def __init__(self, mask: np.ndarray, settings: FrameSettings):
        super().__init__()
        self._mask, self._settings = mask, settings

    def expand(self, frames):
        return frames | beam.ParDo(_FindHits(self._mask, self._settings)).with_outputs(self.REJECTED, main="hits")


class _FindHits(beam.DoFn):
    def __init__(self, mask: np.ndarray, settings: FrameSettings):
        self._mask, self._settings = mask, settings

    def process(self, element: Frames):
        found = find_hits(read_frames(element.path, self._settings.dataset, element.rows), self._mask, self._settings)
        if len(found.rows):
            artifacts.write_bytes(element.to, to_npz(Patterns(found.counts)))
        yield len(found.rows)
        for row, reason, photons in found.rejected:
            yield beam.pvalue.TaggedOutput(FindHits.REJECTED, (element.path, element.rows.start + row, reason, photons))


def prepare_patterns(
    frames: Sequence[Frames],
    mask: np.ndarray,
    settings: FrameSettings,
    rejected_path: str,
    summary_path: str,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs the job and returns what it counted: `hits`, and `rejected` by reason.

    Args:
        mask: [num_pixels] uint8, before binning.
        rejected_path: of the table of rejected frames, CSV.
        summary_path: of what is returned, JSON.
    """
    with beam.Pipeline(options=PipelineOptions(list(beam_args))) as root:
        found = root | "ListFrames" >> beam.Create(list(frames)) | "Spread" >> beam.Reshuffle()
        found |= "FindHits" >> FindHits(mask, settings)
        hits = found["hits"] | "Hits" >> beam.CombineGlobally(sum)
        rejected = found[FindHits.REJECTED]
        reasons = rejected | "Reasons" >> beam.Map(lambda row: row[2]) | beam.combiners.Count.PerElement()
        _ = hits | "Summary" >> beam.Map(_summarise, beam.pvalue.AsDict(reasons), path=summary_path)
        _ = (
            rejected
            | "List" >> beam.combiners.ToList()
            | "WriteRejected" >> beam.Map(functools.partial(_write_rejected, path=rejected_path))
        )
    return json.loads(artifacts.read_text(summary_path))


def _summarise(hits: int, reasons: dict[str, int], path: str) -> None:
    artifacts.write_text(path, artifacts.to_json({"hits": hits, "rejected": reasons}))


def _write_rejected(rows: Sequence[tuple[str, int, str, int]], path: str) -> None:
    text = io.StringIO()
    text.write("file,frame,reason,photons\n")
    for name, row, reason, photons in sorted(rows):
        text.write(f'"{name}",{row},{reason},{photons}\n')
    artifacts.write_text(path, text.getvalue())
