"""Settings from text: `SECTION.KEY=VALUE` into the dataclasses that declare them. The one parser of the project."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

_Config = TypeVar("_Config")


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
                f"a setting is SECTION.KEY=VALUE with a section of {', '.join(values)}. Received: {override!r}."
            )
        try:
            _set(values[section], name.split("."), yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ConfigError(f"{key}: the value must be YAML. Received: {text!r}. Quote it for the shell.") from error
        except TypeError as error:
            raise ConfigError(f"{key}: a setting above it has a value of its own. Received: {override!r}.") from error
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


def _set(values: dict[str, Any], names: Sequence[str], value: Any) -> None:
    *parents, last = names
    for name in parents:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise TypeError(name)
    values[last] = value


def build(section: str, kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """The dataclass `kind` of a section's values.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type or range.
    """
    _check_names(section, kind, values)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join([section, *(str(key) for key in fault["loc"])])
        message = fault["msg"].removeprefix("Value error, ").rstrip(".")
        if fault["type"] != "value_error":
            raise ConfigError(f"{where}: {message}. Received: {fault['input']!r}.") from error
        # The settings' own messages say what came, and most of them where.
        raise ConfigError(f"{message}." if f"{section}." in message else f"{where}: {message}.") from error


def _check_names(section: str, kind: type, values: Mapping[str, Any]) -> None:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"unknown setting {section}.{unknown[0]}. Use one of: {', '.join(fields)}.")
    for name, value in values.items():
        inner = fields[name].default_factory
        if isinstance(value, Mapping) and dataclasses.is_dataclass(inner):
            _check_names(f"{section}.{name}", inner, value)
