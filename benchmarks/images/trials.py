"""A trial: one arm with one seed, trained for the same number of core-seconds as all others, judged on the test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.images.datasets import LabelledImages
from recsys_ssl.evaluation import probes
from recsys_ssl.evaluation.probes import Labelled

TRIALS = RESULTS / "images" / "trials.jsonl"
OBJECTIVES = {
    "reconstruction": "reconstruction alone",
    "contrast": "contrast of clean views",
    "v1": "SiT, first version",
    "momentum": "SiT, third version",
}
UNTRAINED = {"pixels": "pixels", "pca": "64 principal components of pixels", "random": "encoder as it begins"}
SHARES = (1, 10, 100)
"""Of the labels, in %."""
SUPERVISED = {f"supervised_{share}": f"from scratch, {share}% of the labels" for share in SHARES}
FINETUNED = {f"finetuned_{share}": f"contrast, then fine-tuned, {share}% of the labels" for share in SHARES}
ARMS = {**UNTRAINED, **OBJECTIVES, **SUPERVISED, **FINETUNED}
"""Arm -> its name in tables. A fine-tuned arm spends half of its budget on pre-training."""

SETTINGS: Mapping[str, Any] = {"batch_size": 128, "max_learning_rate": 1e-3, "vit": "mini", "patch": 7}
"""Of all encoders, see `PretrainConfig`; size and channels are the data's."""
_COMPONENTS, _NEIGHBOURS, _SHOTS = 64, 20, 10


@dataclass(frozen=True)
class Trial:
    """What was run, and what came out once it was.

    Attributes:
        data: hash of the data set.
        budget: core-seconds of training.
        probe_size: training records that probes see; they see the whole test.
        settings: of the encoder.
        steps, core_seconds: what training took, pre-training and fine-tuning together.
        metrics: `accuracy` of a classifier; `linear`, `nearest` and `few_shot` of frozen vectors; 0 to 1.
        seconds: wall time of everything.
    """

    arm: str
    seed: int
    data: str
    budget: float
    probe_size: int
    settings: Mapping[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    steps: int = 0
    core_seconds: float = 0.0
    metrics: Mapping[str, float] | None = None
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """Names the trial by what was run."""
        facts = [self.arm, self.seed, self.data, self.budget, self.probe_size, dict(self.settings)]
        return records.hash_facts(facts)

    def describe(self) -> str:
        """One line for the terminal."""
        found = ", ".join(f"{name} {value:.4f}" for name, value in (self.metrics or {}).items())
        return f"{self.arm} seed {self.seed}: {found}; {self.steps} steps, {self.core_seconds:.0f} core-seconds"

    def to_json(self) -> str:
        return records.to_line(self)


def read_trials(path: Path = TRIALS) -> list[Trial]:
    """The trials of a file whose settings are still those of the study; none when there is no file."""
    return records.read_lines(path, lambda facts: Trial(**facts) if facts["arm"] in ARMS else None)


def run_trial(trial: Trial, data: LabelledImages) -> Trial:
    """Runs a trial and returns it with what came out."""
    import tf_keras as keras

    started = time.perf_counter()
    arm, _, share = trial.arm.rpartition("_")
    if arm in ("supervised", "finetuned"):
        outcome = _run_classifier(trial, data, arm == "finetuned", int(share) / 100)
    else:
        outcome = _run_frozen(trial, data)
    keras.backend.clear_session()
    return dataclasses.replace(trial, **outcome, seconds=round(time.perf_counter() - started, 1))


def make_config(trial: Trial, data: LabelledImages, objective: str):
    """The settings of a pre-training; garments and digits are upright, so no objective but the first version turns."""
    from recsys_ssl.encoders.image.settings import PretrainConfig

    size, channels = data.train_images.shape[2:]
    return PretrainConfig(seed=trial.seed, objective=objective, size=size, channels=channels, **trial.settings)


def _run_frozen(trial: Trial, data: LabelledImages) -> dict[str, Any]:
    # TensorFlow is loaded for encoders only.
    rows = np.random.default_rng(trial.seed).permutation(len(data.train_labels))[: trial.probe_size]
    images = [data.train_images[rows], data.test_images]
    facts: dict[str, Any] = {}
    if trial.arm in ("pixels", "pca"):
        vectors = [part.reshape(len(part), -1) / 255.0 for part in images]
        if trial.arm == "pca":
            from sklearn.decomposition import PCA

            fitted = PCA(min(_COMPONENTS, len(rows) - 1), random_state=trial.seed).fit(vectors[0])
            vectors = [fitted.transform(part) for part in vectors]
    else:
        from benchmarks.images import training

        config = make_config(trial, data, "contrast" if trial.arm == "random" else trial.arm)
        if trial.arm == "random":
            encoder = training.make_encoder(config)
        else:
            encoder, spent = training.pretrain(data.train_images, config, trial.budget)
            facts = spent._asdict()
        vectors = np.split(training.encode(encoder, np.concatenate(images)), [len(rows)])
    train, test = Labelled(vectors[0], data.train_labels[rows]), Labelled(vectors[1], data.test_labels)
    metrics = {
        "linear": probes.linear(train, test, [trial.seed]).mean,
        "nearest": probes.nearest(train, test, min(_NEIGHBOURS, len(rows))),
        "few_shot": probes.few_shot(train, test, _SHOTS, [trial.seed]).mean,
    }
    return {**facts, "metrics": {name: round(value, 6) for name, value in metrics.items()}}


def _run_classifier(trial: Trial, data: LabelledImages, is_pretrained: bool, share: float) -> dict[str, Any]:
    from benchmarks.images import training

    config = make_config(trial, data, "contrast")
    rows = draw_labelled(data.train_labels, share, trial.seed)
    steps, core_seconds, left = 0, 0.0, trial.budget
    if is_pretrained:
        encoder, spent = training.pretrain(data.train_images, config, trial.budget / 2)
        steps, core_seconds, left = spent.steps, spent.core_seconds, trial.budget / 2
    else:
        encoder = training.make_encoder(config)
    images, labels = data.train_images[rows], data.train_labels[rows]
    classify, spent = training.train_classifier(encoder, images, labels, config, left)
    accuracy = float((classify(data.test_images) == data.test_labels).mean())
    return {
        "steps": steps + spent.steps,
        "core_seconds": round(core_seconds + spent.core_seconds, 2),
        "metrics": {"accuracy": round(accuracy, 6)},
    }


def draw_labelled(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows of a share of each class, at least one, ascending."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        rows.append(of_class[: max(1, round(share * len(of_class)))])
    return np.sort(np.concatenate(rows))
