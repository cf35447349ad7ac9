"""Measures reconstructions of made-up particles, whose truth is known.

python -m benchmarks.diffraction.made weights                      slices by responsibility against all alike
python -m benchmarks.diffraction.made peer --program PATH/dragonfly.emc      beside the field's program
python -m benchmarks.diffraction.made fluence                      fluences that differ between patterns

Particles are blobs without any symmetry, seen to nearly six speckles, which a grid of n = 4 hardly serves: patterns of
1,400 photons on 35 x 35 pixels, 1,000 unless told otherwise. A fixed beta ends at a volume that looks the same from
everywhere, so both programs raise it: ours by its own rule, the peer by half every three iterations, up to 1. The
figure is the mean correlation over spheres, see `validation.sphere_correlations`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.claims import RESULTS, describe_hardware, record
from benchmarks.diffraction import peers
from benchmarks.diffraction.fixture import correlate, share, tell
from recsys_ssl.diffraction import detector_files, patterns, simulate, validation
from recsys_ssl.diffraction.emc import reconstruct
from recsys_ssl.diffraction.geometry import Detector, make_detector
from recsys_ssl.diffraction.settings import EmcSettings

COMMAND = "python -m benchmarks.diffraction.made"
_NUM_BLOBS = 40
_PER_VOXEL = 1 / 3
_PEER_OPTIONS = {"need_scaling": 0, "beta_schedule": "1.5 3"}
_FLUENCE_SHAPE = 2.0


class Made(NamedTuple):
    """A particle and its patterns."""

    detector: Detector
    patterns: simulate.Simulated
    radii: range
    """Of the spheres that count."""


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["weights", "peer", "fluence"])
    parser.add_argument("--program", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="of the program")
    parser.add_argument("--program-iterations", type=int, default=40)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2, help="starts of each object, of which each counts")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the objects")
    parser.add_argument("--rotations", type=int, default=4)
    parser.add_argument("--patterns", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=35)
    parser.add_argument("--iterations", type=int, default=EmcSettings().iterations)
    options = parser.parse_args(arguments)
    if options.what == "peer" and options.program is None:
        parser.error("peer needs --program")

    started = time.monotonic()
    found = {"weights": measure_weights, "peer": measure_peer, "fluence": measure_fluence}[options.what](options)
    size = f"{options.patterns:,} patterns, n = {options.rotations}"
    given = [Path(word).name if "/" in word else word for word in (sys.argv[1:] if arguments is None else arguments)]
    command = " ".join([COMMAND, *given])
    for name, (what, value) in found.items():
        print(f"{describe_hardware()}, {what}: {value:.4f}")
        record(
            "diffraction",
            id=name,
            what=f"{what}, {size}",
            value=value,
            command=command,
            seconds=time.monotonic() - started,
            results=results,
        )


def make(seed: int, options, fluence_shape: float | None = None) -> Made:
    """An object without symmetry, another for each seed."""
    detector = make_detector(300.0, 1024.0 * 51 / options.pixels, 6.2, options.pixels, stop_radius_pixels=2.5)
    volume = simulate.intensity(simulate.draw_blobs(_NUM_BLOBS, seed), detector.side, _PER_VOXEL)
    made = simulate.draw_patterns(volume, detector, options.patterns, 1400, seed, fluence_shape)
    return Made(detector, made, range(3, (options.pixels - 1) // 2 + 1))


def run_ours(made: Made, options, seed: int = 0, **changes) -> float:
    """Correlation of one start with the truth."""
    settings = EmcSettings(rotations=options.rotations, iterations=options.iterations, seed=seed, **changes)
    found = reconstruct(made.patterns.counts, made.detector, settings, progress=tell)
    return correlate(found.volume, made.patterns.volume, made.radii)


# --- What is measured ------------------------------------------------------------------------------------


def measure_weights(options) -> dict[str, tuple[str, float]]:
    """Means over objects and starts for both weights, and the lowest and highest difference of an object."""
    weights = ("responsibility", "equal")
    runs = [(number, each, options) for number in range(options.objects) for each in weights]
    of_objects = share(_run_weights, runs, options.jobs)
    means = np.array(of_objects).reshape(options.objects, len(weights))
    differences = means[:, 0] - means[:, 1]
    of = f"mean of {options.objects} asymmetric objects and {options.seeds} starts"
    less = "slices by responsibility less slices alike"
    return {
        "weights_responsibility_cc": (f"slices by their responsibility: correlation, {of}", float(means[:, 0].mean())),
        "weights_equal_cc": (f"slices all alike: correlation, {of}", float(means[:, 1].mean())),
        "weights_difference_lowest": (f"{less}: correlation, lowest of the objects", float(differences.min())),
        "weights_difference_highest": (f"{less}: correlation, highest of the objects", float(differences.max())),
    }


def _run_weights(number: int, weights: str, options) -> float:
    made = make(number, options)
    values = [run_ours(made, options, seed, slice_weights=weights) for seed in range(options.seeds)]
    print(f"object {number}, {weights}: {[round(value, 4) for value in values]}", file=sys.stderr, flush=True)
    return statistics.mean(values)


def measure_peer(options) -> dict[str, tuple[str, float]]:
    """Ours and theirs of each object, the mean of each, and the lowest difference."""
    found = np.array(share(_run_both, [(number, options) for number in range(options.objects)], options.jobs))
    of = f"asymmetric objects: correlation with the truth, {options.objects} of them"
    lowest = float((found[:, 0] - found[:, 1]).min())
    return {
        "asymmetric_cc_vs_peer": (f"{of}, ours less Dragonfly's package, lowest", lowest),
        "asymmetric_cc": (f"{of}, ours, mean", float(found[:, 0].mean())),
        "asymmetric_cc_peer": (f"{of}, Dragonfly's package, mean", float(found[:, 1].mean())),
    }


def _run_both(number: int, options) -> tuple[float, float]:
    made = make(number, options)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        detector_files.write_detector(place / "detector.h5", made.detector)
        patterns.write_patterns(place / "photons.emc", patterns.Patterns(made.patterns.counts))
        files = (place / "photons.emc", place / "detector.h5", options.rotations)
        run = peers.run(
            options.program, *files, options.program_iterations, place / "run", _PEER_OPTIONS, options.threads
        )
    found = run_ours(made, options), correlate(run.volume, made.patterns.volume, made.radii)
    print(f"object {number}: {found[0]:.4f} against {found[1]:.4f}", file=sys.stderr, flush=True)
    return found


def measure_fluence(options) -> dict[str, tuple[str, float]]:
    """Of gamma-distributed fluences, those that were found."""
    made = make(0, options, _FLUENCE_SHAPE)
    settings = EmcSettings(rotations=options.rotations, iterations=options.iterations, fit_fluence=True)
    found = reconstruct(made.patterns.counts, made.detector, settings, progress=tell)
    error = validation.fluence_error(found.fluence, made.patterns.fluence)
    what = f"fluences of a gamma distribution of shape {_FLUENCE_SHAPE:g}"
    return {
        "fluence_cc": (f"{what}: correlation with the truth", error.correlation),
        "fluence_error": (f"{what}: median relative error", error.median_relative_error),
    }


if __name__ == "__main__":
    main()
