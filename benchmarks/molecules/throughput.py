"""Measures molecules per second and core of GROVER's encoder beside chemprop's, and of `featurise` beside plain RDKit.

python -m benchmarks.molecules.throughput --data FILE     (FILE: SMILES, one a line, maybe gzipped; a header is skipped)

Both networks predict one value, have as many parameters within 5%, and take the same molecules in batches of 64, one
thread each. A round is one pass of each over all molecules, in turn: training (Adam, featurised molecules in memory),
inference from featurised molecules, inference from SMILES. Times are CPU times of the process, batching included, so
that other work on the machine hardly counts. Here the head is the mean of the two atom vectors over the molecule, then
one layer; chemprop's is its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks import featurise as featurising
from benchmarks.claims import RESULTS, describe_commit, describe_hardware
from benchmarks.evidence.cells import grid
from benchmarks.evidence.step_cost import compare_times
from benchmarks.molecules import chemprop
from benchmarks.workers import start_worker, time_in_turns
from recsys_ssl.encoders.molecule.graph import MoleculeGraph, batch_molecules
from recsys_ssl.encoders.molecule.grover import MOLECULES_SPEC, GTransformer, mean_readout
from recsys_ssl.encoders.molecule.settings import GroverConfig
from recsys_ssl.encoders.molecule.smiles import featurise

RESULT = RESULTS / "molecules" / "throughput.json"
COMMAND = "python -m benchmarks.molecules.throughput"
PASSES = {"train": "training", "graphs": "inference, featurised", "smiles": "inference from SMILES"}
_BATCH_SIZE = 64
_LEARNING_RATE = 1e-4

Passes = Mapping[str, Callable[[], float]]
"""Name of a pass -> runs it over all molecules and returns its CPU seconds."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="file of SMILES, one a line")
    parser.add_argument("--molecules", type=int, default=640, help="a multiple of 64")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    started = time.monotonic()
    smiles = featurising.read_smiles(options.data, options.molecules)
    arms = {"featurise": featurise, "plain": featurising.read_plainly}
    rates = {"featurise": featurising.time_in_turns(arms, smiles, options.rounds)}
    with start_chemprop(smiles) as (theirs, their_parameters):
        hidden_dim = find_hidden_dim(their_parameters)
        model = Regressor(hidden_dim)
        ours = make_passes(model, smiles)
        for name in PASSES:
            rates[name] = time_in_turns({"grover": ours[name], "chemprop": theirs[name]}, options.rounds)
    found = {
        "hidden_dim": hidden_dim,
        "parameters": {"grover": count_trained(model), "chemprop": their_parameters},
        "molecules": len(smiles),
        "rounds": options.rounds,
        "rows": [summarise(name, seconds, len(smiles)) for name, seconds in rates.items()],
        "command": f"{COMMAND} --data {options.data.name} --molecules {len(smiles)} --rounds {options.rounds}",
        "seconds": round(time.monotonic() - started, 1),
        "hardware": describe_hardware(),
        "commit": describe_commit(),
    }
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(render(found))


# --- The two networks ------------------------------------------------------------------------------------


class Regressor(keras.Model):
    """The encoder, the vector of `MoleculeEncoder` and one value from it."""

    def __init__(self, hidden_dim: int):
        super().__init__()
        self.encoder = GTransformer(GroverConfig(hidden_dim, dropout=0.0))  # as chemprop, by default
        self._head = keras.layers.Dense(1)
        self._head.build([None, 2 * hidden_dim])

    def call(self, batch, training: bool = False) -> tf.Tensor:
        """[num_molecules, 1] float32, with the hop count of inference always."""
        outputs = self.encoder(batch, training=training, hops=self.encoder.config.depth - 1)
        means = [mean_readout(values, batch.molecules, batch.num_molecules) for values in outputs[:2]]
        return self._head(tf.concat(means, axis=1))

    def loss_gradients(self, batch) -> list[tf.Tensor | None]:
        """Of the mean square of the predictions; None for weights of the bond vectors, which are not read."""
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(batch, training=True)))
        return tape.gradient(loss, self.trainable_variables)


