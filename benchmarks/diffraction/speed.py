"""Measures what an iteration costs, beside the field's programs, in one run that goes from one to the other.

python -m benchmarks.diffraction.speed --data DIR --program PATH/emc --id cpu_s_per_iteration_vs_c_program
python -m benchmarks.diffraction.speed --data DIR --program PATH/dragonfly.emc --id NAME
python -m benchmarks.diffraction.speed --data DIR --efficiency

DIR holds `photons.emc` and `det_sim.h5`. Both start at random and run the same number of iterations, ours on one
thread; CPU seconds are compared, the machine may be busy. Of a program's seconds those of a run of no iteration are
taken off, of ours reading, preparing patterns and compilation. The figure is the ratio of the medians over rounds.
`peers` says where programs come from.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from benchmarks.claims import RESULTS, describe_hardware, record
from benchmarks.diffraction import peers
from recsys_ssl.diffraction import emc
from recsys_ssl.diffraction.detector_files import read_detector
from recsys_ssl.diffraction.expectation import Problem, Shard
from recsys_ssl.diffraction.patterns import read_patterns
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.workers import Workers

COMMAND = "python -m benchmarks.diffraction.speed"


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--program", type=Path)
    parser.add_argument("--id", default="cpu_s_per_iteration_vs_c_program")
    parser.add_argument("--efficiency", action="store_true", help="two processes against one, in place of a program")
    parser.add_argument("--rotations", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the program; CPU seconds of all count")
    options = parser.parse_args(arguments)
    if (options.program is None) != options.efficiency:
        parser.error("give --program or --efficiency")

    started = time.monotonic()
    counts, detector = read_patterns(options.data / "photons.emc").counts, read_detector(options.data / "det_sim.h5")
    settings = EmcSettings(rotations=options.rotations, held_out_share=0.0, beta_factor=1.0)
    problem = emc.make_problem(counts, detector, settings)
    size = f"{problem.num_patterns:,} patterns, {len(problem.rotations.weights):,} rotations"
    if options.efficiency:
        value, what, told = measure_efficiency(problem, options.iterations, options.rounds)
        name, what = "efficiency_2_processes", f"{size}: {what}"
    else:
        value, what, told = compare(problem, options.program, options.data, options)
        name, what = options.id, f"{size}: {what}"
    what += f", the first {options.iterations}" if options.program else ""
    print(f"{describe_hardware()}, {what}: {value:.4f} ({told})")
    given = ["--efficiency"] if options.efficiency else ["--program", options.program.name, "--id", options.id]
    given += ["--iterations", str(options.iterations), "--rounds", str(options.rounds)]
    given += ["--threads", str(options.threads)] if options.program else []
    record(
        "diffraction",
        id=name,
        what=what,
        value=value,
        command=" ".join([COMMAND, "--data DIR", *given]),
        seconds=time.monotonic() - started,
        results=results,
    )


def compare(problem: Problem, program: Path, data: Path, options) -> tuple[float, str, str]:
    """Ours over theirs, in words what it is, and both."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as directory, threadpool_limits(1):
        shards = emc.make_shards(problem)
        start = emc.start_volume(problem, 0.1, 0, 0)
        iterate(problem, shards, start, 1)  # compiles, and prepares patterns
        for turn in range(options.rounds):
            places = [Path(directory, f"{turn}-{kind}") for kind in ("none", "all")]
            files = (data / "photons.emc", data / "det_sim.h5", options.rotations)
            ours.append(cpu_s_of(lambda: iterate(problem, shards, start, options.iterations)) / options.iterations)
            set_up = peers.run(program, *files, 0, places[0], threads=options.threads).cpu_s
            whole = peers.run(program, *files, options.iterations, places[1], threads=options.threads).cpu_s
            theirs.append((whole - set_up) / options.iterations)
            print(f"round {turn + 1}: {ours[-1]:.4f} against {theirs[-1]:.4f}", file=sys.stderr, flush=True)
    own, other = statistics.median(ours), statistics.median(theirs)
    name = "Dragonfly's package" if program.name.startswith("dragonfly") else "Dragonfly's C program"
    what = f"CPU seconds of an iteration over those of {name}"
    return own / other, what, f"{own:.3f} against {other:.3f} CPU s"


def measure_efficiency(problem: Problem, iterations: int, rounds: int) -> tuple[float, str, str]:
    """CPU seconds of one process over those of two that share the rotations, each with the process that asks them."""
    spent: dict[int, list[float]] = {1: [], 2: []}
    volume, fluence = emc.start_volume(problem, 0.1, 0, 0), np.ones(problem.num_patterns)
    with Workers(problem, 1) as one, Workers(problem, 2) as two:
        for pool in (one, two):
            pool.expect(volume, fluence, 0.03)  # compiles, and prepares patterns
        for _ in range(rounds):
            for pool in (one, two):
                before = _cpu_s_of_processes(pool.process_ids)
                for _ in range(iterations):
                    pool.expect(volume, fluence, 0.03)
                used = _cpu_s_of_processes(pool.process_ids) - before
                spent[len(pool.process_ids)].append(used / iterations)
                print(f"{len(pool.process_ids)} processes: {spent[len(pool.process_ids)][-1]:.3f}", file=sys.stderr)
    single, double = (statistics.median(spent[num]) for num in (1, 2))
    what = "CPU seconds of an iteration in 1 process over those in 2 that share the rotations"
    return single / double, what, f"{single:.3f} against {double:.3f} CPU s"


def iterate(problem: Problem, shards: Sequence[Shard], volume: np.ndarray, iterations: int) -> np.ndarray:
    """[side, side, side], what a volume becomes after some iterations at the usual beta."""
    fluence = np.ones(problem.num_patterns)
    for _ in range(iterations):
        found, _ = emc.expect_on(shards, volume, fluence, 0.0326)
        volume = emc.maximise(found, volume)
    return volume


def cpu_s_of(work: Callable[[], object]) -> float:
    """CPU seconds of all threads of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def _cpu_s_of_processes(process_ids: Sequence[int]) -> float:
    """Of some processes and this one."""
    used = [psutil.Process(process_id).cpu_times() for process_id in process_ids]
    return sum(each.user + each.system for each in used) + time.process_time()


if __name__ == "__main__":
    main()
