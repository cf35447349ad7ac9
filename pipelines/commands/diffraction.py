"""The commands `prepare-patterns`, frames to photon patterns, and `reconstruct`, these to a particle's intensity."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console

from pipelines.commands.session import BeamArgs, Settings, session
from pipelines.console import plain, show_table
from pipelines.progress import PROGRESS
from recsys_ssl import artifacts

if TYPE_CHECKING:  # their modules load numba
    import numpy as np
    import scipy.sparse as sp

    from recsys_ssl.diffraction.emc import Reconstruction
    from recsys_ssl.diffraction.geometry import Detector
    from recsys_ssl.diffraction.settings import EmcSettings

_RESULT_DIR, _CHECKPOINT_FILE, _BLOCKS_DIR = "reconstruction", "checkpoint.npz", "blocks"
_PATTERNS_DIR = "patterns"
_LEAST_INFORMATION = 0.1
"""Nats a pattern; a grid of 3,240 rotations has 8 to give."""


def prepare_patterns(
    frames: Annotated[list[Path], typer.Argument(help="HDF5 files of frames.", show_default=False)],
    detector: Annotated[Path, typer.Option("--detector", help="Detector that they were taken with: .h5 or .dat.")],
    to: Annotated[Path, typer.Option("--to", help="Directory that receives patterns and the binned detector.")],
    set_: Settings = None,
    beam: BeamArgs = None,
) -> None:
    """Turns frames of a detector into photon patterns: calibrates, bins, and keeps those that have seen a particle.

    [dim]recsys-ssl prepare-patterns run-*.h5 --detector detector.h5 --set frames.adu_per_photon=26 --to build/run[/dim]
    """
    with session(to, "prepare-patterns", is_alone=True) as (console, lines):
        lines.start("prepare")
        from pipelines.stages import frames as stage
        from recsys_ssl.diffraction import detector_files
        from recsys_ssl.diffraction.frames import FrameSettings, bin_detector, count_frames
        from recsys_ssl.settings import parse_section

        settings = parse_section("frames", FrameSettings, list(set_ or []))
        geometry = detector_files.read_detector(detector)
        sizes = [count_frames(path, settings.dataset, geometry.num_pixels) for path in frames]
        shapes = sorted({shape for _, shape in sizes})
        if len(shapes) > 1:
            raise ValueError(f"frames must be of one shape. Received: {shapes}. Prepare the files one by one.")
        binned = bin_detector(geometry, shapes[0], settings.bin)
        artifacts.require_place(to / _PATTERNS_DIR)
        with artifacts.whole_directory(to / _PATTERNS_DIR) as unfinished:
            paths = [str(path.absolute()) for path in frames]
            parts = stage.list_frames(paths, [count for count, _ in sizes], str(unfinished))
            found = stage.prepare_patterns(
                parts,
                geometry.mask,
                settings,
                str(unfinished / "rejected.csv"),
                str(unfinished / "summary.json"),
                beam or [],
            )
            if not found["hits"]:
                raise ValueError(
                    f"some frames must have seen a particle. Received: none of {sum(count for count, _ in sizes):,}; "
                    f"{_tell_rejected(found['rejected'])}. Check frames.adu_per_photon and frames.min_photons."
                )
            detector_files.write_detector(unfinished / "detector.h5", binned)
        PROGRESS.info(f"{found['hits']:,} hits; {_tell_rejected(found['rejected'])}")
        lines.finish()
        console.print(f"patterns {plain(str(to / _PATTERNS_DIR))}", highlight=False, soft_wrap=True)


def _tell_rejected(rejected: dict[str, int]) -> str:
    reasons = (f"{count:,} {reason}" for reason, count in sorted(rejected.items()))
    return ", ".join(reasons) or "none rejected"


class Method(str, enum.Enum):
    """Where the E-step is done."""

    processes = "processes"
    beam = "beam"


def reconstruct(
    patterns: Annotated[
        Path,
        typer.Argument(help="File of photons: .emc, HDF5 or .npz; or a directory of these last.", show_default=False),
    ],
    detector: Annotated[Path, typer.Option("--detector", help="Detector that they were taken with: .h5 or .dat.")],
    to: Annotated[Path, typer.Option("--to", help="Directory that receives the reconstruction.")],
    rotations: Annotated[
        Optional[int],
        typer.Option("--rotations", help="Parts of an edge of the 600-cell; 4 (default): 3,240 rotations.", min=1),
    ] = None,
    set_: Settings = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes that share the rotations.", min=1)] = 1,
    pattern_parts: Annotated[
        int, typer.Option("--pattern-parts", help="Share the patterns too, in so many parts.", min=1)
    ] = 1,
    method: Annotated[
        Method, typer.Option("--method", help="processes of this machine; or beam, for the parts of the patterns.")
    ] = Method.processes,
    beam: BeamArgs = None,
    halves: Annotated[
        bool, typer.Option("--halves", help="Reconstruct two halves of the patterns too, for the report.")
    ] = False,
    truth: Annotated[
        Optional[Path],
        typer.Option("--truth", help="The true volume of made-up patterns, .h5 or .mrc, for the report."),
    ] = None,
) -> None:
    """Reconstructs the intensity that photon patterns of unknown orientation are slices of; a killed run goes on.

    [dim]recsys-ssl reconstruct photons.emc --detector detector.h5 --rotations 4 --workers 2 --to build/particle[/dim]
    """
    with session(to, "reconstruct", is_alone=True) as (console, lines):
        lines.start("Read patterns")
        from recsys_ssl.diffraction import detector_files, emc
        from recsys_ssl.diffraction.halves import compare_halves, count_sentinels
        from recsys_ssl.diffraction.patterns import read_patterns
        from recsys_ssl.diffraction.report import Truth, judge_reconstruction, list_radii
        from recsys_ssl.diffraction.settings import EmcSettings
        from recsys_ssl.settings import parse_section

        given = [] if rotations is None else [f"reconstruct.rotations={rotations}"]
        settings = parse_section("reconstruct", EmcSettings, [*given, *(set_ or [])])
        artifacts.require_place(to / _RESULT_DIR)
        given_patterns, geometry = read_patterns(patterns), detector_files.read_detector(detector)
        counts = given_patterns.counts
        problem = emc.make_problem(counts, geometry, settings)
        if method is Method.processes:
            emc.make_mesh(problem, workers, pattern_parts)
        _check_method(method, workers, beam)
        if halves:
            count_sentinels(counts.shape[0])
        known = Truth(_read_truth(truth, geometry.side), given_patterns.quaternions, given_patterns.fluence)
        mean_photons = float(counts.sum()) / counts.shape[0]
        PROGRESS.info(f"{counts.shape[0]:,} patterns of {mean_photons:,.0f} photons")
        lines.finish()

        lines.start("reconstruct")
        engine = _Engine(geometry, settings, method, workers, pattern_parts, tuple(beam or ()), to / _BLOCKS_DIR)
        found = engine.run(counts, to / _CHECKPOINT_FILE, _teller(settings))
        PROGRESS.info(f"{len(found.history):,} iterations, start {found.start + 1} of {settings.starts}")
        if _last_row(found)["information"] < _LEAST_INFORMATION:
            PROGRESS.warning(
                "orientations are hardly known: the volume looks much the same from everywhere. Are there enough "
                "photons on good pixels? A larger reconstruct.beta or reconstruct.beta_factor leaves it sooner."
            )
        lines.finish()

        lines.start("report")
        both = compare_halves(counts, geometry, settings, list_radii(geometry), engine.run) if halves else None
        report = judge_reconstruction(found, geometry, settings, known, both, patterns.name)
        _write(settings, found, geometry, report, to / _RESULT_DIR)
        lines.finish()
        _show(console, found, to / _RESULT_DIR)


@dataclasses.dataclass(frozen=True)
class _Engine:
    """Where reconstructions with one detector and its settings are made."""

    detector: Detector
    settings: EmcSettings
    method: Method
    workers: int
    pattern_parts: int
    beam: tuple[str, ...]
    blocks: Path

    def run(
        self,
        counts: sp.csr_matrix,
        checkpoint: Optional[Path] = None,
        progress: Optional[Callable[[dict[str, Any]], None]] = None,
    ) -> Reconstruction:
        """See `emc.reconstruct`."""
        from recsys_ssl.diffraction import emc
        from recsys_ssl.diffraction.workers import Workers

        with contextlib.ExitStack() as stack:
            expect, problem = None, emc.make_problem(counts, self.detector, self.settings)
            if self.method is Method.beam:
                from pipelines.stages.diffraction import BeamWorkers

                job = BeamWorkers(problem, str(self.blocks), self.pattern_parts, self.beam)
                expect = stack.enter_context(job).expect
            elif self.workers > 1:
                pool = Workers(problem, self.workers, pattern_parts=self.pattern_parts)
                expect = stack.enter_context(pool).expect
            return emc.reconstruct(counts, self.detector, self.settings, checkpoint, expect, progress)


def _check_method(method: Method, workers: int, beam: Optional[list[str]]) -> None:
    """Raises ValueError where an option is of the other method."""
    if beam and method is not Method.beam:
        raise ValueError(f"--beam goes with --method beam. Received: --method {method.value}. Remove one.")
    if workers > 1 and method is Method.beam:
        raise ValueError(
            f"with --method beam the runner has the workers. Received: --workers {workers}. "
            "Give --pattern-parts, and options of the runner as --beam."
        )


def _teller(settings: EmcSettings) -> Callable[[dict[str, Any]], None]:
    def tell(row: dict[str, Any]) -> None:
        PROGRESS.info(
            f"start {row['start'] + 1}/{settings.starts}  iteration {row['iteration']}/{settings.iterations}  "
            f"beta {row['beta']:.3f}  held out {row['held_out_log_likelihood']:.2f}  "
            f"information {row['information']:.2f}  change {row['rms_change']:.4f}"
        )

    return tell


def _last_row(found: Reconstruction) -> dict[str, Any]:
    """Of the history, of the start that was kept."""
    return [row for row in found.history if row["start"] == found.start][-1]


def _read_truth(path: Optional[Path], side: int) -> Optional[np.ndarray]:
    from recsys_ssl.diffraction.volumes import read_volume

    if path is None:
        return None
    volume = read_volume(path)
    if len(volume) != side:
        raise ValueError(
            f"--truth must be of the detector's {side} voxels along an edge. Received: {len(volume)}. "
            "Give the volume that the patterns were made of."
        )
    return volume


def _write(
    settings: EmcSettings, found: Reconstruction, detector: Detector, report: dict[str, Any], directory: Path
) -> None:
    """All files or none."""
    import pandas as pd

    from recsys_ssl.diffraction.emc import to_facts
    from recsys_ssl.diffraction.plots import draw
    from recsys_ssl.diffraction.report import write_reconstruction_report
    from recsys_ssl.diffraction.volumes import write_volume

    columns: dict[str, Any] = {"row": range(len(found.fluence))}
    columns |= dict(zip(("w", "x", "y", "z"), found.quaternions.T, strict=True))
    columns |= {"rotation": found.rotations, "fluence": found.fluence, "held_out": found.held_out.astype(int)}
    with artifacts.whole_directory(directory) as unfinished:
        write_volume(unfinished / "volume.h5", found.volume)
        write_volume(unfinished / "volume.mrc", found.volume)
        rows = [row for row in found.history if row["start"] == found.start]
        draw(found.volume, rows, detector.max_radius_voxels).savefig(unfinished / "planes.png", dpi=150)
        artifacts.write_text(unfinished / "orientations.csv", pd.DataFrame(columns).to_csv(index=False))
        artifacts.write_text(unfinished / "reconstruction.json", artifacts.to_json(to_facts(settings, found)))
        write_reconstruction_report(report, found, detector, unfinished)


def _show(console: Console, found: Reconstruction, directory: Path) -> None:
    last = _last_row(found)
    figures = {
        "log-likelihood": found.log_likelihood,
        "held out": found.held_out_log_likelihood,
        "information": last["information"],
        "beta": last["beta"],
        "last change": last["rms_change"],
    }
    rows = [(name, f"{value:.4f}") for name, value in figures.items()]
    console.print()
    show_table(console, "nats a pattern, and how it ended", ("figure", "value"), rows, texts=("figure",))
    for name in (
        artifacts.REPORT_PAGE,
        "volume.h5",
        "volume.mrc",
        "planes.png",
        "orientations.csv",
        "reconstruction.json",
    ):
        console.print(f"{name:<24} {plain(str(directory / name))}", highlight=False, soft_wrap=True)
