"""Fine-tunes encoders on MoleculeNet, pre-trained and from scratch, beside fingerprints, on both scaffold splits.

python -m benchmarks.molecules.run --data DIR --model WORKDIR/encoder     everything that is missing
python -m benchmarks.molecules.run --data DIR --datasets esol --arms ecfp_rf scratch --seeds 3

Two processes of one thread each. A trial that stands in `benchmarks/results/molecules/trials.jsonl` is not run again;
one that was killed is. Pre-trained and scratch share split, seed, settings and sizes: they differ in the first weights.
The arm `chemprop` needs an environment of its own, see `chemprop.py`.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import yaml

from benchmarks.molecules import chemprop
from benchmarks.molecules.datasets import DATASETS, Family
from benchmarks.molecules.trials import (
    ARMS,
    ENCODER_ARMS,
    TRIALS,
    Trial,
    describe_encoder,
    read_trials,
    run_trial,
)

SEEDS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of MoleculeNet's CSV files")
    parser.add_argument("--model", type=Path, help="directory of the pre-trained encoder; needed by that arm")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--families", nargs="+", choices=get_args(Family), default=list(get_args(Family)))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the fine-tuning")
    parser.add_argument("--hidden-dim", type=int, default=64, help="of `scratch` where there is no model")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=Path, default=TRIALS, help="file that receives a line per trial")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "pretrained" in options.arms and options.model is None:
        print("the arm `pretrained` needs an encoder. Name its directory by --model, or name --arms.", file=sys.stderr)
        return 1
    if "chemprop" in options.arms and not chemprop.PYTHON.exists():
        print(
            f"the arm `chemprop` needs {chemprop.PYTHON}. Make it as {chemprop.__file__} says, or name --arms.",
            file=sys.stderr,
        )
        return 1
    try:
        settings = read_settings(options.set)
        encoders = describe_encoder(options.model, {"hidden_dim": options.hidden_dim})
    except (ValueError, TypeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    planned = plan(options.datasets, options.families, options.arms, options.seeds, settings, encoders)
    known = {trial.key for trial in read_trials(options.trials)}
    pending = [trial for trial in planned if trial.key not in known]
    print(f"{len(planned) - len(pending)} of {len(planned)} trials are done", flush=True)
    _run_all(pending, options)
    return 0


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts, the value as YAML; the keys are those of `FinetuneConfig`.

    Raises:
        ValueError: no KEY=VALUE, or a value out of range.
        TypeError: an unknown key.
    """
    from recsys_ssl.training.finetune import FinetuneConfig

    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key == "seed":
            raise ValueError(f"a setting is KEY=VALUE, the seed apart. Received: {text!r}. Write e.g. epochs=20.")
        settings[key] = yaml.safe_load(value)
    FinetuneConfig(**settings)
    return settings


def plan(
    datasets: Sequence[str],
    families: Sequence[Family],
    arms: Sequence[str],
    seeds: int,
    settings: Mapping[str, Any],
    encoders: Mapping[str, Mapping[str, Any]],
) -> list[Trial]:
    """The trials of a study, seed by seed, so that a study cut short has whole seeds."""
    return [
        Trial(dataset, family, arm, seed, settings, encoders[arm]) if arm in ENCODER_ARMS
        else Trial(dataset, family, arm, seed)
        for seed, dataset, family, arm in itertools.product(range(seeds), datasets, families, arms)
    ]  # fmt: skip


def _run_all(pending: Sequence[Trial], options: argparse.Namespace) -> None:
    """Runs trials in processes of one thread, in order; each is recorded as soon as it is done."""
    options.trials.parent.mkdir(parents=True, exist_ok=True)
    _end_last_line(options.trials)
    started = time.monotonic()
    run = partial(run_trial, data=options.data, model=options.model)
    # A fresh process now and then frees what TensorFlow keeps of the graphs of finished trials.
    with multiprocessing.get_context("spawn").Pool(options.workers, _use_one_thread, maxtasksperchild=25) as pool:
        for count, trial in enumerate(pool.imap_unordered(run, pending), start=1):
            with options.trials.open("a", encoding="utf-8") as file:
                file.write(trial.to_json() + "\n")
            minutes = (time.monotonic() - started) / 60
            left = minutes / count * (len(pending) - count)
            print(f"{count}/{len(pending)}  {minutes:.0f} min, {left:.0f} left  {trial.describe()}", flush=True)


def _end_last_line(path: Path) -> None:
    """Removes a line that a kill cut off, so that the next one stands by itself."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])


def _use_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


if __name__ == "__main__":
    sys.exit(main())
