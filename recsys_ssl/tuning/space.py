"""Spaces of settings: a small table of names and what each may be. A space stands beside the model that it is of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Uniform:
    """Any number from `low` to `high`."""

    low: float
    high: float

    def __post_init__(self):
        _check_range(self, self.low, self.high)


@dataclass(frozen=True)
class LogUniform:
    """Any number from `low` to `high`, each factor of ten as likely as another."""

    low: float
    high: float

    def __post_init__(self):
        _check_range(self, self.low, self.high)
        if not self.low > 0:
            raise ValueError(f"a LogUniform must begin above 0. Received: {self}. Raise low.")


@dataclass(frozen=True)
class Steps:
    """Whole numbers from `low` to `high`, which the steps must reach."""

    low: int
    high: int
    step: int = 1

    def __post_init__(self):
        _check_range(self, self.low, self.high)
        if self.step < 1 or (self.high - self.low) % self.step:
            raise ValueError(f"Steps must reach from low to high. Received: {self}. Change step or high.")


@dataclass(frozen=True)
class Ladder:
    """Values in an order, e.g. batch sizes. What is searched is the place, a number, so that CMA-ES and TPE know that
    neighbours are alike.
    """

    values: tuple[Any, ...]

    def __post_init__(self):
        _check_values(self, self.values)


@dataclass(frozen=True)
class Choice:
    """Values without any order. CMA-ES has no notion of these and draws them at random."""

    values: tuple[Any, ...]

    def __post_init__(self):
        _check_values(self, self.values)


Dimension = Union[Uniform, LogUniform, Steps, Ladder, Choice]
Space = Mapping[str, Dimension]
"""Setting, named as behind its section on the command line (`ssl.weight`) -> what it may be."""
Settings = dict[str, Any]
"""Setting -> value: a point of a space."""


def _check_range(dimension: Any, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low must be less than high, both finite. Received: {dimension}. Leave a fixed value out.")


def _check_values(dimension: Any, values: tuple[Any, ...]) -> None:
    names = {json.dumps(value) for value in values}
    if len(values) < 2 or len(names) < len(values):
        raise ValueError(f"there must be two values or more, all different. Received: {dimension}.")


def check_space(space: Space) -> None:
    """Raises ValueError where there is nothing to search."""
    if not space:
        raise ValueError("a space must have a setting. Received: none. Fix fewer of them.")


def is_numeric(dimension: Dimension) -> bool:
    """Whether neighbouring values are alike."""
    return not isinstance(dimension, Choice)


def from_raw(dimension: Dimension, raw: Any) -> Any:
    """The value of what is searched: of a ladder and of a choice the place, else the value itself."""
    return dimension.values[raw] if isinstance(dimension, (Ladder, Choice)) else raw


def to_unit(dimension: Dimension, value: Any) -> float:
    """The place of a value within its dimension, from 0 to 1; of a Choice in the order of its values."""
    if isinstance(dimension, (Ladder, Choice)):
        return dimension.values.index(value) / (len(dimension.values) - 1)
    if isinstance(dimension, LogUniform):
        return math.log(value / dimension.low) / math.log(dimension.high / dimension.low)
    return (value - dimension.low) / (dimension.high - dimension.low)


def describe(dimension: Dimension) -> str:
    """One dimension for people: `0.01 to 1 (log)`."""
    if isinstance(dimension, (Ladder, Choice)):
        joint = ", " if isinstance(dimension, Ladder) else " or "
        return joint.join(write_value(value) for value in dimension.values)
    note = {LogUniform: " (log)", Steps: f" by {getattr(dimension, 'step', '')}"}.get(type(dimension), "")
    return f"{dimension.low:g} to {dimension.high:g}{note}"


def write_lines(section: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """A point as the `SECTION.KEY=VALUE` lines that `--set` takes; every digit is kept."""
    for name, value in settings.items():
        yield f"{section}.{name}={write_value(value)}"


def write_value(value: Any) -> str:
    """A value as YAML in one line: JSON, with words bare where that reads the same."""
    plain = isinstance(value, str) and value.isidentifier() and value.lower() not in _YAML_WORDS
    return value if plain else _to_yaml_number(json.dumps(value))


_YAML_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def _to_yaml_number(text: str) -> str:
    """YAML 1.1 takes `1e-05` for text: it wants a point before the exponent."""
    mantissa, e, exponent = text.partition("e")
    is_number = e and mantissa.lstrip("-").isdigit() and exponent.lstrip("+-").isdigit()
    return f"{mantissa}.0e{exponent}" if is_number else text
