"""What a step of each kind of training costs, measured side by side, so that arms can be given equal compute.

Core-seconds drift with what else a machine does. So steps of all kinds alternate in one process, and a budget in
core-seconds is turned into steps by the medians: trials then are the same wherever and whenever they run.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.claims import RESULTS, describe_commit, describe_hardware
from benchmarks.images.datasets import LabelledImages
from recsys_ssl.artifacts import write_text

COSTS = RESULTS / "images" / "costs.json"
CLASSIFIER = "classifier"
_ROUNDS, _STEPS = 7, 5


def measure(data: LabelledImages, kinds: tuple[str, ...], path: Path = COSTS) -> Mapping[str, float]:
    """Core-seconds of a step of each kind, an objective or a classifier; written to a file, which is read if it exists.

    Raises:
        ValueError: the file is of other kinds.
    """
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))["core_seconds_per_step"]
        if set(found) != set(kinds):
            raise ValueError(
                f"{path} must have the costs of {', '.join(kinds)}. Received: {', '.join(found)}. Remove it."
            )
        return found
    from benchmarks.processes import use_one_thread

    # Of one thread, as trials have: two that wait for each other cost more.
    with multiprocessing.get_context("spawn").Pool(1, use_one_thread) as pool:
        found = pool.apply(take_turns, (data, kinds))
    facts = {"core_seconds_per_step": found, "hardware": describe_hardware(), "commit": describe_commit()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(facts, indent=1) + "\n")
    return found


def take_turns(data: LabelledImages, kinds: tuple[str, ...]) -> Mapping[str, float]:
    """Kind -> median of the core-seconds of its steps, some of each in turns."""
    from benchmarks.images import training
    from benchmarks.images.trials import make_config

    takes = {}
    for kind in kinds:
        config = make_config(data, "contrast" if kind == CLASSIFIER else kind, seed=0, steps=_ROUNDS * _STEPS + 1)
        if kind == CLASSIFIER:
            encoder = training.make_encoder(config)
            takes[kind] = training.Classifier(encoder, data.train_images, data.train_labels, config).take
        else:
            takes[kind] = training.make_pretraining(data.train_images, config)[1]
        takes[kind](0)  # traces
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(_ROUNDS):
        for kind, take in takes.items():
            started = time.process_time()
            for step in range(_STEPS):
                take(1 + number * _STEPS + step)
            spent[kind].append((time.process_time() - started) / _STEPS)
    return {kind: round(float(np.median(seconds)), 5) for kind, seconds in spent.items()}
