"""Trials as lines of JSON: what was run names a trial, so that one that stands in the file is not run again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np


class Keyed(Protocol):
    """A dataclass with a key of what was run."""

    @property
    def key(self) -> str: ...


Trial = TypeVar("Trial", bound=Keyed)


def hash_facts(facts: Sequence[Any]) -> str:
    """The key of a trial: 16 hexadecimal digits of the hash of what was run."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def hash_arrays(arrays: Iterable[np.ndarray]) -> str:
    """16 hexadecimal digits of the hash of what arrays hold; names a data set by its content."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def make_train_config(settings: Mapping[str, Any]):
    """The `TrainConfig` of the settings of a trial, named as behind `train.` on the command line: `ssl.weight`.

    Raises:
        ValueError: an unknown setting, or a value of the wrong type or range.
    """
    # TensorFlow is loaded by the workers only.
    from recsys_ssl.settings import build, nest
    from recsys_ssl.training.config import TrainConfig

    return build("train", TrainConfig, nest(settings))


def to_line(trial: Any) -> str:
    """A trial (a dataclass with a `key`) as JSON."""
    return json.dumps({"key": trial.key, **dataclasses.asdict(trial)}, separators=(",", ":"))


def read_lines(path: Path, make: Callable[[Mapping[str, Any]], Trial | None]) -> list[Trial]:
    """The trials of a file whose keys are still those of what was run; none when there is no file.

    A line that a kill cut off is left out, and so is all but the last of a trial that was run again.

    Args:
        make: fields of a trial -> the trial; None for one that the study no longer knows.
    """
    if not path.exists():
        return []
    trials: dict[str, Trial] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            facts = json.loads(line)
            key = facts.pop("key")
            trial = make(facts)
            if trial is not None and trial.key == key:
                trials[key] = trial
    return list(trials.values())


def end_last_line(path: Path) -> None:
    """Removes a line that a kill cut off, so that the next one stands by itself."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])
