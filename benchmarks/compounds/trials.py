"""A trial: one item tower trained with one seed, judged on the compounds of validation or of the test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.compounds.datasets import ID, WORK, read_prepared
from benchmarks.evidence.trials import judge_ranks

TRIALS = RESULTS / "compounds" / "trials.jsonl"

# Of all arms. Every test compound is new: a popularity prior would put it below each compound of training.
_COMMON = {
    "feature_dim": 64,
    "hidden": (),
    "embedding_dim": 64,
    "temperature": 0.15,
    "unknown_query_rate": 0.0,
    "popularity_prior": 0.0,
    "ssl.regularizer": "none",
    "validation_queries": 6000,
}
# A step without an encoder to train takes milliseconds.
_QUICK = {**_COMMON, "batch_size": 1024, "steps": 1000, "eval_every": 100}
# A step that trains an encoder of 128 dimensions takes a second of a core, and a validation, which encodes the whole
# catalogue, as long as 50 of them: there is one, and no arm takes longer.
_ENCODER = {**_COMMON, "batch_size": 128, "learning_rate": 0.1, "steps": 250, "eval_every": 250}

_RATES = (("learning_rate", (0.1, 0.03)),)
_ENCODER_RATES = (("encoder.molecule.learning_rate", (3e-4, 1e-3)),)
_WEIGHTS = (("ssl.weight", (0.1, 0.3)),)


@dataclass(frozen=True)
class Arm:
    """An item tower: what it reads and how it is trained.

    Attributes:
        label: its name in tables.
        features: item features that it keeps, see `datasets.load_whole_spec`.
        settings: see `records.make_train_config`.
        search: setting and values, one step of the search after the other; as many trials for every arm.
        encoder: whether its molecules are encoded from `scratch` or by a `pretrained` encoder; None: it has none.
    """

    label: str
    features: tuple[str, ...]
    settings: Mapping[str, Any]
    search: tuple[tuple[str, tuple[Any, ...]], ...]
    encoder: str | None = None

    @property
    def trains_encoder(self) -> bool:
        return self.encoder is not None and self.settings.get("encoder.molecule.learning_rate") != 0.0


_STRUCTURE, _BOTH = ("structure",), ("structure", "substructures")
_FROZEN = {**_QUICK, "encoder.molecule.learning_rate": 0.0}

ARMS: Mapping[str, Arm] = {
    "id": Arm("id alone", (ID,), _QUICK, _RATES),
    "ecfp": Arm("Morgan substructures", ("substructures",), _QUICK, _RATES),
    "grover_scratch": Arm("GROVER from scratch", _STRUCTURE, _ENCODER, _ENCODER_RATES, "scratch"),
    "grover_pretrained": Arm("GROVER pre-trained, frozen", _STRUCTURE, _FROZEN, _RATES, "pretrained"),
    "grover_finetuned": Arm("GROVER pre-trained, fine-tuned", _STRUCTURE, _ENCODER, _ENCODER_RATES, "pretrained"),
    # A tower of one feature has no other to hide: its two views differ in the atoms and bonds that are masked.
    "grover_ssl": Arm(
        "GROVER fine-tuned, masked atoms and bonds",
        _STRUCTURE,
        {**_ENCODER, "ssl.regularizer": "dropout_only", "ssl.batch_size": 32, "encoder.molecule.learning_rate": 3e-4},
        _WEIGHTS,
        "pretrained",
    ),
    "grover_ecfp": Arm("GROVER frozen and substructures", _BOTH, _FROZEN, _RATES, "pretrained"),
    # A frozen encoder sees whole molecules only: what a view hides is the vector or the substructures.
    "grover_ecfp_ssl": Arm(
        "GROVER frozen and substructures, item masks",
        _BOTH,
        {**_FROZEN, "ssl.regularizer": "item_masks", "learning_rate": 0.1},
        _WEIGHTS,
        "pretrained",
    ),
}


@dataclass(frozen=True)
class Trial:
    """What was run, and what came out once it was.

    Attributes:
        purpose: `tune` (validation only) or `test`.
        seed: of the training.
        settings: what differs from the arm's own.
        encoder: settings of an encoder from scratch, or the hash of a pre-trained one; see `describe_encoder`.
        metrics: slice (or `all`) -> metric -> value; None for a trial that never saw the test split.
        num_items: size of the catalogue that is ranked.
        seconds: of this process; a test with the seed of the search takes up what its tuning trial trained.
    """

    purpose: str
    arm: str
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    validation_recall_at_50: float | None = None
    best_step: int = 0
    last_step: int = 0
    num_items: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, Mapping[str, float | None]] | None = None

    @property
    def key(self) -> str:
        """Names the trial by what was run, the arm's own settings and features included."""
        arm = ARMS[self.arm]
        settings = {**arm.settings, **self.settings}
        facts = [self.purpose, self.arm, arm.features, self.seed, settings, dict(self.encoder)]
        return records.hash_facts(facts)

    def describe(self) -> str:
        """One line for the terminal."""
        settings = "".join(f" {name}={value}" for name, value in self.settings.items())
        found = "" if self.validation_recall_at_50 is None else f": validation {self.validation_recall_at_50:.4f}"
        if self.metrics is not None:
            found += f", test {self.metrics['all']['recall_at_50']:.4f}"
        return f"{self.purpose} {self.arm} seed {self.seed}{settings}{found}, {self.seconds:.0f} s"

    def to_json(self) -> str:
        return records.to_line(self)


