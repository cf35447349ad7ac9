"""Measures images per second and core in training: the encoder of images beside the same transformer of timm.

python -m benchmarks.images.speed

timm needs PyTorch, hence an environment of its own, made once:

    python3.11 -m venv build/timm-venv
    build/timm-venv/bin/pip install timm==1.0.31 torch==2.15.0

Both have as many weights, read the same batch, and take steps of cross-entropy of ten classes, from the class token and
the mean of the patches, with Adam. One thread each, in turn; times are CPU times of the process, so that other work on
the machine hardly counts. Nothing is augmented or corrupted, and no branch is left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks.claims import RESULTS, describe_commit, describe_hardware, record
from benchmarks.evidence.step_cost import compare_times
from benchmarks.images.measured import SPEED, render_speed
from benchmarks.workers import start_worker, time_in_turns, worker_command
from recsys_ssl.encoders.image.encoder import ImageEncoder
from recsys_ssl.encoders.image.settings import ViTConfig

COMMAND = "python -m benchmarks.images.speed"
PYTHON = Path("build/timm-venv/bin/python")
WORKER = Path(__file__).with_name("timm_worker.py")
NETS: Mapping[str, tuple[ViTConfig, int]] = {
    "mini": (ViTConfig(size=28, channels=1, patch=7, dim=128, depth=4, num_heads=4, dropout=0.0), 8),
    "tiny": (ViTConfig(size=32, channels=3, patch=8, dim=192, depth=12, num_heads=3, dropout=0.0), 2),
}
"""Name of a net -> its sizes, and the steps of a round."""
_DEFAULTS = {"batch-size": 128, "rounds": 12}
_NUM_CLASSES = 10
_LEARNING_RATE = 1e-3


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=_DEFAULTS["batch-size"])
    parser.add_argument("--rounds", type=int, default=_DEFAULTS["rounds"])
    parser.add_argument("--python", type=Path, default=PYTHON, help="interpreter that has timm")
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    started = time.monotonic()
    sizes = {"batch-size": options.batch_size, "rounds": options.rounds}
    changed = [f"--{name} {size}" for name, size in sizes.items() if size != _DEFAULTS[name]]
    command = " ".join([COMMAND, *changed])
    rows = [measure(name, options.batch_size, options.rounds, options.python) for name in NETS]
    found = {
        "batch_size": options.batch_size,
        "rounds": options.rounds,
        "rows": rows,
        "command": command,
        "seconds": round(time.monotonic() - started, 1),
        "hardware": describe_hardware(),
        "commit": describe_commit(),
    }
    path = results / "images" / SPEED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    worst = min(rows, key=lambda row: row["ratio"])
    record(
        "images",
        id="train_rate_vs_timm",
        what="Images/s and core of a training step, our encoder over the same transformer of timm "
        f"({worst['net']}, the lower of the nets of {len(rows)} sizes)",
        value=worst["ratio"],
        interval=tuple(worst["interval"]),
        unit="x",
        command=command,
        seconds=found["seconds"],
        results=results,
    )
    print(render_speed(found))


def measure(name: str, batch_size: int, rounds: int, python: Path = PYTHON) -> dict[str, Any]:
    """Both rates of a net, and the ratio of ours to theirs with its 95% interval.

    Raises:
        FileNotFoundError: the interpreter is missing.
        ValueError: the two nets have not the same number of weights.
    """
    sizes, steps = NETS[name]
    rng = np.random.default_rng(0)
    images = rng.normal(size=[batch_size, sizes.size, sizes.size, sizes.channels]).astype(np.float32)
    labels = rng.integers(0, _NUM_CLASSES, batch_size)
    facts = {key: getattr(sizes, key) for key in ("size", "channels", "patch", "dim", "depth", "num_heads")}
    with tempfile.TemporaryDirectory() as directory:
        inputs = Path(directory) / "inputs.npz"
        np.savez(inputs, images=images.transpose(0, 3, 1, 2), labels=labels, sizes=json.dumps(facts))
        with start_worker(worker_command(python, WORKER, __file__, inputs)) as (their_weights, ask):
            trainer = Trainer(sizes, images, labels)
            if trainer.num_weights != int(their_weights):
                raise ValueError(f"weights must be as many. Received: {trainer.num_weights} and {their_weights}.")
            arms = {"ours": lambda: trainer.take(steps), "timm": lambda: ask(str(steps))}
            seconds = time_in_turns(arms, rounds)
    ratio, low, high = compare_times(seconds["timm"], seconds["ours"])  # of times: rates are their inverse
    return {
        "net": name,
        "sizes": facts,
        "weights": trainer.num_weights,
        "rates": {arm: round(batch_size * steps / float(np.median(own)), 1) for arm, own in seconds.items()},
        "ratio": round(ratio, 4),
        "interval": [round(low, 4), round(high, 4)],
    }


class Trainer:
    """The encoder and a linear layer on its vectors, warmed up."""

    def __init__(self, sizes: ViTConfig, images: np.ndarray, labels: np.ndarray):
        """Takes [batch_size, size, size, channels] float32 and [batch_size] classes."""
        self._encoder = ImageEncoder(sizes)
        self._head = keras.layers.Dense(_NUM_CLASSES)
        self._head.build([None, self._encoder.dim])
        self._variables = self._encoder.trainable_variables + self._head.trainable_variables
        self._optimizer = keras.optimizers.legacy.Adam(_LEARNING_RATE)
        self._batch = tf.constant(images), tf.constant(labels, tf.int32)
        self._step = tf.function(self._take_step, autograph=False)
        self.num_weights = sum(variable.shape.num_elements() for variable in self._variables)
        self.take(2)

    def _take_step(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = self._head(self._encoder.embed(images, training=True))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        self._optimizer.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables))

    def take(self, steps: int) -> float:
        """CPU seconds of so many steps."""
        started = time.process_time()
        for _ in range(steps):
            self._step(*self._batch)
        return time.process_time() - started


if __name__ == "__main__":
    main()
