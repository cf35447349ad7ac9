"""Runs the field's programs, Dragonfly's package and its C program, on files of patterns, and counts their CPU time.

Both take a `config.ini`; each is built as its own pages say, in an environment of its own. The package is
`pip install dragonfly-spi`, its program `dragonfly.emc`; the C program `emc` comes with the repository of Dragonfly.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recsys_ssl.diffraction.volumes import read_volume

_CONFIG = """[parameters]
detd = 300
lambda = 6.2
detsize = 51
pixsize = 1.024
stoprad = 0
polarization = x

[emc]
in_photons_file = {photons}
in_detector_file = {detector}
output_folder = data/
log_file = EMC.log
num_div = {rotations}
"""
"""Of `parameters` only the detector's file counts once there is one."""
# Open MPI, which both are linked to, asks for this where there is one machine and one user. Threads that wait do not
# spin, which would be counted as work.
_MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_WAIT_POLICY": "passive"}


class Run(NamedTuple):
    """What a program did."""

    cpu_s: float
    """Of the whole process."""
    volume: np.ndarray
    """[side, side, side] float64, of the last iteration."""


def run(
    program: Path,
    photons: Path,
    detector: Path,
    rotations: int,
    iterations: int,
    directory: Path,
    options: Mapping[str, object] | None = None,
    threads: int = 1,
) -> Run:
    """Runs a program.

    Args:
        photons, detector: files in Dragonfly's formats.
        rotations: n of the 600-cell.
        directory: an empty one, which receives its files.
        options: further lines of `[emc]`.
        threads: of OpenMP; their CPU seconds are added.

    Raises:
        ValueError: it failed; with the end of what it said.
    """
    (directory / "data").mkdir(parents=True)
    config = _CONFIG.format(photons=photons.absolute(), detector=detector.absolute(), rotations=rotations)
    config += "".join(f"{name} = {value}\n" for name, value in (options or {}).items())
    (directory / "config.ini").write_text(config)
    command = [str(program.absolute()), "-t", str(threads), "-c", "config.ini", str(iterations)]
    before = _children_cpu_s()
    done = subprocess.run(
        command, cwd=directory, env=os.environ | _MPI, capture_output=True, text=True, errors="replace", check=False
    )
    cpu_s = _children_cpu_s() - before
    output = directory / "data" / f"output_{iterations:03d}.h5"
    if done.returncode or not output.exists():
        raise ValueError(
            f"{program.name} must leave {output.name}. Received: status {done.returncode}, "
            f"{(done.stdout + done.stderr)[-300:]!r}. Run it by hand in {directory}."
        )
    return Run(cpu_s, read_volume(output))


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
