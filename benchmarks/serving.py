"""Measures the server: what it costs beside the bare model, its speed, a swap under load, the size of its installation.

python -m benchmarks.serving overhead   CPU seconds of a request by HTTP against those of the same call of the signature
python -m benchmarks.serving speed      p50, p99 and requests a second at 1, 8 and 64 clients, by wrk on loopback
python -m benchmarks.serving swap       requests that fail while a new version is taken
python -m benchmarks.serving install    GiB of an environment of requirements-serve.lock, CPU seconds until it is ready
python -m benchmarks.serving soak       MiB an hour by which memory grows under load

The model is made: random unit vectors, towers that only normalise. CPU seconds, in pairs that alternate, hold on a busy
machine too; `speed` is by the clock and wants a machine of its own. wrk is a package of Debian (`apt install wrk`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

from benchmarks.claims import RESULTS, ROOT, describe_hardware, record
from benchmarks.serving_soak import growth_mib_per_hour, soak

COMMAND = "python -m benchmarks.serving"
_SERVE = "from pipelines.commands.entry import main; main()"
_CLIENTS = (1, 8, 64)
_BARE = """
import sys, time
import recsys_ssl, numpy as np, tensorflow as tf
from recsys_ssl.serving.recommender import load_recommender
call = load_recommender(sys.argv[1]).signatures["recommend"]
taste, count = np.load(sys.argv[2]), int(sys.argv[3])
inputs = dict(user=tf.constant([""]), k=tf.constant([10]), exclude=tf.zeros([1, 8], tf.string))
for _ in sys.stdin:
    begun = time.process_time()
    for row in range(count):
        outputs = call(taste=tf.constant(taste[row % len(taste)][None]), **inputs)
        outputs["item_ids"].numpy(), outputs["scores"].numpy()
    print(time.process_time() - begun, flush=True)
