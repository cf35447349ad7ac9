"""Settings from text: `SECTION.KEY=VALUE` into the dataclasses that declare them. The one parser of the project."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from recsys_ssl.yaml_text import YamlError, printable, show
from recsys_ssl.yaml_text import parse as parse_yaml

_Config = TypeVar("_Config")

MAX_NUMBER = 2**31 - 1
"""No setting is larger; some have a closer limit of their own."""


class ConfigError(ValueError):
    """A setting that does not exist or cannot have the given value."""


def parse(overrides: Sequence[str], sections: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads settings such as `train.ssl.weight=0.1`; the value is YAML.

    Args:
        sections: the names that a setting may begin with.

    Returns:
        Section -> nested values, {} for a section without any.

    Raises:
        ConfigError: no `SECTION.KEY=VALUE`, another section, or no YAML.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not equals or not dot or not name or section not in values:
            raise ConfigError(
                f"a setting is SECTION.KEY=VALUE with a section of {', '.join(values)}. Received: {show(override)}."
            )
        try:
            _set(values[section], name.split("."), parse_yaml(text).values)
        except YamlError as error:
            raise ConfigError(
                f"{printable(key, 99)}: the value must be YAML. Received: {show(text)}. Quote it for the shell."
            ) from error
        except TypeError as error:
            raise ConfigError(
                f"{printable(key, 99)}: a setting above it has a value of its own. Received: {show(override)}."
            ) from error
    return values


def parse_section(section: str, kind: type[_Config], overrides: Sequence[str]) -> _Config:
    """Reads the settings of one section into the dataclass `kind`; raises as `parse` and `build`."""
    return build(section, kind, parse(overrides, [section])[section])


def nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested mappings: {"ssl.weight": 0.1} -> {"ssl": {"weight": 0.1}}."""
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        _set(nested, name.split("."), value)
    return nested


def change(section: str, config: _Config, settings: Mapping[str, Any]) -> _Config:
    """A section's settings with some of them changed, by their dotted names.

    Raises:
        ConfigError: see `build`.
    """
    values = dataclasses.asdict(config)  # type: ignore[call-overload]  # every section is a dataclass
    for name, value in settings.items():
        _set(values, name.split("."), value)
    return build(section, type(config), values)


def _set(values: dict[str, Any], names: Sequence[str], value: Any) -> None:
    *parents, last = names
    for name in parents:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise TypeError(name)
    values[last] = _merge(values.get(last), value)


def _merge(before: Any, value: Any) -> Any:
    """A later value; of two mappings both, so that what was set of one before is kept."""
    if not isinstance(before, dict) or not isinstance(value, Mapping):
        return value
    return before | {name: _merge(before.get(name), part) for name, part in value.items()}


def build(section: str, kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """The dataclass `kind` of a section's values.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type or range; numbers are finite and not absurdly large.
    """
    _check_names(section, kind, values)
    try:
        config = TypeAdapter(kind).validate_python(values)
        _check_numbers(section, config)
        return config
    except ValidationError as error:
        fault = error.errors()[0]
        where = printable(".".join([section, *(str(key) for key in fault["loc"])]), 99)
        message = printable(fault["msg"].removeprefix("Value error, ").rstrip("."))
        if fault["type"] != "value_error":
            raise ConfigError(f"{where}: {message}. Received: {show(fault['input'])}.") from error
        # The settings' own messages say what came, and most of them where.
        raise ConfigError(f"{message}." if f"{section}." in message else f"{where}: {message}.") from error


def _check_numbers(where: str, value: Any) -> None:
    """Raises ConfigError for a number of the settings below `value` that no run can have."""
    if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= MAX_NUMBER):
        raise ConfigError(f"{where} must be a number of at most {MAX_NUMBER:,}. Received: {show(value)}.")
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_numbers(f"{where}.{printable(str(name), 99)}", inner)


def _check_names(section: str, kind: type, values: Mapping[str, Any]) -> None:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields), key=str)
    if unknown:
        name = printable(f"{section}.{unknown[0]}", 99)
        raise ConfigError(f"unknown setting {name}. Use one of: {', '.join(fields)}.")
    types = get_type_hints(kind)
    for name, value in values.items():
        _check_bools(f"{section}.{name}", types[name], value)
        inner = fields[name].default_factory
        if isinstance(value, Mapping) and dataclasses.is_dataclass(inner):
            _check_names(f"{section}.{name}", inner, value)


def _check_bools(where: str, kind: Any, value: Any) -> None:
    """Raises ConfigError for true and false where a number is wanted: Python takes them for 1 and 0."""
    held = set(_types_within(kind))
    if isinstance(value, bool) and not held & {bool, Any} and held & {int, float}:
        wanted = "a number" if float in held else "a whole number"
        raise ConfigError(f"{where} must be {wanted}. Received: {str(value).lower()}.")
    if isinstance(value, (list, tuple)):
        for index, element in enumerate(value):
            _check_bools(f"{where}.{index}", kind, element)
    elif isinstance(value, Mapping):
        for name, element in value.items():
            _check_bools(f"{where}.{printable(str(name), 99)}", kind, element)


def _types_within(kind: Any) -> Iterator[Any]:
    """A type and those that it is made of: tuple[int, ...] holds int."""
    yield kind
    for inner in get_args(kind):
        yield from _types_within(inner)
