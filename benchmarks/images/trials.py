"""A trial: one arm with one seed, trained for a number of steps, judged on the test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import records
from benchmarks.claims import RESULTS, ROOT
from benchmarks.images.costs import CLASSIFIER
from benchmarks.images.datasets import LabelledImages
from recsys_ssl.evaluation import probes
from recsys_ssl.evaluation.probes import Labelled

TRIALS = RESULTS / "images" / "trials.jsonl"
WORK = ROOT / "build" / "images-study"
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
"""Arm -> its name in tables. A fine-tuned arm spends `LABEL_BUDGET` on labels, the rest of its budget before."""

SETTINGS: Mapping[str, Any] = {"batch_size": 256, "vit": "mini", "patch": 7}
"""Of all encoders, see `PretrainConfig`; size and channels are the data's."""
HAND_SET: Mapping[str, Mapping[str, Any]] = {"contrast": {"temperature": 0.2, "head_layers": 2}}
"""Objective -> what was its default, chosen by hand, when the studies of images were made."""
HAND_SET_CROP = 0.3
"""The same of all objectives: the smallest crop."""
RATES = (1e-3, 2e-3, 4e-3)
"""Largest learning rates of pre-training, among which validation chooses for every objective."""
LABEL_RATES = (5e-4, 2e-3, 8e-3)
"""The same of training with labels."""
FINAL_SHARE = 0.01
"""What is left of the learning rate at the end, where the settings of a trial have no `final_share` of pre-training."""
BUDGET, TUNE_BUDGET = 120.0, 40.0
"""Core-seconds of training of a test and of a trial that chooses a learning rate."""
LABEL_BUDGET = 60.0
"""Core-seconds that a fine-tuned arm trains with labels at most, see `label_budget`."""
_COMPONENTS, _NEIGHBOURS, _SHOTS = 64, 20, 10
_TUNE_PROBE, _CHOOSE = 10_000, 5000
"""Training vectors that the linear probe of tuning sees, and those on which that of the test, which sees all, chooses
its penalty."""
_VALIDATION = 10_000
"""The last training images, in an order of the seed, on which learning rates are chosen."""


