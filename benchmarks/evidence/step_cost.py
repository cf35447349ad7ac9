"""Measures what a training step of each regulariser costs, relative to none.

python -m benchmarks.evidence.step_cost
python -m benchmarks.evidence.step_cost --datasets frappe --rounds 2    a try

All arms take the same batches in one process of one thread. A round gives every arm its turn, in a shuffled order,
so that a machine that slows down slows all of them. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks.claims import RESULTS, describe_hardware, record
from benchmarks.evidence.datasets import DATASETS, prepare
from benchmarks.evidence.measurements import FILES, render_step_cost
from benchmarks.evidence.trials import RECOMMENDED, REGULARIZERS, Trial, make_config
from recsys_ssl import examples
from recsys_ssl.training.data import count_examples, parse, stream
from recsys_ssl.training.step import TrainStep
from recsys_ssl.training.train import build_model, read_mutual_information

COMMAND = "python -m benchmarks.evidence.step_cost"
SSL_BATCH_SIZES = (128, 256, 512, 1024)

_WITHOUT_BATCH = ("none", "feature_dropout")
_NUM_BATCHES = 20
_WARM_UP = 5


class Variant(NamedTuple):
    """An arm at a size of its auxiliary batch; None for an arm that draws none."""

    arm: str
    ssl_batch_size: int | None


NONE = Variant("none", None)


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=["frappe", "wikispeedia", "debian"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="steps of an arm in a round")
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    started = time.monotonic()
    rows, own_sizes = [], {}
    for dataset in options.datasets:
        own_sizes[dataset] = make_config(Trial("test", dataset, RECOMMENDED)).ssl.batch_size
        runners, batches = build_runners(dataset, list_variants(own_sizes[dataset]))
        milliseconds = time_rounds(runners, batches, options.rounds, options.steps, dataset)
        rows += summarise(dataset, milliseconds)
        del runners, batches
        keras.backend.clear_session()
    found = {
        "recommended": RECOMMENDED,
        "labels": dict(REGULARIZERS),
        "own_sizes": own_sizes,
        "rounds": options.rounds,
        "steps": options.steps,
        "hardware": describe_hardware(),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    path = results / FILES["step_cost"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    worst = find_worst(rows, own_sizes)
    record(
        "evidence",
        id="ssl_step_cost_ratio",
        what=f"time of a training step, {REGULARIZERS[RECOMMENDED]} over {REGULARIZERS['none']}, one thread: "
        f"the largest ratio of {', '.join(options.datasets)}, on {worst['dataset']}",
        value=worst["ratio"],
        interval=tuple(worst["interval"]),
        unit="x",
        command=" ".join([COMMAND, *(sys.argv[1:] if arguments is None else arguments)]),
        seconds=found["seconds"],
        results=results,
    )
    print(f"\n{render_step_cost(found)}")


# --- Measurement ------------------------------------------------------------------------------------


def list_variants(own_size: int) -> list[Variant]:
    """Every regulariser at the data set's own size, then the recommended one at the other sizes."""
    variants = [Variant(arm, None if arm in _WITHOUT_BATCH else own_size) for arm in REGULARIZERS]
    return variants + [Variant(RECOMMENDED, size) for size in SSL_BATCH_SIZES if size != own_size]


def build_runners(dataset: str, variants: Sequence[Variant]) -> tuple[dict[Variant, Callable], list[Any]]:
    """The compiled step of every variant at the data set's own settings, and the batches that all of them take."""
    prepared = prepare(dataset)
    spec, inputs = prepared.spec, prepared.inputs
    runners, batches, batch_spec = {}, [], None
    for variant in variants:
        size = {} if variant.ssl_batch_size is None else {"ssl.batch_size": variant.ssl_batch_size}
        config = make_config(Trial("test", dataset, variant.arm, settings=size))
        model, catalogue = build_model(spec, config, inputs)
        information = read_mutual_information(config, inputs, model.item_layout.features)
        step = TrainStep(model, catalogue, config, spec.queries.same_as_items, information)
        if not batches:
            shards = examples.list_shards(inputs.interactions_dir, "train")
            whole = (config.batch_size, count_examples(shards), config.shuffle_buffer, config.seed, 0)
            read = functools.partial(parse, layout=model.query_layout, same_as_items=spec.queries.same_as_items)
            examples_of = stream(shards, read, *whole)
            batches, batch_spec = list(examples_of.take(_NUM_BATCHES)), examples_of.element_spec
        runners[variant] = step.compile(batch_spec)
    return runners, batches


def time_rounds(
    runners: Mapping[Variant, Callable], batches: Sequence[Any], rounds: int, steps: int, name: str
) -> dict[Variant, np.ndarray]:
    """Milliseconds of a step of every variant, [rounds], each the mean of `steps` steps on the round's batches."""
    for variant, take_step in runners.items():
        print(f"{name}: warms up {variant.arm} {variant.ssl_batch_size or ''}", flush=True)
        for batch in batches[:_WARM_UP]:
            float(take_step(batch)["loss"])
    rng, started = np.random.default_rng(0), time.monotonic()
    taken: dict[Variant, list[float]] = {variant: [] for variant in runners}
    endless = itertools.cycle(batches)
    for number in range(1, rounds + 1):
        own = list(itertools.islice(endless, steps))
        for index in rng.permutation(len(runners)):
            variant = list(runners)[index]
            before = time.perf_counter()
            for batch in own:
                # The loss is fetched, so that no step is still under way when the clock is read.
                float(runners[variant](batch)["loss"])
            taken[variant].append(1000 * (time.perf_counter() - before) / steps)
        left = (time.monotonic() - started) / number * (rounds - number)
        print(f"{name}: round {number}/{rounds}, none {taken[NONE][-1]:.1f} ms, {left:.0f} s left", flush=True)
    return {variant: np.array(values) for variant, values in taken.items()}


# --- Numbers ----------------------------------------------------------------------------------------


def summarise(dataset: str, milliseconds: Mapping[Variant, np.ndarray]) -> list[dict[str, Any]]:
    """A row per variant: median milliseconds, and the ratio to none with its interval."""
    rows = []
    for variant, own in milliseconds.items():
        ratio, low, high = compare_times(own, milliseconds[NONE])
        facts = {"ms": float(np.median(own)), "ratio": ratio}
        rows.append(
            {
                "dataset": dataset,
                **variant._asdict(),
                **{name: round(value, 4) for name, value in facts.items()},
                "interval": [round(low, 4), round(high, 4)],
            }
        )
    return rows


def compare_times(
    times: np.ndarray, base: np.ndarray, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """The median over rounds of times / base, and the bounds of its interval by the bootstrap over rounds.

    Pairs by round take out what slowed a whole round; the median, what hit one arm's turn alone.

    Args:
        times: [rounds] of one arm.
        base: [rounds] of the arm it is compared with, in the same rounds.
    """
    ratios = np.asarray(times, np.float64) / np.asarray(base, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(ratios), [samples, len(ratios)])
    bounds = np.quantile(np.median(ratios[drawn], axis=1), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(np.median(ratios)), float(bounds[0]), float(bounds[1])


def find_worst(rows: Sequence[Mapping[str, Any]], own_sizes: Mapping[str, int]) -> Mapping[str, Any]:
    """The row of the data set where the recommended arm, at the data set's own size, costs most."""
    own = [row for row in rows if (row["arm"], row["ssl_batch_size"]) == (RECOMMENDED, own_sizes[row["dataset"]])]
    return max(own, key=lambda row: row["ratio"])


if __name__ == "__main__":
    main()
