"""The report on a reconstruction: what it looks like, and how far it can be trusted; one HTML page and JSON.

Against the truth where it is known: correlation on spheres, orientations beside the floor of the grid, fluences.
Against itself where halves were reconstructed too. In any case how the run went.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.diffraction import plots
from recsys_ssl.diffraction.emc import Reconstruction
from recsys_ssl.diffraction.geometry import Detector, Mask
from recsys_ssl.diffraction.halves import Halves
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.validation import (
    align,
    fluence_error,
    grid_floor_degrees,
    orientation_errors_degrees,
    sphere_correlations,
)
from recsys_ssl.pages import data_uri, make_environment

_SHOWN_SPHERES = 12
_CAVEATS = (
    "Halves that agree are necessary for a good reconstruction, not sufficient: both share the blur of the grid of "
    "rotations, the start and the mask. Look at the patterns that neither half has merged, too.",
    "A volume is known up to a rotation, and its mirror image is one of them; orientations are compared after the one "
    "that fits best, and up to half a turn in the plane of a pattern.",
    "Of a particle that is nearly the same after some turn, orientations cannot be better than up to that turn: errors "
    "are large then, whatever the volume.",
    "This is an intensity. Phases, and so the density, are not retrieved.",
)


class Truth(NamedTuple):
    """What is known of made-up patterns; None what is not."""

    volume: Optional[np.ndarray] = None
    """[side, side, side]."""
    quaternions: Optional[np.ndarray] = None
    """[num_patterns, 4] float64."""
    fluence: Optional[np.ndarray] = None
    """[num_patterns] float64."""


def list_radii(detector: Detector) -> range:
    """Radii in whole voxels of the spheres on which pixels lie."""
    lengths = np.linalg.norm(detector.q_voxels[detector.mask != Mask.BAD], axis=1)
    # Two at least: nearer to the beam a sphere has a few voxels only.
    return range(max(2, math.ceil(lengths.min())), math.floor(lengths.max()) + 1)


def judge_reconstruction(
    found: Reconstruction,
    detector: Detector,
    settings: EmcSettings,
    truth: Truth = Truth(),  # noqa: B008 (immutable)
    halves: Optional[Halves] = None,
    title: str = "particle",
) -> dict[str, Any]:
    """What the page shows.

    Args:
        halves: of the same patterns, see `halves.compare_halves`; of the radii of `list_radii`.

    Returns:
        JSON-able: `title`, `counts`, `settings`, `history` of the start that was kept, `radii`, `floor_degrees`; and
        `spheres`, `orientations`, `fluence`, `halves`, each None where it is not known.

    Raises:
        ValueError: the truth is of another size.
    """
    radii = list_radii(detector)
    rows = [row for row in found.history if row["start"] == found.start]
    floor = grid_floor_degrees(settings.rotations)
    return {
        "title": title,
        "counts": {
            "patterns": len(found.fluence),
            "held_out": int(found.held_out.sum()),
            "starts": settings.starts,
            "start": found.start + 1,
            "iterations": len(rows),
            "side": len(found.volume),
        },
        "likelihood": {"merged": found.log_likelihood, "held_out": _known(found.held_out_log_likelihood)},
        "settings": dataclasses.asdict(settings),
        "history": [{name: _known(value) for name, value in row.items()} for row in rows],
        "radii": list(radii),
        "floor_degrees": floor,
        "spheres": None if truth.volume is None else _judge_volume(found.volume, truth.volume, radii),
        "orientations": None if truth.quaternions is None else _judge_orientations(found, truth.quaternions),
        "fluence": None if truth.fluence is None else _judge_fluence(found, settings, truth.fluence),
        "halves": None if halves is None else _judge_halves(halves),
        "caveats": list(_CAVEATS),
    }


def write_reconstruction_report(report: Mapping[str, Any], found: Reconstruction, detector: Detector, directory: Path):
    """Writes report.html and report.json.

    Raises:
        ValueError: the report holds NaN or infinity, which JSON cannot.
    """
    artifacts.write_text(directory / artifacts.REPORT_PAGE, render_reconstruction_report(report, found, detector))
    artifacts.write_text(directory / artifacts.REPORT_FILE, artifacts.to_json(report))


def render_reconstruction_report(report: Mapping[str, Any], found: Reconstruction, detector: Detector) -> str:
    """The page as HTML."""
    figures = {"planes": plots.draw(found.volume, _with_nan(report["history"]), detector.max_radius_voxels)}
    curves: dict[str, Sequence[Optional[float]]] = {}
    if report["spheres"]:
        curves["with the truth"] = report["spheres"]["correlations"]
    if report["halves"]:
        curves["between halves"] = report["halves"]["correlations"]
        label = "between the models of halves"
        figures["disagreement"] = plots.draw_angles(report["halves"]["degrees"], report["floor_degrees"], label)
    if curves:
        figures["spheres"] = plots.draw_spheres(report["radii"], curves)
    if report["orientations"]:
        figures["orientations"] = plots.draw_angles(report["orientations"]["degrees"], report["floor_degrees"], "error")
    if report["fluence"] and report["fluence"]["pairs"]:
        figures["fluence"] = plots.draw_fluences(*zip(*report["fluence"]["pairs"], strict=True))
    step = max(1, math.ceil(len(report["radii"]) / _SHOWN_SPHERES))
    return (
        make_environment(Path(__file__).parent, figure=_figure, count=lambda number: f"{number:,}")
        .get_template("reconstruction.html.jinja")
        .render(
            report=report,
            figures={name: data_uri(plots.to_png(figure)) for name, figure in figures.items()},
            shown=range(0, len(report["radii"]), step),
        )
    )


# --- What is judged --------------------------------------------------------------------------------------


def _judge_volume(volume: np.ndarray, truth: np.ndarray, radii: range) -> dict[str, Any]:
    if truth.shape != volume.shape:
        raise ValueError(
            f"the true volume must be of {list(volume.shape)} voxels. Received: {list(truth.shape)}. "
            "Give that of this detector."
        )
    correlations = sphere_correlations(volume, truth, radii, align(volume, truth, radii).quaternion)
    return {"correlations": _list(correlations), "mean": _mean(correlations)}


def _judge_orientations(found: Reconstruction, truth: np.ndarray) -> dict[str, Any]:
    return _of_angles(orientation_errors_degrees(found.quaternions, truth))


def _judge_fluence(found: Reconstruction, settings: EmcSettings, truth: np.ndarray) -> dict[str, Any]:
    if settings.model == "poisson" and not settings.fit_fluence:
        return {"correlation": None, "median_relative_error": None, "pairs": []}
    error = fluence_error(found.fluence, truth)
    pairs = zip(found.fluence / found.fluence.mean(), truth / truth.mean(), strict=True)
    return {
        "correlation": _known(error.correlation),
        "median_relative_error": error.median_relative_error,
        "pairs": [[float(left), float(right)] for left, right in pairs],
    }


def _judge_halves(halves: Halves) -> dict[str, Any]:
    correlations = {"correlations": _list(halves.correlations), "mean": _mean(halves.correlations)}
    return correlations | _of_angles(halves.disagreement_degrees)


def _of_angles(degrees: np.ndarray) -> dict[str, Any]:
    median, mean = float(np.median(degrees)), float(degrees.mean())
    return {"median_degrees": median, "mean_degrees": mean, "degrees": degrees.tolist()}


def _mean(values: np.ndarray) -> Optional[float]:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _list(values: np.ndarray) -> list[Optional[float]]:
    return [_known(float(value)) for value in values]


def _known(value: Any) -> Any:
    """None for NaN, which JSON does not have."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in history]


def _figure(number: Optional[float], digits: int = 3) -> str:
    return "–" if number is None else f"{number:,.{digits}f}"
