"""Gowalla by the protocol of most work on collaborative filtering: LightGCN's split, Recall@20 and NDCG@20 per user.

python -m benchmarks.gowalla                                     most-popular on the test, recorded
python -m benchmarks.gowalla towers --validate --set train.K=V   two towers on 95% of the pairs, judged on the others
python -m benchmarks.gowalla towers --set train.K=V              two towers on all pairs, judged on the test, recorded

The files must lie in `build/data/gowalla` (`recsys-ssl data gowalla --source COPY --to build/data/gowalla`). Settings
are chosen by `--validate`, `train.steps` among them, which does not read the test. The same settings are then trained
on all pairs, without a validation, and the last step is judged. Everything is made under `build/gowalla`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.claims import RESULTS, ROOT, record
from benchmarks.evidence.datasets import encode, make_once
from pipelines.config import parse_overrides
from pipelines.stages.train import fit_regularizer
from recsys_ssl.evaluation.metrics import METRICS
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.settings import ConfigError
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.spec_files import load_spec
from recsys_ssl.training.train import TrainInputs

if TYPE_CHECKING:
    from recsys_ssl.training.config import TrainConfig

DATA, WORK = ROOT / "build" / "data" / "gowalla", ROOT / "build" / "gowalla"
COMMAND = "python -m benchmarks.gowalla"
LABELS = {"user_recall_at_20": ("recall_at_20", "Recall@20 per user"), "ndcg_at_20": ("ndcg_at_20", "NDCG@20 per user")}
"""Metric -> how the ids of its claims end, and what people read."""
PUBLISHED = {"user_recall_at_20": 0.0416, "ndcg_at_20": 0.0317}
"""Most-popular on this split, as everybody finds it: what shows that the protocol is the same."""


def main(arguments: Sequence[str] | None = None, data: Path = DATA, work: Path = WORK, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arm", nargs="?", choices=["popular", "towers"], default="popular")
    parser.add_argument("--set", action="append", default=[], metavar="train.KEY=VALUE", help="of the towers")
    parser.add_argument("--validate", action="store_true", help="judge on held-out training pairs; nothing is recorded")
    options = parser.parse_args(arguments)
    if options.set and options.arm != "towers":
        parser.error("--set is for towers.")
    try:
        config = parse_overrides(options.set).train
    except ConfigError as error:
        parser.error(str(error))
    started = time.monotonic()
    spec = load_spec(ROOT / "feature_specs" / "gowalla.yaml")
    if not options.validate:
        spec = spec.model_copy(update={"split": spec.split.model_copy(update={"validation": 0.0})})
    made = work / ("held-out" if options.validate else "whole")
    make_once(made, lambda to: encode(spec, data, to))

    split = "eval" if options.validate else "test"
    if options.arm == "popular":
        name, (task, ranks) = "most-popular", rank_popular(spec, made, split)
    else:
        name, (task, ranks) = "two-tower", rank_towers(spec, config, made, split, work / "checkpoints")
    figures = {metric: measure(task, ranks, metric) for metric in LABELS}
    for metric, (value, low, high) in figures.items():
        print(f"{name}, {split}, {LABELS[metric][1]}: {value:.4f} ({low:.4f} to {high:.4f})")
    if options.validate:
        return 0
    for metric, (value, low, high) in figures.items():
        ending, label = LABELS[metric]
        record(
            "retrieval",
            id=f"gowalla_itempop_{ending}" if options.arm == "popular" else f"gowalla_{ending}",
            what=f"Gowalla, split of LightGCN, {name}: {label} (interval: users)",
            value=value,
            interval=(low, high),
            command=" ".join([COMMAND, *(sys.argv[1:] if arguments is None else arguments)]),
            seconds=time.monotonic() - started,
            results=results,
        )
    if options.arm == "popular" and (other := differing(figures)):
        print(f"the protocol must be the published one. Received: {other}. Check the files.", file=sys.stderr)
        return 1
    return 0


def rank_popular(spec: FeatureSpec, made: Path, split: str) -> tuple[RankingTask, np.ndarray]:
    """The task of a split and most-popular's ranks of its held-out items."""
    from recsys_ssl.evaluation.ranking import rank_by_popularity
    from recsys_ssl.training.config import TrainConfig
    from recsys_ssl.training.train import build_model
    from recsys_ssl.training.validation import Validator

    catalogue = build_model(spec, TrainConfig(), list_inputs(made))[1]
    task = Validator(spec, list_inputs(made).interactions_dir, catalogue, None, 0, split=split).task
    return task, rank_by_popularity(task, catalogue.train_counts, k=1).ranks


def rank_towers(
    spec: FeatureSpec, config: TrainConfig, made: Path, split: str, checkpoints: Path
) -> tuple[RankingTask, np.ndarray]:
    """The task of a split and the ranks of towers that are trained now, or were by the same settings before."""
    from recsys_ssl.training.train import fit
    from recsys_ssl.training.validation import Validator

    def report(step: int, steps: int, told: dict[str, float]) -> None:
        print(
            f"step {step:,}/{steps:,}  " + "  ".join(f"{name} {value:.4g}" for name, value in told.items()), flush=True
        )

    inputs = list_inputs(made)
    fitted = fit(spec, fit_regularizer(spec, config), inputs, str(checkpoints), progress=report, tell=print)
    print(f"the weights are those of step {fitted.outcome.best_step:,} of {fitted.outcome.last_step:,}")
    validator = Validator(spec, inputs.interactions_dir, fitted.catalogue, None, 0, split=split)
    return validator.task, validator.rank(fitted.model, k=1).ranks


def list_inputs(made: Path) -> TrainInputs:
    names = ("encoded-interactions", "encoded-catalogue", "query-transform", "item-transform")
    return TrainInputs(*(str(made / name) for name in names))


def measure(task: RankingTask, ranks: np.ndarray, metric: str) -> tuple[float, float, float]:
    """A metric of each ranking: the mean, and its 95% interval over rankings by the normal distribution."""
    values, _ = METRICS[metric](ranks, task.positive_offsets)
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half


def differing(figures: dict[str, tuple[float, float, float]]) -> str:
    """The figures that are not the published ones to the last digit of these."""
    other = [name for name, (value, *_) in figures.items() if round(value, 4) != PUBLISHED[name]]
    return ", ".join(f"{LABELS[name][1]} {figures[name][0]:.4f}, published {PUBLISHED[name]}" for name in other)


if __name__ == "__main__":
    sys.exit(main())
