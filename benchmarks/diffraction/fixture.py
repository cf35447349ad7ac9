"""Measures a reconstruction against the truth, beside what the field's program made of the same patterns.

python -m benchmarks.diffraction.fixture --data DIR

DIR holds `photons.emc` and `det_sim.h5`, patterns of a known particle and their detector; `truth_intensity_f4.npz` with
its intensity, `intens`, and `truth.npz` with `Q`, rotations of the particle to the detector; and, if that program was
run, its output as `dragonfly_out_it20.npz`, `intens` too. Measures: the mean correlation over spheres of radius 5 to 25
at the best rotation, see `validation.sphere_correlations`; and the median angle by which the particle's five-fold axis
is tilted in a pattern, see `axes`. Of several starts the one with the best held-out likelihood counts, which
knows nothing of the truth.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from benchmarks.claims import RESULTS, describe_hardware, record
from recsys_ssl.diffraction.axes import axis_tilts_degrees, find_axis
from recsys_ssl.diffraction.detector_files import read_detector
from recsys_ssl.diffraction.emc import Reconstruction, reconstruct
from recsys_ssl.diffraction.geometry import Detector
from recsys_ssl.diffraction.patterns import read_patterns
from recsys_ssl.diffraction.rotations import invert, to_matrices
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.validation import align, sphere_correlations

COMMAND = "python -m benchmarks.diffraction.fixture"
PEER = "dragonfly_out_it20.npz"
_FOLD = 5


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rotations", type=int, default=4)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the starts")
    parser.add_argument("--iterations", type=int, default=EmcSettings().iterations)
    parser.add_argument("--radii", type=int, nargs=2, default=(5, 25), metavar=("FIRST", "LAST"))
    options = parser.parse_args(arguments)

    radii = range(options.radii[0], options.radii[1] + 1)
    truth = load_array(options.data / "truth_intensity_f4.npz", "intens")
    orientations = invert(load_array(options.data / "truth.npz", "Q"))
    counts, detector = read_patterns(options.data / "photons.emc").counts, read_detector(options.data / "det_sim.h5")
    settings = EmcSettings(rotations=options.rotations, iterations=options.iterations)
    started = time.monotonic()
    runs = [(counts, detector, dataclasses.replace(settings, first_start=start)) for start in range(options.starts)]
    found = max(share(_run, runs, options.jobs), key=lambda run: run.held_out_log_likelihood)
    turn = align(found.volume, truth, radii).quaternion
    ours = float(sphere_correlations(found.volume, truth, radii, turn).mean())
    axis = find_axis(truth, radii, _FOLD)
    tilts = axis_tilts_degrees(found.quaternions, orientations, axis, to_matrices(turn) @ axis)
    facts = {
        "command": f"{COMMAND} --data DIR --rotations {options.rotations} --starts {options.starts}",
        "seconds": round(time.monotonic() - started, 1),
        "results": results,
    }
    patterns = f"{counts.shape[0]:,} patterns, n = {options.rotations}"
    what = f"{patterns}, correlation with the truth on spheres of radius {radii[0]} to {radii[-1]}"
    best = f"of {options.starts} starts the best by likelihood"
    tilt = float(np.median(tilts))
    print(f"{describe_hardware()}: correlation {ours:.4f}, tilt {tilt:.3f} degrees, start {found.start + 1}")
    record("diffraction", id="fixture_cc", what=f"{what}, {best}", value=ours, **facts)
    record(
        "diffraction",
        id="axis_tilt_deg",
        what=f"{patterns}, median tilt of the five-fold axis, {best}",
        value=tilt,
        unit="degrees",
        **facts,
    )
    if (options.data / PEER).exists():
        theirs = correlate(load_array(options.data / PEER, "intens"), truth, radii)
        print(f"Dragonfly's output: correlation {theirs:.4f}")
        record("diffraction", id="fixture_cc_peer", what=f"{what}, output of Dragonfly", value=theirs, **facts)


def _run(counts: sp.csr_matrix, detector: Detector, settings: EmcSettings) -> Reconstruction:
    return reconstruct(counts, detector, settings, progress=tell)


def share(work: Callable, arguments: Sequence[tuple], jobs: int) -> list:
    """What a function gives for each of some arguments, in processes where there is more than one job."""
    if jobs == 1:
        return [work(*each) for each in arguments]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, context) as pool:
        return list(pool.map(work, *zip(*arguments, strict=True)))


def load_array(path: Path, name: str) -> np.ndarray:
    """float64, an array of a file."""
    with np.load(path) as stored:
        return stored[name].astype(np.float64)


def correlate(volume: np.ndarray, truth: np.ndarray, radii: range) -> float:
    """Mean correlation of a volume, at its best rotation, with the truth over spheres."""
    return float(sphere_correlations(volume, truth, radii, align(volume, truth, radii).quaternion).mean())


def tell(row: dict) -> None:
    """Says how far a run is, now and then."""
    if row["iteration"] % 10 == 0:
        text = f"start {row['start'] + 1}  iteration {row['iteration']}  beta {row['beta']:.3f}"
        print(f"{text}  held out {row['held_out_log_likelihood']:.2f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
