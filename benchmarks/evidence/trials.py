"""A trial: one arm trained with one seed on one share of one log, judged on its validation or its test split."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.evidence.datasets import (
    DATASETS,
    QUERIES_ARE_ITEMS,
    REPEATED,
    START_AT_FACTORS,
    STUDIED,
    TIMED,
    WORK,
    Prepared,
    prepare,
)
from recsys_ssl.evaluation.metrics import METRICS, average_precision
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.slices import ITEM_SLICES, item_slices

TRIALS = RESULTS / "evidence" / "trials.jsonl"
RANKS = RESULTS / "evidence" / "ranks"
TASKS = RESULTS / "evidence" / "tasks"
"""To be committed, so that tables and intervals follow from the trials without running any of them again."""
DEEPEST = 50
"""Rank up to which tests are compared; all that are deeper are kept as the next."""

RECOMMENDED = "item_masks"
REGULARIZERS = {
    "none": "no regularisation",
    "random_start": "no regularisation, ids start at random",
    "feature_dropout": "feature dropout (FD)",
    "spread_out": "spread-out (SO)",
    "dropout_only": "value dropout only",
    "rfm": "RFM",
    "rfm_no_complement": "RFM without complement",
    "cfm": "CFM (paper)",
    "across_towers": "whole items across the towers",
    RECOMMENDED: "item masks (recommended)",
}
PLAIN = ("none", "random_start")
"""Those of them without one."""
PROPOSALS = {
    "no_prior": "no popularity prior",
    "logq_none": "no logQ correction",
    "logq_streaming": "streaming logQ",
    "hidden_layer": "a hidden layer of 128",
    "large_accumulator": "Adagrad from 0.1",
}
"""Arm `none` with one thing changed; exact logQ with the popularity prior of the data set is `none` itself."""
BASELINES = {
    "popular": "most popular",
    "own_counts": "own counts",
    "most_recent": "most recent",
    "itemknn": "ItemKNN",
    "ease": "EASE",
    "ials": "iALS",
    "bpr": "BPR",
    "lightgcn": "LightGCN",
    "sasrec": "SASRec",
}
ARMS = {**BASELINES, **REGULARIZERS, **PROPOSALS}
# Arms of some logs only: where items are chosen again (elsewhere all that they know is masked), where events have an
# order, where a matrix of all items fits in memory, where queries are items, and where ids start at factors; a variant
# of the paper's masks is shown where masks help.
ONLY_ON = {
    "own_counts": REPEATED,
    "most_recent": REPEATED,
    "sasrec": TIMED,
    "ease": tuple(name for name in STUDIED if name != "debian"),
    "across_towers": QUERIES_ARE_ITEMS,
    "random_start": START_AT_FACTORS,
    "rfm_no_complement": ("chembl-targets",),
}


def is_of(arm: str, dataset: str) -> bool:
    """Whether an arm is run on a data set."""
    if dataset not in STUDIED:
        return arm in ("none", "random_start")
    return dataset in ONLY_ON.get(arm, DATASETS)


@dataclass(frozen=True)
class Trial:
    """What was run, and what came out once it was.

    Attributes:
        purpose: `tune` (validation only) or `test`.
        split_seed: seed of the random split.
        share: of the training positives that were kept.
        seed: of the training; at a share below 1 it also draws which positives were kept.
        settings: what differs from the data set's own settings.
        metrics: slice (or `all`) -> metric -> value; None for a trial that never saw the test split.
    """

    purpose: str
    dataset: str
    arm: str
    share: float = 1.0
    seed: int = 0
    split_seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    validation_recall_at_50: float | None = None
    best_step: int = 0
    last_step: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, Mapping[str, float | None]] | None = None

    @property
    def key(self) -> str:
        """Names the trial by what was run, base settings included."""
        base = {} if self.arm in BASELINES else DATASETS[self.dataset].settings(self.share)
        facts = [
            self.purpose,
            self.dataset,
            self.arm,
            self.share,
            self.seed,
            self.split_seed,
            {**base, **self.settings},
        ]
        return records.hash_facts(facts)

    def describe(self) -> str:
        """One line for the terminal."""
        settings = "".join(f" {name}={value}" for name, value in self.settings.items())
        found = []
        if self.validation_recall_at_50 is not None:
            found.append(f"validation Recall@50 {self.validation_recall_at_50:.4f} at step {self.best_step}")
        if self.metrics is not None:
            found.append(f"test {self.metrics['all']['recall_at_50']:.4f}")
        what = f"{self.purpose} {self.dataset} {self.share:g} {self.arm} seed {self.seed}{settings}"
        return f"{what}: {', '.join(found)}, {self.seconds:.0f} s"

    def to_json(self) -> str:
        return records.to_line(self)


def read_trials(path: Path = TRIALS) -> list[Trial]:
    """The trials of a file whose settings are still those of the study; none when there is no file."""
    return records.read_lines(path, lambda facts: Trial(**facts))


def run_trial(trial: Trial) -> Trial:
    """Runs a trial and returns it with what came out; a test leaves its ranks in `RANKS`."""
    started = time.perf_counter()
    prepared = prepare(trial.dataset, trial.split_seed, trial.share, trial.seed)
    run = _run_baseline if trial.arm in BASELINES else _run_towers
    outcome = run(trial, prepared)
    return dataclasses.replace(trial, **outcome, seconds=round(time.perf_counter() - started, 1))


_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "no_prior": {"popularity_prior": 0.0},
    "logq_none": {"logq": "none"},
    "logq_streaming": {"logq": "streaming"},
    "hidden_layer": {"hidden": (128,)},
    "large_accumulator": {"initial_accumulator": 0.1},
}
"""Proposal -> what it changes, whatever `none` was tuned to."""


def make_config(trial: Trial):
    """The training settings of an arm: the data set's own, then the arm's, the trial's, and what a proposal changes."""
    arm: dict[str, Any] = {"ssl.regularizer": trial.arm, "ssl.towers": "item"}
    if trial.arm == "random_start":
        arm = {"ssl.regularizer": "none", "start.ids": "random"}
    if trial.arm in PROPOSALS:
        arm = {"ssl.regularizer": "none"}
    own, change = DATASETS[trial.dataset].settings(trial.share), _CHANGES.get(trial.arm, {})
    return records.make_train_config({**own, **arm, **trial.settings, **change, "seed": trial.seed})


