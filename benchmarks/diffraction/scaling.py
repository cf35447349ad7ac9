"""Measures how an iteration grows, and works out what many workers would take.

python -m benchmarks.diffraction.scaling

CPU seconds of an iteration on one thread over patterns N, rotations M, pixels P; they are fitted by

    t = a M N P / g + b M P / g + c M N + d V

g the mirror images that share a slice, P the pixels that are merged, V the voxels: two matrix products, slices and
their adjoint, responsibilities, volumes. With R workers that share the rotations an iteration takes

    T = (a M N P / g + b M P / g + c M N) / R + d V + log2(R) (16 V + 32 N) / bandwidth

the sums of two volumes and of what each pattern's responsibilities add up to, along a tree. The bandwidth is
that of two processes of this machine over a TCP socket; a network has its own. Claims of the topic diffraction_scaling.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.optimize
from threadpoolctl import threadpool_limits

from benchmarks.claims import RESULTS, describe_hardware, record
from benchmarks.diffraction.speed import cpu_s_of
from recsys_ssl.diffraction import emc, simulate
from recsys_ssl.diffraction.expectation import Problem
from recsys_ssl.diffraction.geometry import make_detector
from recsys_ssl.diffraction.rotations import num_rotations
from recsys_ssl.diffraction.settings import EmcSettings

COMMAND = "python -m benchmarks.diffraction.scaling"
TOPIC = "diffraction_scaling"
_BASE = {"patterns": 1000, "rotations": 4, "pixels": 35}
_STEPS = {"patterns": (500, 1000, 2000, 4000), "rotations": (2, 3, 4, 6), "pixels": (25, 35, 51, 71)}
_LARGE = {"patterns": 1_000_000, "rotations": 8, "pixels": 113}
"""A night of an experiment, on pixels as many as the field's programs bin to."""
_WORKERS = 100
_SENT_BYTES, _SENDINGS = 2**26, 3


class Size(NamedTuple):
    """What an iteration is of."""

    num_patterns: int
    num_rotations: int
    num_pixels: int
    """That are merged."""
    num_voxels: int
    group_size: int


class Constants(NamedTuple):
    """Of the model, in CPU seconds, see the module."""

    product: float
    slice_pixel: float
    responsibility: float
    voxel: float
    bandwidth_bytes_per_s: float


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=2, help="of each size, after one that compiles")
    parser.add_argument("--shrink", type=int, default=1, help="divides patterns and pixels, for a try")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def tell(name: str, what: str, value: float, unit: str) -> None:
        print(f"{what}: {value:.4g} {unit}", flush=True)
        facts = {"command": COMMAND, "seconds": time.monotonic() - started, "results": results}
        record(TOPIC, id=name, what=what, value=value, unit=unit, **facts)

    print(describe_hardware())
    sizes, seconds = [], []
    with threadpool_limits(1):
        for name, steps in _STEPS.items():
            for step in steps:
                size, cpu_s = measure(_BASE | {name: step}, options)
                sizes.append(size)
                seconds.append(cpu_s)
                tell(f"{name}_{step}", f"an iteration, {_describe(size)}", cpu_s, "CPU s")
    constants = fit(sizes, seconds, measure_bandwidth())
    errors = [abs(predict(constants, size, 1) / cpu_s - 1) for size, cpu_s in zip(sizes, seconds, strict=True)]
    tell("model_error", "the model's largest relative error on these", max(errors), "")
    tell("product_s", "a: two products, of a pattern's pixel at a slice", 1e9 * constants.product, "CPU ns")
    tell("slice_pixel_s", "b: a pixel of a slice, read and added", 1e9 * constants.slice_pixel, "CPU ns")
    tell("responsibility_s", "c: a responsibility", 1e9 * constants.responsibility, "CPU ns")
    tell("voxel_s", "d: a voxel", 1e9 * constants.voxel, "CPU ns")
    tell("bandwidth", "bandwidth between two processes over TCP", constants.bandwidth_bytes_per_s / 1e9, "GB/s")
    large = _large_size()
    for num in (1, 10, _WORKERS):
        what = f"by the model: an iteration, {_describe(large)}, {num} worker{'s' * (num > 1)}"
        tell(f"large_{num}_workers", what, predict(constants, large, num), "s")
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    tell("peak_memory", "peak memory of this process over all of these sizes, libraries included", peak_gib, "GiB")


