"""Settings of a whole run and their `key=value` overrides."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.settings import build_section
from recsys_ssl import artifacts
from recsys_ssl.evaluation.compare import EvaluationConfig
from recsys_ssl.index.scann_index import IndexConfig
from recsys_ssl.logs.transforms import IngestConfig
from recsys_ssl.training.config import TrainConfig

# What decides the weights of a model; validation during training ranks by the rules of the evaluation.
MODEL_SOURCES = (
    "recsys_ssl/lists.py",
    "recsys_ssl/features",
    "recsys_ssl/models",
    "recsys_ssl/training",
    *(f"recsys_ssl/evaluation/{name}.py" for name in ("queries", "ranking", "metrics")),
)

# Settings that an arm without regularizer does not read: they need not retrain the control.
_REGULARIZER_SETTINGS = frozenset(
    {
        "ssl_weight",
        "ssl_temperature",
        "ssl_batch_size",
        "value_dropout",
        "feature_dropout",
        "correlation",
        "molecule_mask_rate",
    }
)


class ConfigError(ValueError):
    """A setting that does not exist or cannot have the given value."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Settings of every stage.

    Attributes:
        train: the treatment.
        control: the arm that the treatment is compared with; everything that is not set is as in `train`,
            but without a regularizer and its settings.
    """

    ingest: IngestConfig = dataclasses.field(default_factory=IngestConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    control: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(regularizer="none"))
    index: IndexConfig = dataclasses.field(default_factory=IndexConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


def parse_overrides(overrides: Sequence[str]) -> RunConfig:
    """Reads settings such as `train.steps=2000`; the value is YAML.

    Raises:
        ConfigError: no `section.key=value`, an unknown key or a value of the wrong type or range.
    """
    values: dict[str, dict[str, Any]] = {field.name: {} for field in dataclasses.fields(RunConfig)}
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not equals or not dot or section not in values:
            raise ConfigError(
                f"a setting is SECTION.KEY=VALUE with a section of {', '.join(values)}. Received: {override!r}."
            )
        try:
            values[section][name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{key}: the value must be YAML. Received: {text!r}. Quote it for the shell.") from error
    shared = {key: value for key, value in values["train"].items() if key not in _REGULARIZER_SETTINGS}
    if values["control"].get("regularizer", "none") != "none":
        shared = values["train"]
    values["control"] = {**shared, "regularizer": "none", **values["control"]}
    return RunConfig(**{field.name: _build(field.name, values[field.name]) for field in dataclasses.fields(RunConfig)})


def to_json(config: Any) -> str:
    """One stage's settings as JSON, to travel in the properties of a component."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def from_json(kind: type, text: str) -> Any:
    return artifacts.from_json(kind, text)


def source_hash(*packages: str) -> str:
    """A hash of the Python sources of some packages or modules, e.g. `recsys_ssl/logs`.

    A component carries it as a property, since TFX's cache does not see code changes.
    """
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in packages:
        paths = [root / package] if package.endswith(".py") else sorted((root / package).rglob("*.[pj]*"))
        sources = [path for path in paths if path.suffix in (".py", ".jinja")]
        if not sources:
            raise ValueError(f"there is no source in {package!r}. Name a package or module of the project.")
        for path in sources:
            source = path.read_bytes()
            digest.update(f"{path.relative_to(root)} {len(source)} ".encode() + source)
    return digest.hexdigest()[:16]


_TYPES = {
    "ingest": IngestConfig,
    "train": TrainConfig,
    "control": TrainConfig,
    "index": IndexConfig,
    "evaluation": EvaluationConfig,
}


def _build(section: str, values: dict[str, Any]) -> Any:
    try:
        return build_section(section, _TYPES[section], values)
    except ValueError as error:
        raise ConfigError(str(error)) from error