def _run_towers(trial: Trial, prepared: Prepared) -> dict[str, Any]:
    # TensorFlow is loaded by the workers only.
    import tf_keras as keras

    from recsys_ssl.training.train import fit
    from recsys_ssl.training.validation import Validator

    checkpoints = WORK / "checkpoints" / trial.key
    fitted = fit(prepared.spec, make_config(trial), prepared.inputs, str(checkpoints))
    metrics = None
    if trial.purpose == "test":
        catalogue = fitted.catalogue
        validator = Validator(prepared.spec, prepared.inputs.interactions_dir, catalogue, None, 0, split="test")
        ranks = validator.rank(fitted.model, k=1).ranks
        metrics = judge(trial, validator.task, ranks, catalogue.train_counts)
    shutil.rmtree(checkpoints)
    keras.backend.clear_session()
    return {
        "validation_recall_at_50": round(fitted.outcome.best_score, 6),
        "best_step": fitted.outcome.best_step,
        "last_step": fitted.outcome.last_step,
        "metrics": metrics,
    }


def judge(trial: Trial, task: RankingTask, ranks: np.ndarray, train_counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """Metrics of a test by slice of the held-out item; keeps the ranks for the paired comparisons."""
    facts = TASKS / f"{trial.dataset}-{trial.split_seed}.npz"
    return judge_ranks(task, ranks, train_counts, RANKS / f"{trial.key}.npz", facts)


def judge_ranks(
    task: RankingTask, ranks: np.ndarray, train_counts: np.ndarray, ranks_path: Path, task_path: Path
) -> dict[str, dict[str, Any]]:
    """Metrics of ranks, of all pairs and by slice of the held-out item.

    `item_recall_at_50` is the mean over held-out items of the share of their pairs that are found.

    Args:
        ranks: [num_pairs] float, 1 is best, see `recsys_ssl.evaluation.ranking.rank`.
        train_counts: [num_items] int, training positives of each item.
        ranks_path: receives ranks, those beyond `DEEPEST` cut off, and slices.
        task_path: receives which query each rank belongs to, unless it is there already.
    """
    slices = item_slices(train_counts)[task.positive_rows]
    ranks_path.parent.mkdir(parents=True, exist_ok=True)
    task_path.parent.mkdir(parents=True, exist_ok=True)
    kept = np.minimum(ranks, DEEPEST + 1).astype(np.float32)
    np.savez_compressed(ranks_path, ranks=kept, slices=slices)
    if not task_path.exists():
        np.savez_compressed(task_path, offsets=task.positive_offsets, cluster=task.cluster)
    metrics: dict[str, dict[str, Any]] = {"all": {**_recalls(ranks), "pairs": len(ranks)}}
    for k in (10, 50):
        precision, rankings = average_precision(ranks, task.positive_offsets, k)
        metrics["all"][f"map_at_{k}"] = round(float(precision.sum() / rankings.sum()), 6)
    of_item, pairs = np.unique(task.positive_rows, return_inverse=True, return_counts=True)[1:]
    metrics["all"]["item_recall_at_50"] = round(float((np.bincount(of_item, ranks <= 50) / pairs).mean()), 6)
    for name in ("user_recall_at_20", "ndcg_at_20"):  # of each ranking, as most of the literature has it
        values, rankings = METRICS[name](ranks, task.positive_offsets)
        metrics["all"][name] = round(float(values.sum() / rankings.sum()), 6)
    for index, name in enumerate(ITEM_SLICES):
        own = ranks[slices == index]
        metrics[name] = {**_recalls(own), "pairs": len(own)}
    return metrics


def _recalls(ranks: np.ndarray) -> dict[str, float | None]:
    return {f"recall_at_{k}": round(float((ranks <= k).mean()), 6) if len(ranks) else None for k in (10, 50)}


def _run_baseline(trial: Trial, prepared: Prepared) -> dict[str, Any]:
    from recsys_ssl.baselines.collaborative import BASELINES as RANKERS
    from recsys_ssl.baselines.profiles import build_profiles
    from recsys_ssl.pairs import read_pairs
    from recsys_ssl.training.config import TrainConfig
    from recsys_ssl.training.train import build_model
    from recsys_ssl.training.validation import Validator

    inputs = prepared.inputs
    catalogue = build_model(prepared.spec, TrainConfig(), inputs)[1]
    train = read_pairs(inputs.interactions_dir, "train")

    def rank(split: str) -> tuple[RankingTask, np.ndarray]:
        task = Validator(prepared.spec, inputs.interactions_dir, catalogue, None, 0, split=split).task
        profiles = build_profiles(prepared.spec, inputs.interactions_dir, inputs.catalogue_dir, split, task, train)
        arguments = (train, profiles, task, catalogue.train_counts, trial.settings, trial.seed)
        return task, RANKERS[trial.arm](*arguments).ranks

    if trial.purpose == "test":
        task, ranks = rank("test")
        return {"metrics": judge(trial, task, ranks, catalogue.train_counts)}
    _, ranks = rank("eval")
    return {"validation_recall_at_50": round(float((ranks <= 50).mean()), 6)}