def make_problem(shape: dict[str, int]) -> Problem:
    """A made-up particle of some size."""
    pixel_um = 1024.0 * 51 / shape["pixels"]
    detector = make_detector(300.0, pixel_um, 6.2, shape["pixels"], stop_radius_pixels=2.5)
    volume = simulate.intensity(simulate.draw_blobs(20, seed=0), detector.side, 6 / shape["pixels"])
    made = simulate.draw_patterns(volume, detector, shape["patterns"], mean_photons=1400, seed=0)
    settings = EmcSettings(rotations=shape["rotations"], held_out_share=0.0, beta_factor=1.0)
    return emc.make_problem(made.counts, detector, settings)


def measure(shape: dict[str, int], options) -> tuple[Size, float]:
    """The size and the CPU seconds of an iteration of it."""
    smaller = {name: max(9, value // options.shrink) if name != "rotations" else value for name, value in shape.items()}
    problem = make_problem(smaller)
    shards, fluence = emc.make_shards(problem), np.ones(problem.num_patterns)
    volume = emc.start_volume(problem, 0.1, 0, 0)

    def iterate(num: int) -> None:
        for _ in range(num):
            found, _ = emc.expect_on(shards, volume, fluence, 0.05)
            emc.maximise(found, volume)

    iterate(1)
    return size_of(problem), cpu_s_of(lambda: iterate(options.iterations)) / options.iterations


def size_of(problem: Problem) -> Size:
    """See `Size`."""
    layout = problem.layout
    num_pixels = len(np.unique(layout.pixels))
    return Size(problem.num_patterns, len(problem.rotations.weights), num_pixels, problem.side**3, layout.group_size)


def _terms(size: Size) -> np.ndarray:
    slices = size.num_rotations / size.group_size
    return np.array(
        [
            slices * size.num_patterns * size.num_pixels,
            slices * size.num_pixels,
            size.num_rotations * size.num_patterns,
            size.num_voxels,
        ]
    )


def fit(sizes: Sequence[Size], seconds: Sequence[float], bandwidth: float) -> Constants:
    """Constants that are not negative, by least squares of relative errors."""
    terms, wanted = np.array([_terms(size) for size in sizes]), np.array(seconds)
    scales = terms.max(axis=0)
    found, _ = scipy.optimize.nnls(terms / scales / wanted[:, None], np.ones(len(wanted)))
    return Constants._make([*(found / scales).tolist(), bandwidth])


def predict(constants: Constants, size: Size, num_workers: int) -> float:
    """Seconds of an iteration, see the module."""
    shares = _terms(size) * constants[:4]
    sent = 16 * size.num_voxels + 32 * size.num_patterns
    steps = math.ceil(math.log2(num_workers))
    return float(shares[:3].sum() / num_workers + shares[3] + steps * sent / constants.bandwidth_bytes_per_s)


def _large_size() -> Size:
    detector = make_detector(300.0, 1024.0 * 51 / _LARGE["pixels"], 6.2, _LARGE["pixels"], stop_radius_pixels=2.5)
    used = int((detector.mask != 2).sum())
    return Size(_LARGE["patterns"], num_rotations(_LARGE["rotations"]), used, detector.side**3, 4)


def measure_bandwidth() -> float:
    """Bytes a second from another process to this one over a socket, the best of a few times."""
    seconds, buffer = [], bytearray(2**20)
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = multiprocessing.get_context("spawn").Process(target=_send, args=server.getsockname())
        sender.start()
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            for _ in range(_SENDINGS):
                started, left = time.perf_counter(), _SENT_BYTES
                while left > 0:
                    received = connection.recv_into(buffer, min(left, len(buffer)))
                    if not received:
                        raise ConnectionError(f"a sender must send {_SENT_BYTES:,} bytes. Received: {left:,} fewer.")
                    left -= received
                seconds.append(time.perf_counter() - started)
        sender.join()
    return _SENT_BYTES / min(seconds)


def _send(host: str, port: int) -> None:
    with socket.create_connection((host, port)) as connection:
        connection.sendall(b"1")
        for _ in range(_SENDINGS):
            connection.sendall(bytes(_SENT_BYTES))


def _describe(size: Size) -> str:
    return f"{size.num_patterns:,} patterns, {size.num_rotations:,} rotations, {size.num_pixels:,} pixels"


if __name__ == "__main__":
    main()