@dataclass(frozen=True)
class Trial:
    """What was run, and what came out once it was.

    Attributes:
        purpose: `tune` (trained without the validation images, judged on them) or `test`.
        data: hash of the data set.
        budget: core-seconds of training, by the committed costs of a step.
        steps: of pre-training and of training with labels, what the budget pays for.
        rates: the largest learning rates of the same; 0 where nothing is trained.
        settings: of the encoder.
        metrics: `accuracy` of a classifier; `linear`, `nearest` and `few_shot` of frozen vectors; 0 to 1.
        seconds: wall time of everything.
    """

    purpose: str
    arm: str
    seed: int
    data: str
    budget: float
    steps: tuple[int, int]
    rates: tuple[float, float]
    settings: Mapping[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    metrics: Mapping[str, float] | None = None
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """Names the trial by what was run."""
        facts = [self.purpose, self.arm, self.seed, self.data, self.budget, self.steps, self.rates]
        return records.hash_facts([*facts, dict(self.settings)])

    @property
    def encoder_seed(self) -> int:
        """Of pre-training: where the settings say so, some encoders serve the seeds of more classifiers in turn."""
        return self.seed % self.settings.get("encoders", self.seed + 1)

    @property
    def score(self) -> float:
        """What validation chooses by: of frozen vectors the linear probe."""
        return self.metrics.get("linear", self.metrics.get("accuracy"))

    def describe(self) -> str:
        """One line for the terminal."""
        found = ", ".join(f"{name} {value:.4f}" for name, value in (self.metrics or {}).items())
        steps, rates = ("+".join(f"{part:g}" for part in parts) for parts in (self.steps, self.rates))
        return f"{self.purpose} {self.arm} seed {self.seed} rate {rates}: {found}; {steps} steps, {self.seconds:.0f} s"

    def to_json(self) -> str:
        return records.to_line(self)


def read_trials(path: Path = TRIALS) -> list[Trial]:
    """The trials of a file whose settings are still those of the study; none when there is no file."""

    def make(facts: Mapping[str, Any]) -> Trial | None:
        pairs = {name: tuple(facts[name]) for name in ("steps", "rates")}
        return Trial(**{**facts, **pairs}) if facts["arm"] in ARMS else None

    return records.read_lines(path, make)


def count_steps(arm: str, budget: float, costs: Mapping[str, float]) -> tuple[int, int]:
    """What a budget of core-seconds pays for: steps of pre-training and steps with labels."""
    if arm in UNTRAINED:
        return 0, 0
    if arm in OBJECTIVES:
        return round(budget / costs[arm]), 0
    if arm in SUPERVISED:
        return 0, round(budget / costs[CLASSIFIER])
    with_labels = label_budget(budget)
    return round((budget - with_labels) / costs["contrast"]), round(with_labels / costs[CLASSIFIER])


def label_budget(budget: float) -> float:
    """Core-seconds that a fine-tuned arm of a budget trains with labels."""
    return min(LABEL_BUDGET, budget / 2)


def run_trial(trial: Trial, data: LabelledImages, work: Path = WORK) -> Trial:
    """Runs a trial and returns it with what came out.

    Args:
        work: receives the vectors of a test of frozen vectors, for further measures, and pre-trained weights, which
            several arms begin with.
    """
    import tf_keras as keras

    started = time.perf_counter()
    data = split(data, trial)
    metrics = _judge_classifier(trial, data, work) if trial.steps[1] else _judge_frozen(trial, data, work)
    keras.backend.clear_session()
    rounded = {name: round(value, 6) for name, value in metrics.items()}
    return dataclasses.replace(trial, metrics=rounded, seconds=round(time.perf_counter() - started, 1))


def split(data: LabelledImages, trial: Trial) -> LabelledImages:
    """The data of a test as they are; of tuning, the last training images in the place of the test."""
    if trial.purpose == "test":
        return data
    rows = np.random.default_rng(trial.seed).permutation(len(data.train_labels))
    num = min(_VALIDATION, len(rows) // 5)
    train, validation = np.sort(rows[:-num]), np.sort(rows[-num:])
    images, labels = data.train_images, data.train_labels
    return LabelledImages(images[train], labels[train], images[validation], labels[validation])


def make_config(data: LabelledImages, objective: str, **settings: Any):
    """The settings of a training; the learning rate ends at `final_share` of its largest."""
    from recsys_ssl.encoders.image.settings import PretrainConfig

    size, channels = data.train_images.shape[2:]
    rate = settings.setdefault("max_learning_rate", RATES[0])
    rates = {"init_learning_rate": rate / 10, "final_learning_rate": rate * settings.pop("final_share", FINAL_SHARE)}
    own = {**SETTINGS, **hand_set(objective), **settings}
    return PretrainConfig(objective=objective, size=size, channels=channels, **rates, **own)


def hand_set(objective: str) -> dict[str, Any]:
    """The settings of views and of the contrast that the studies have, whatever the package's defaults are."""
    return {"min_crop": HAND_SET_CROP, **HAND_SET.get(objective, {})}


def _config_of(trial: Trial, data: LabelledImages, objective: str, part: int):
    """Of pre-training (part 0) or of training with labels (1)."""
    rate = trial.rates[part] or RATES[0]
    seed = trial.seed if part else trial.encoder_seed
    own = {**trial.settings, "seed": seed, "steps": max(trial.steps[part], 1), "max_learning_rate": rate}
    own.pop("encoders", None)
    if part:
        own.pop("final_share", None)
    return make_config(data, objective, **own)


def _judge_frozen(trial: Trial, data: LabelledImages, work: Path) -> dict[str, float]:
    images = [data.train_images, data.test_images]
    if trial.arm in ("pixels", "pca"):
        vectors = [part.reshape(len(part), -1).astype(np.float32) / 255.0 for part in images]
        if trial.arm == "pca":
            from sklearn.decomposition import PCA

            fitted = PCA(min(_COMPONENTS, *vectors[0].shape), random_state=trial.seed).fit(vectors[0])
            vectors = [fitted.transform(part) for part in vectors]
    else:
        # TensorFlow is loaded for encoders only.
        from benchmarks.images import training

        encoder = _pretrain(trial, data, "contrast" if trial.arm == "random" else trial.arm, work)
        vectors = [training.encode(encoder, part) for part in images]
    train, test = Labelled(vectors[0], data.train_labels), Labelled(vectors[1], data.test_labels)
    if trial.purpose == "tune":
        few = Labelled(*(part[:_TUNE_PROBE] for part in train))
        return {"linear": probes.linear(few, test, [trial.seed]).mean}
    _keep_vectors(trial, vectors, data, work)
    return {
        "linear": probes.linear(train, test, [trial.seed], choose_among=_CHOOSE).mean,
        "nearest": probes.nearest(train, test, min(_NEIGHBOURS, len(train.labels))),
        "few_shot": probes.few_shot(train, test, _SHOTS).mean,
    }


def _keep_vectors(trial: Trial, vectors: list[np.ndarray], data: LabelledImages, work: Path) -> None:
    """float16, as VECTORS/BUDGET/ARM-SEED.npz."""
    path = work / "vectors" / f"{trial.budget:g}" / f"{trial.arm}-{trial.seed}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    train, test = (part.astype(np.float16) for part in vectors)
    np.savez(path, train=train, train_labels=data.train_labels, test=test, test_labels=data.test_labels)


def _pretrain(trial: Trial, data: LabelledImages, objective: str, work: Path):
    """The encoder after the trial's steps of pre-training, from its weights where another trial left them."""
    from benchmarks.images import training

    steps = trial.steps[0]
    config = _config_of(trial, data, objective, 0)
    if not steps:
        return training.make_encoder(config)
    own = {name: value for name, value in trial.settings.items() if name != "encoders"}
    facts = [objective, trial.purpose, trial.encoder_seed, trial.data, steps, trial.rates[0], own]
    path = work / "weights" / f"{records.hash_facts(facts)}.npz"
    if path.exists():
        encoder = training.make_encoder(config)
        with np.load(path) as stored:
            encoder.set_weights([stored[name] for name in stored.files])
        return encoder
    encoder, take = training.make_pretraining(data.train_images, config)
    for step in range(steps):
        take(step)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, *encoder.get_weights())
    return encoder


def _judge_classifier(trial: Trial, data: LabelledImages, work: Path) -> dict[str, float]:
    from benchmarks.images import training

    share = int(trial.arm.rpartition("_")[2]) / 100
    rows = draw_labelled(data.train_labels, share, trial.seed)
    encoder = _pretrain(trial, data, "contrast", work)
    config = _config_of(trial, data, "contrast", 1)
    classifier = training.Classifier(encoder, data.train_images[rows], data.train_labels[rows], config)
    if trial.steps[0]:
        classifier.fit_head()
    for step in range(trial.steps[1]):
        classifier.take(step)
    return {"accuracy": float((classifier.classify(data.test_images) == data.test_labels).mean())}


def draw_labelled(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows of a share of each class, at least one, ascending."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        rows.append(of_class[: max(1, round(share * len(of_class)))])
    return np.sort(np.concatenate(rows))