def read_trials(path: Path = TRIALS) -> list[Trial]:
    """The trials of a file whose settings are still those of the study; none when there is no file."""
    return records.read_lines(path, lambda facts: Trial(**facts) if facts["arm"] in ARMS else None)


def describe_encoder(model: Path) -> dict[str, dict[str, Any]]:
    """`scratch` -> the settings that give it the sizes of the pre-trained one, `pretrained` -> a hash of its files.

    Args:
        model: directory of the pre-trained encoder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: training from scratch has no such encoder.
    """
    from recsys_ssl.encoders import store

    config = store.load(model, "molecule").config
    if config.attention != "atoms":
        raise ValueError(
            f"the encoder must attend to atoms, as one from scratch does. Received: attention={config.attention!r} in "
            f"{str(model)!r}. Pre-train with pretrain.attention=atoms."
        )
    sizes = ("hidden_dim", "num_heads", "num_blocks", "depth")
    return {
        "scratch": {f"encoder.molecule.{name}": getattr(config, name) for name in sizes},
        "pretrained": {"hash": store.hash_encoder(str(model))},
    }


def make_config(trial: Trial, model: Path | None):
    """The training settings of a trial: the arm's, then its encoder's, then its own."""
    arm = ARMS[trial.arm]
    encoder = {"encoder.molecule.pretrained": str(model)} if arm.encoder == "pretrained" else trial.encoder
    return records.make_train_config({**arm.settings, **encoder, **trial.settings, "seed": trial.seed})


def run_trial(trial: Trial, model: Path | None, work: Path = WORK) -> Trial:
    """Runs a trial and returns it with what came out; a test leaves its ranks in `work`.

    Training goes on from the checkpoint of a run with the same settings and seed, of a killed one too.

    Args:
        model: directory of the pre-trained encoder, for the arms that have it.
        work: directory that `datasets.prepare` filled.
    """
    # TensorFlow is loaded by the workers only.
    import tf_keras as keras

    from recsys_ssl.training.train import fit
    from recsys_ssl.training.validation import Validator

    started = time.perf_counter()
    prepared = read_prepared(ARMS[trial.arm].features, work)
    spec, inputs = prepared.spec, prepared.inputs
    fitted = fit(spec, make_config(trial, model), inputs, str(work / "checkpoints"))
    metrics = None
    if trial.purpose == "test":
        validator = Validator(spec, inputs.interactions_dir, fitted.catalogue, None, 0, split="test")
        ranks = validator.rank(fitted.model, k=1).ranks
        metrics = judge_ranks(
            validator.task, ranks, fitted.catalogue.train_counts, work / "ranks" / f"{trial.key}.npz", work / "task.npz"
        )
    keras.backend.clear_session()
    return dataclasses.replace(
        trial,
        validation_recall_at_50=round(fitted.outcome.best_score, 6),
        best_step=fitted.outcome.best_step,
        last_step=fitted.outcome.last_step,
        num_items=fitted.catalogue.num_items,
        metrics=metrics,
        seconds=round(time.perf_counter() - started, 1),
    )
