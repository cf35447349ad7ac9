"""Fine-tunes encoders on MoleculeNet, pre-trained and from scratch, beside fingerprints, on both scaffold splits.

python -m benchmarks.molecules.run --data DIR --model WORKDIR/encoder     everything that is missing
python -m benchmarks.molecules.run --data DIR --datasets esol --arms ecfp_rf scratch --seeds 3

Two processes of one thread each. A trial that stands in `benchmarks/results/molecules/trials.jsonl` is not run again;
one that was killed is. Pre-trained and scratch share split, seed, settings and sizes: they differ in the first weights.
Data sets differ twelvefold in size: --presentations shows a model about as many molecules of each, as few or as many
epochs as it takes, and shows chemprop as many.
The arm `chemprop` needs an environment of its own, see `chemprop.py`.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
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
from benchmarks.processes import run_all

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
    parser.add_argument("--presentations", type=int, help="molecules that a training reads; sets the epochs")
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
        planned = plan(
            options.datasets, options.families, options.arms, options.seeds, settings, encoders, options.presentations
        )
    except (ValueError, TypeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    known = {trial.key for trial in read_trials(options.trials)}
    pending = [trial for trial in planned if trial.key not in known]
    print(f"{len(planned) - len(pending)} of {len(planned)} trials are done", flush=True)
    run_all(pending, partial(run_trial, data=options.data, model=options.model), options.trials, options.workers)
    return 0


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts, the value as YAML; the keys are those of `FinetuneConfig`.

    Raises:
        ValueError: no KEY=VALUE, or a value out of range.
        TypeError: an unknown key.
    """
    from recsys_ssl.encoders.molecule.settings import FinetuneConfig

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
    presentations: int | None = None,
) -> list[Trial]:
    """The trials of a study, seed by seed, so that a study cut short has whole seeds.

    Args:
        settings: of `FinetuneConfig`.
        presentations: molecules that one training reads; it takes the place of the epochs, two at least.

    Raises:
        ValueError: a setting is out of range with the epochs of a data set.
    """
    from recsys_ssl.encoders.molecule.settings import FinetuneConfig

    budgets = {dataset: _count_epochs(dataset, presentations) for dataset in datasets} if presentations else {}
    settings_of: dict[tuple[str, str], Mapping[str, Any]] = {}
    for dataset, arm in itertools.product(datasets, arms):
        epochs = {"epochs": budgets[dataset]} if presentations else {}
        if arm in ENCODER_ARMS:
            settings_of[dataset, arm] = {**settings, **epochs}
            FinetuneConfig(**settings_of[dataset, arm])
        else:
            settings_of[dataset, arm] = epochs if arm == "chemprop" else {}
    return [
        Trial(dataset, family, arm, seed, settings_of[dataset, arm], encoders.get(arm, {}))
        for seed, dataset, family, arm in itertools.product(range(seeds), datasets, families, arms)
    ]


def _count_epochs(dataset: str, presentations: int) -> int:
    """Epochs in which a training reads at least so many molecules, eight tenths of the data set in each."""
    return max(2, math.ceil(presentations / (0.8 * DATASETS[dataset].rows[0])))


if __name__ == "__main__":
    sys.exit(main())
