"""A server under load for long: does its memory grow?"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

_CLIENTS, _EVERY_S = 4, 1.0


class Soak(NamedTuple):
    """What was seen."""

    seconds: np.ndarray
    """[num_samples] since the load began."""
    resident_mib: np.ndarray
    """[num_samples] memory of the server."""
    requests: int
    wrong: int
    """Requests with another status than theirs."""


def soak(url: str, pid: int, tastes: np.ndarray, minutes: float) -> Soak:
    """Asks a server of a model of `serving_model` from four clients, and reads its memory each second.

    One request in six cannot be answered, and clients come and go.

    Args:
        tastes: [num_tastes, dim].
    """
    ends, lock = time.monotonic() + 60 * minutes, threading.Lock()
    count, wrong = 0, 0

    def ask(first: int) -> None:
        nonlocal count, wrong
        requests = itertools.islice(_requests(tastes), first, None)
        while time.monotonic() < ends:
            with httpx.Client(base_url=url, timeout=60) as client:
                for path, body, status in itertools.islice(requests, 500):
                    is_wrong = client.post(path, json=body).status_code != status
                    with lock:
                        count, wrong = count + 1, wrong + is_wrong
                    if time.monotonic() >= ends:
                        break

    clients = [threading.Thread(target=ask, args=(first,)) for first in range(_CLIENTS)]
    begun, samples = time.monotonic(), []
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        samples.append((time.monotonic() - begun, read_resident_mib(pid)))
        time.sleep(_EVERY_S)
    for client in clients:
        client.join()
    seconds, resident = np.array(samples).T
    return Soak(seconds, resident, count, wrong)


def _requests(tastes: np.ndarray) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Path, body and status expected, without end."""
    for number in itertools.count():
        taste = tastes[number % len(tastes)].tolist()
        row = {"user": "", "taste": taste, "k": 10, "exclude": ["item-1"]}
        yield "/v1/models/made:predict", {"instances": [row]}, 200
        yield "/recommend", {"query": {"taste": taste}, "k": 1 + number % 100}, 200
        yield "/recommend", {"query_id": f"u{number % 200}", "exclude": ["item-1"]}, 200
        yield "/recommend", {"query": {"taste": taste}, "filters": {"item": f"item-{number % 1000}"}}, 200
        yield "/v1/models/made:predict", {"instances": [row, row], "signature_name": "serving_default"}, 200
        yield "/recommend", {"query": {"taste": taste[1:]}, "k": number}, 400


def growth_mib_per_hour(soaked: Soak) -> float:
    """The slope of the memory after the first half, when caches and pools of threads are full; least squares."""
    later = soaked.seconds >= soaked.seconds[-1] / 2
    return float(3600 * np.polyfit(soaked.seconds[later], soaked.resident_mib[later], 1)[0])


def read_resident_mib(pid: int) -> float:
    """The memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
