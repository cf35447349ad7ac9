"""Settings of a whole run and their `key=value` overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.stages.push import PushConfig
from pipelines.trainings import name_training, parse_training
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.index.scann_index import IndexConfig
from recsys_ssl.logs.transforms import IngestConfig
from recsys_ssl.settings import ConfigError, build, parse
from recsys_ssl.training.config import BY_LOG, SslConfig, TrainConfig
from recsys_ssl.yaml_text import show

_TYPES = {
    "ingest": IngestConfig,
    "train": TrainConfig,
    "control": TrainConfig,
    "index": IndexConfig,
    "evaluation": EvaluationConfig,
    "push": PushConfig,
}
_NO_SSL = SslConfig(regularizer="none")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Settings of every stage.

    Attributes:
        train: the treatment.
        control: the arm that the treatment is compared with; everything that is not set is as in `train`,
            but without `train.ssl.*`.
    """

    ingest: IngestConfig = dataclasses.field(default_factory=IngestConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    control: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(ssl=_NO_SSL))
    index: IndexConfig = dataclasses.field(default_factory=IndexConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    push: PushConfig = dataclasses.field(default_factory=PushConfig)


def parse_overrides(overrides: Sequence[str]) -> RunConfig:
    """Reads settings such as `train.steps=2000`; the value is YAML.

    What is set of a training is not left to the log, see `TrainConfig.by_log`.

    Raises:
        ConfigError: no `section.key=value`, an unknown key or a value of the wrong type or range.
    """
    values = parse(overrides, list(_TYPES))
    for section in ("train", "control"):
        ssl = values[section].get("ssl", {})
        if not isinstance(ssl, dict):
            raise ConfigError(f"{section}.ssl: it has settings of its own. Received: {show(ssl)}. Set one of them.")
    ssl = values["control"].pop("ssl", {})
    if ssl.get("regularizer", "none") != "none":
        ssl = {**values["train"].get("ssl", {}), **ssl}
    shared = {key: value for key, value in values["train"].items() if key != "ssl"}
    values["control"] = {**shared, **values["control"], "ssl": {"regularizer": "none", **ssl}}
    config = RunConfig(**{section: build(section, kind, values[section]) for section, kind in _TYPES.items()})
    return dataclasses.replace(
        config,
        train=_leave_to_log(config.train, values["train"]),
        control=_leave_to_log(config.control, values["control"]),
    )


def _leave_to_log(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The settings, with those that nobody set left to the log, unless `by_log` itself was set."""
    given = set(flatten(values))
    if "by_log" in given:
        return config
    return dataclasses.replace(config, by_log=tuple(name for name in BY_LOG if name not in given))


def configure_training(config: RunConfig, name: str) -> TrainConfig:
    """The settings of a training: those of its arm, with a seed that is by one higher each time."""
    arm, number = parse_training(name)
    of_arm = config.control if arm == "control" else config.train
    return dataclasses.replace(of_arm, seed=of_arm.seed + number - 1)


def list_trainings(config: RunConfig, arm: str) -> list[str]:
    """The names of an arm's trainings, the first first."""
    return [name_training(arm, number) for number in range(1, config.evaluation.seeds + 1)]


def given_settings(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Section -> the settings that were named, with the values that they have: what an earlier stage must have had.

    What is given for `train` holds for the control too, but for `train.ssl`, see `RunConfig`.

    Raises:
        ConfigError: as `parse_overrides`.
    """
    named, config = parse(overrides, list(_TYPES)), parse_overrides(overrides)
    shared = {name: value for name, value in named["train"].items() if name != "ssl"}
    named["control"] = {**shared, **named["control"]}
    return {section: _pick(dataclasses.asdict(getattr(config, section)), named[section]) for section in _TYPES}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of nested settings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _pick(values: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The values of these names, nested as they are."""
    return {
        name: _pick(values[name], below) if isinstance(below, dict) and isinstance(values[name], dict) else values[name]
        for name, below in names.items()
    }