"""


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(_WHAT))
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--search", choices=["brute_force", "scann"], default="brute_force")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=100, help="of a round")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a measurement of speed")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the soak")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        measured = _WHAT[options.what](options, Path(directory))
    for found in measured:
        print(f"{found.id:<40} {found.value:.4g} {found.unit}  {found.what}")
        record(
            "serving",
            **found._asdict(),
            command=" ".join([COMMAND, *(sys.argv[1:] if arguments is None else arguments)]),
            seconds=time.monotonic() - started,
            results=results,
        )
    print(describe_hardware())


class Measured(NamedTuple):
    """The fields of a claim that a measurement gives."""

    id: str
    what: str
    value: float
    unit: str = ""
    interval: tuple[float, float] | None = None


# --- What is measured ------------------------------------------------------------------------------------


def _post(client: httpx.Client, url: str, body: str) -> None:
    answer = client.post(url, content=body, timeout=60)
    if answer.is_error:
        raise RuntimeError(f"{url} must answer. Received: {answer.status_code} {answer.text[:200]}")


def measure_overhead(options: argparse.Namespace, directory: Path) -> list[Measured]:
    """The ratio of CPU seconds, of both HTTP routes."""
    root, tastes = _make(options, directory)
    bodies = {
        "predict": ("/v1/models/made:predict", lambda taste: {"instances": [_row(taste)]}),
        "recommend": ("/recommend", lambda taste: {"query": {"taste": taste}, "k": 10}),
    }
    spent: dict[str, list[float]] = {name: [] for name in ("bare", *bodies)}
    with serving(root) as (server, url), _bare(root, tastes, options.requests) as bare, httpx.Client() as client:
        for round_ in range(options.rounds + 1):
            of_round = {"bare": bare()}
            for name, (path, make_body) in bodies.items():
                sent = [json.dumps(make_body(tastes[i % len(tastes)].tolist())) for i in range(options.requests)]
                begun = cpu_seconds(server.pid)
                for body in sent:
                    _post(client, url + path, body)
                of_round[name] = cpu_seconds(server.pid) - begun
            for name, seconds in of_round.items() if round_ else ():  # the first makes both ready
                spent[name].append(seconds)
    measured = []
    of = f"{options.items:,} items x {options.dim}, {options.search.replace('_', ' ')}, one query and k = 10 a request"
    for name, id in (("predict", "server_overhead_ratio"), ("recommend", "server_overhead_ratio_recommend")):
        ratios = np.array(spent[name]) / np.array(spent["bare"])
        ends = np.quantile(_bootstrap(ratios), (0.025, 0.975))
        path = bodies[name][0]
        what = f"CPU seconds of the server for {path} over those of the bare signature, {of}, median of rounds"
        measured.append(Measured(id, what, float(np.median(ratios)), interval=(float(ends[0]), float(ends[1]))))
    milliseconds = 1e3 * float(np.median(spent["bare"])) / options.requests
    measured.append(Measured("bare_call_cpu_ms", f"CPU time of the bare signature, {of}", milliseconds, "ms"))
    return measured


def measure_speed(options: argparse.Namespace, directory: Path) -> list[Measured]:
    """Latency and throughput by wrk."""
    if shutil.which("wrk") is None:
        raise SystemExit("speed is measured by wrk, which is not installed. Run `apt install wrk`.")
    root, tastes = _make(options, directory)
    script, measured = directory / "post.lua", []
    body = json.dumps({"query": {"taste": tastes[0].tolist()}, "k": 10})
    script.write_text(f'wrk.method = "POST"\nwrk.body = [[{body}]]\nwrk.headers["Content-Type"] = "application/json"\n')
    with serving(root) as (_, url):
        for clients in _CLIENTS:
            command = ["wrk", "-t1", f"-c{clients}", f"-d{options.seconds:g}s", "--latency", "-s", script]
            told = subprocess.run([*command, f"{url}/recommend"], capture_output=True, text=True, check=True).stdout
            of = f"POST /recommend, {clients} clients, {options.items:,} items x {options.dim}, {options.search}"
            for name, (value, unit) in read_wrk(told).items():
                measured.append(
                    Measured(f"{name}_{options.search}_{options.items}_{clients}", f"{name}, {of}", value, unit)
                )
    return measured


def measure_swap(options: argparse.Namespace, directory: Path) -> list[Measured]:
    """Requests that got no answer, or another than 200, while new versions were taken."""
    root, tastes = _make(options, directory)
    body, failed, count, versions = {"query": {"taste": tastes[0].tolist()}, "k": 10}, 0, 0, set()
    is_over = threading.Event()

    def ask(url: str) -> None:
        nonlocal failed, count
        with httpx.Client(timeout=60) as client:
            while not is_over.is_set():
                try:
                    answer = client.post(f"{url}/recommend", json=body)
                    is_good = answer.status_code == 200
                    versions.add(answer.json().get("version"))
                except (httpx.HTTPError, ValueError):
                    is_good = False
                with lock:
                    failed, count = failed + (not is_good), count + 1

    lock = threading.Lock()
    with serving(root, "--poll", "0.1") as (_, url):
        clients = [threading.Thread(target=ask, args=(url,)) for _ in range(8)]
        for client in clients:
            client.start()
        last = 1 + options.rounds
        for version in range(2, last + 1):
            copy = root / "copy"
            shutil.copytree(root / "made" / "1", copy, copy_function=os.link)
            copy.rename(root / "made" / str(version))
            while version not in versions:
                time.sleep(0.05)
        is_over.set()
        for client in clients:
            client.join()
    what = f"requests of {count:,} by 8 clients that failed while {options.rounds} new versions were taken"
    return [Measured("failed_requests_during_swap", what, float(failed), "requests")]


def measure_install(options: argparse.Namespace, directory: Path) -> list[Measured]:
    """Size of an environment made from the lock, and what it takes until a model answers there."""
    environment = directory / "environment"
    python = environment / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    install = [*uv, "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--link-mode", "copy"]
    subprocess.run([*install, "--python", python, "-r", ROOT / "requirements-serve.lock"], check=True)
    gib = sum(path.lstat().st_size for path in environment.rglob("*") if not path.is_dir()) / 2**30
    options.items = min(options.items, 10_000)
    root, _ = _make(options, directory)
    with serving(root, python=str(python)) as (server, _):
        seconds = cpu_seconds(server.pid)
    of = "the environment of requirements-serve.lock, no bytecode"
    return [
        Measured("install_gib", f"Size of {of}", gib, "GiB"),
        Measured(
            "start_cpu_s", f"CPU time of `serve` until {options.items:,} items answer, second start", seconds, "s"
        ),
    ]


def measure_soak(options: argparse.Namespace, directory: Path) -> list[Measured]:
    """How memory grows under a load of answers and refusals, with a live catalogue."""
    options.items = min(options.items, 10_000)
    root, tastes = _make(options, directory)
    with serving(root, "--live", str(directory / "live.sqlite")) as (server, url):
        soaked = soak(url, server.pid, tastes, options.minutes)
    of = f"under {soaked.requests:,} requests in {options.minutes:g} minutes, {options.items:,} items x {options.dim}"
    return [
        Measured(
            "soak_growth_mib_per_hour", f"Growth of memory {of}, second half", growth_mib_per_hour(soaked), "MiB/h"
        ),
        Measured("soak_resident_mib", f"Memory at the end, {of}", float(soaked.resident_mib[-1]), "MiB"),
        Measured("soak_wrong", f"Requests answered with another status than theirs, {of}", soaked.wrong, "requests"),
    ]


_WHAT = {
    "overhead": measure_overhead,
    "speed": measure_speed,
    "swap": measure_swap,
    "install": measure_install,
    "soak": measure_soak,
}


# --- Servers and models ----------------------------------------------------------------------------------


def _make(options: argparse.Namespace, directory: Path) -> tuple[Path, np.ndarray]:
    from benchmarks.serving_model import make_model

    root = make_model(directory / "models", options.items, options.dim, options.search)
    shutil.rmtree(root / "work")
    return root, np.random.default_rng(1).standard_normal((50, options.dim), np.float32)


def _row(taste: list[float]) -> dict:
    return {"user": "", "taste": taste, "k": 10, "exclude": []}


@contextlib.contextmanager
def serving(root: Path, *arguments: str, python: str = sys.executable) -> Iterator[tuple[subprocess.Popen, str]]:
    """`recsys-ssl serve` in a process of its own, and its address."""
    command = [python, "-c", _SERVE, "serve", "--models", str(root), "--port", "0", "--grpc-port", "-1"]
    log = ["--access-log", str(root / "access.jsonl")]
    process = subprocess.Popen(
        [*command, *log, *arguments], cwd=ROOT, env=_environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("http://"):
                break
        else:
            raise RuntimeError(f"the server ended: {''.join(told)[-2000:]}")
        yield process, told[-1].strip().removesuffix("/docs")
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


@contextlib.contextmanager
def _bare(root: Path, tastes: np.ndarray, count: int):
    """A function that calls the signature so often in a process of its own and returns the CPU seconds."""
    np.save(root / "tastes.npy", tastes)
    command = [sys.executable, "-c", _BARE, str(root / "made" / "1"), str(root / "tastes.npy"), str(count)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def call() -> float:
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    try:
        yield call
    finally:
        process.stdin.close()
        process.wait(30)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}


def cpu_seconds(pid: int) -> float:
    """What a process has used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def read_wrk(text: str) -> dict[str, tuple[float, str]]:
    """What wrk tells with --latency: p50 and p99 in ms, requests a second, and how many failed.

    Raises:
        ValueError: the text is something else.
    """
    quantiles = re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m) *$", text, re.MULTILINE)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", text, re.MULTILINE)
    if len(quantiles) != 2 or rate is None:
        raise ValueError(f"wrk must tell of latency and requests. Received: {text[:200]!r}.")
    bad = re.search(r"^\s+Non-2xx or 3xx responses: (\d+)$", text, re.MULTILINE)
    errors = re.search(r"^\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)$", text, re.MULTILINE)
    failed = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    found = {f"p{quantile}": (float(value) * _UNITS[unit], "ms") for quantile, value, unit in quantiles}
    return found | {"requests_per_second": (float(rate[1]), "1/s"), "failed": (float(failed), "requests")}


def _bootstrap(values: np.ndarray, draws: int = 10_000) -> np.ndarray:
    """[draws] medians of values drawn anew."""
    places = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    return np.median(values[places], axis=1)


if __name__ == "__main__":
    main()
