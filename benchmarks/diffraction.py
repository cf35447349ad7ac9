"""Measures a reconstruction against the truth, beside what the field's program made of the same patterns.

python -m benchmarks.diffraction --data DIR

DIR holds `photons.emc` and `det_sim.h5`, patterns of a known particle and their detector; `truth_intensity_f4.npz` with
its intensity, `intens`; and, if that program was run, its output as `dragonfly_out_it20.npz`, `intens` too. The figure
is the mean correlation of shells 5 to 25 after the best rotation, see `recsys_ssl.diffraction.validation`; of several
starts the one with the best held-out likelihood counts, which knows nothing of the truth.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.claims import RESULTS, describe_hardware, record
from recsys_ssl.diffraction.detector_files import read_detector
from recsys_ssl.diffraction.emc import reconstruct
from recsys_ssl.diffraction.patterns import read_patterns
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.validation import align, rotate, shell_correlations

COMMAND = "python -m benchmarks.diffraction"
PEER = "dragonfly_out_it20.npz"


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rotations", type=int, default=4)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=EmcSettings().iterations)
    parser.add_argument("--radii", type=int, nargs=2, default=(5, 25), metavar=("FIRST", "LAST"))
    options = parser.parse_args(arguments)

    radii = range(options.radii[0], options.radii[1] + 1)
    truth = load_intensity(options.data / "truth_intensity_f4.npz")
    counts, detector = read_patterns(options.data / "photons.emc").counts, read_detector(options.data / "det_sim.h5")
    settings = EmcSettings(rotations=options.rotations, starts=options.starts, iterations=options.iterations)
    started, cpu = time.monotonic(), time.process_time()
    found = reconstruct(counts, detector, settings, progress=_tell)
    cpu_s = (time.process_time() - cpu) / len(found.history)
    facts = {
        "command": f"{COMMAND} --data DIR --rotations {options.rotations} --starts {options.starts}",
        "seconds": round(time.monotonic() - started, 1),
        "results": results,
    }
    what = f"{counts.shape[0]:,} patterns, n = {options.rotations}, correlation with the truth in shells "
    what += f"{radii[0]} to {radii[-1]}"
    ours = correlate(found.volume, truth, radii)
    print(f"{describe_hardware()}: correlation {ours:.4f}, {cpu_s:.3f} CPU seconds an iteration")
    record(
        "diffraction",
        id="fixture_cc",
        what=f"{what}, of {options.starts} starts the best by likelihood",
        value=ours,
        **facts,
    )
    record(
        "diffraction",
        id="fixture_cpu_s_per_iteration",
        what=f"{counts.shape[0]:,} patterns, n = {options.rotations}: an iteration",
        value=cpu_s,
        unit="CPU s",
        **facts,
    )
    if (options.data / PEER).exists():
        theirs = correlate(load_intensity(options.data / PEER), truth, radii)
        print(f"Dragonfly's output: correlation {theirs:.4f}")
        record("diffraction", id="fixture_cc_peer", what=f"{what}, output of Dragonfly", value=theirs, **facts)


def load_intensity(path: Path) -> np.ndarray:
    """[side, side, side] float64, array `intens` of a file."""
    with np.load(path) as stored:
        return stored["intens"].astype(np.float64)


def correlate(volume: np.ndarray, truth: np.ndarray, radii: range) -> float:
    """Mean correlation of the shells of a volume, at its best rotation, with those of the truth."""
    turned = rotate(volume, align(volume, truth, radii).quaternion)
    return float(shell_correlations(turned, truth, radii).mean())


def _tell(row: dict) -> None:
    if row["iteration"] % 10 == 0:
        text = f"start {row['start'] + 1}  iteration {row['iteration']}  beta {row['beta']:.3f}"
        print(f"{text}  held out {row['held_out_log_likelihood']:.2f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