def count_trained(model: Regressor) -> int:
    """Parameters that take a gradient."""
    gradients = model.loss_gradients(batch_molecules([featurise("CCO")]))
    return sum(v.shape.num_elements() for g, v in zip(gradients, model.trainable_variables) if g is not None)


def find_hidden_dim(parameters: int) -> int:
    """The width whose parameters are nearest to so many.

    Raises:
        ValueError: no width comes within 5%.
    """
    counts = {dim: count_trained(Regressor(dim)) for dim in range(24, 97, 4)}
    best = min(counts, key=lambda dim: abs(counts[dim] - parameters))
    if abs(counts[best] / parameters - 1) > 0.05:
        raise ValueError(f"a width must come within 5% of {parameters} parameters. Received: {counts[best]} of {best}.")
    return best


def make_passes(model: Regressor, smiles: Sequence[str]) -> Passes:
    """Our passes, each run once to warm up."""
    graphs, optimizer = [featurise(text) for text in smiles], keras.optimizers.legacy.Adam(_LEARNING_RATE)
    predict_batch = tf.function(model, input_signature=[MOLECULES_SPEC], autograph=False)

    @tf.function(input_signature=[MOLECULES_SPEC], autograph=False)
    def take_step(batch):
        gradients = zip(model.loss_gradients(batch), model.trainable_variables)
        optimizer.apply_gradients((gradient, variable) for gradient, variable in gradients if gradient is not None)

    def run(step: Callable, of: Sequence[MoleculeGraph]) -> None:
        for start in range(0, len(of), _BATCH_SIZE):
            step(batch_molecules(of[start : start + _BATCH_SIZE]))

    def timed(function: Callable[[], None]) -> Callable[[], float]:
        def measure() -> float:
            started = time.process_time()
            function()
            return time.process_time() - started

        measure()
        return measure

    return {
        "train": timed(lambda: run(take_step, graphs)),
        "graphs": timed(lambda: run(predict_batch, graphs)),
        "smiles": timed(lambda: run(predict_batch, [featurise(text) for text in smiles])),
    }


@contextmanager
def start_chemprop(smiles: Sequence[str], python: str | Path = chemprop.PYTHON) -> Iterator[tuple[Passes, int]]:
    """Chemprop's passes in a process of their own, warmed up, and the number of its parameters.

    Raises:
        FileNotFoundError: the interpreter is missing.
        RuntimeError: the worker ended before its time.
    """
    with tempfile.TemporaryDirectory() as directory:
        inputs = Path(directory) / "inputs.npz"
        np.savez(inputs, smiles=np.array(smiles, str))
        with start_worker(chemprop.worker_command(python, "time", inputs)) as (parameters, ask):
            yield {name: lambda name=name: ask(name) for name in PASSES}, int(parameters)


# --- Rounds ----------------------------------------------------------------------------------------------


def summarise(name: str, seconds: Mapping[str, np.ndarray], num_molecules: int) -> dict[str, Any]:
    """Molecules per second of both arms, and the ratio of the first to the second with its 95% interval."""
    ours, theirs = seconds.values()
    ratio, low, high = compare_times(theirs, ours)  # of times: rates are their inverse
    return {
        "what": name,
        "rates": {arm: round(num_molecules / float(np.median(own)), 1) for arm, own in seconds.items()},
        "ratio": round(ratio, 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def render(found: Mapping[str, Any]) -> str:
    """The figures as a Markdown table."""
    rows = []
    for row in found["rows"]:
        (first, own), (second, other) = row["rates"].items()
        low, high = row["interval"]
        label = PASSES.get(row["what"], "SMILES to graph")
        rows.append(
            [label, f"{first}: {own:,.0f}", f"{second}: {other:,.0f}", f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"]
        )
    sizes = found["parameters"]
    return "\n\n".join(
        [
            grid(["What", "Here, molecules/s", "Beside, molecules/s", "Ratio (95% interval)"], rows, left=1),
            f"Per core, {found['molecules']} molecules, {found['rounds']} rounds in turn. Trained parameters: "
            f"{sizes['grover']:,} (hidden_dim {found['hidden_dim']}) and {sizes['chemprop']:,}. {found['hardware']}.",
        ]
    )


if __name__ == "__main__":
    main()
