"""A trial: one arm on one data set, one split and one seed, judged on its test part."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.molecules.datasets import DATASETS, Family, load, split

TRIALS = RESULTS / "molecules" / "trials.jsonl"
ARMS = {
    "ecfp_rf": "ECFP, random forest",
    "ecfp_mlp": "ECFP, perceptron",
    "chemprop": "chemprop (D-MPNN)",
    "scratch": "GROVER from scratch",
    "pretrained": "GROVER pre-trained",
}
ENCODER_ARMS = ("scratch", "pretrained")
HAND_SET: Mapping[str, Any] = {"learning_rate": 1e-3, "batch_size": 32, "dropout": 0.1}
"""What were the defaults of fine-tuning, chosen by hand, when the studies of molecules were made."""


@dataclass(frozen=True)
class Trial:
    """What was run, and what came out once it was.

    Attributes:
        family: of the split; in "balanced" the seed draws the split too.
        seed: of split, weights, batches and forests.
        settings: what differs from `HAND_SET` and the defaults of `FinetuneConfig`; of chemprop, its `epochs` alone;
            none for fingerprints.
        encoder: sizes of the encoder (`GroverConfig`), and for `pretrained` a hash of its weights and whether its
            pre-training hid the inputs of what it predicted.
        sizes: molecules in train, validation and test.
        rejected: reason -> rows of the file that gave no molecule.
        metrics: part of the split -> mean ROC-AUC over tasks, or RMSE.
    """

    dataset: str
    family: Family
    arm: str
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] | None = None
    best_epoch: int | None = None
    last_epoch: int | None = None
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """Names the trial by what was run."""
        facts = [self.dataset, self.family, self.arm, self.seed, dict(self.settings), dict(self.encoder)]
        return records.hash_facts(facts)

    def describe(self) -> str:
        """One line for the terminal."""
        found = "" if self.metrics is None else f": test {self.metrics['test']:.4f}, {self.seconds:.0f} s"
        return f"{self.dataset} {self.family} {self.arm} seed {self.seed}{found}"

    def to_json(self) -> str:
        return records.to_line(self)


def read_trials(path: Path = TRIALS) -> list[Trial]:
    """The trials of a file; none when there is no file. A line cut off by a kill is left out."""
    return records.read_lines(path, lambda facts: Trial(**facts))


def describe_encoder(model: Path | None, sizes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arm -> sizes of its encoder; both arms have those of the pre-trained one.

    Args:
        model: directory of the pre-trained encoder; None where that arm is not run.
        sizes: of an encoder from scratch where there is no model.

    Raises:
        FileNotFoundError: `model` holds no encoder.
    """
    if model is None:
        return {"scratch": dict(sizes)}
    from recsys_ssl.encoders import store

    encoder = store.load(model, "molecule")
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in encoder.get_weights())).hexdigest()[:16]
    sizes = dataclasses.asdict(encoder.config)
    facts = {"weights": digest, "mask_inputs": store.read_pretraining(model).mask_inputs}
    return {"scratch": sizes, "pretrained": {**sizes, **facts}}


def sizes_of(trial: Trial) -> dict[str, Any]:
    """What `GroverConfig` takes of `trial.encoder`."""
    return {name: value for name, value in trial.encoder.items() if name not in ("weights", "mask_inputs")}


def run_trial(trial: Trial, data: Path, model: Path | None) -> Trial:
    """Runs a trial and returns it with what came out.

    Args:
        data: directory of MoleculeNet's CSV files.
        model: directory of the pre-trained encoder, for the arm of that name.
    """
    started, dataset = time.perf_counter(), DATASETS[trial.dataset]
    loaded = load(trial.dataset, data)
    parts = split(loaded.texts, trial.family, trial.seed)
    if trial.arm in ENCODER_ARMS:
        outcome = _finetune(trial, loaded, parts, dataset.task, model)
    else:
        from benchmarks.molecules import chemprop
        from recsys_ssl.baselines import fingerprints as baselines
        from recsys_ssl.evaluation.prediction import score

        how = loaded.targets, parts, dataset.task, trial.seed
        if trial.arm == "chemprop":
            found = chemprop.fit_predict(loaded.texts, *how, **trial.settings)
        else:
            found = baselines.fit_predict(trial.arm, baselines.ecfp(loaded.texts), *how)
        rows_of = parts._asdict().items()
        outcome = {"metrics": {part: score(loaded.targets[rows], found[rows], dataset.task) for part, rows in rows_of}}
    outcome["metrics"] = {part: round(value, 6) for part, value in outcome["metrics"].items()}
    reasons = [rejection.reason for rejection in loaded.rejections]
    return dataclasses.replace(
        trial,
        **outcome,
        sizes=tuple(len(part) for part in parts),
        rejected={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        seconds=round(time.perf_counter() - started, 1),
    )


def _finetune(trial: Trial, loaded, parts, task: str, model: Path | None) -> dict[str, Any]:
    # TensorFlow is loaded by the workers only.
    import tf_keras as keras

    from recsys_ssl.encoders import store
    from recsys_ssl.encoders.finetune import finetune
    from recsys_ssl.encoders.molecule.settings import FinetuneConfig, GroverConfig

    encoder = store.load(model, "molecule") if trial.arm == "pretrained" else GroverConfig(**sizes_of(trial))
    config = FinetuneConfig(**{**HAND_SET, **trial.settings, "seed": trial.seed})
    found = finetune("molecule", encoder, loaded.contents, loaded.targets, parts, task, config)
    keras.backend.clear_session()
    return {"metrics": found.metrics, "best_epoch": found.best_epoch, "last_epoch": found.last_epoch}
