"""Settings of one section, read from `SECTION.KEY=VALUE`, for commands outside the recommender's pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

_Config = TypeVar("_Config")


def parse_section(section: str, kind: type[_Config], overrides: Sequence[str]) -> _Config:
    """Reads settings such as `pretrain.steps=2000` into the dataclass `kind`; the value is YAML.

    Raises:
        ValueError: no `section.key=value`, an unknown key or a value of the wrong type or range.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        prefix, dot, name = key.partition(".")
        if not equals or not dot or prefix != section:
            raise ValueError(f"a setting must be {section}.KEY=VALUE. Received: {override!r}. See --help.")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{key}: the value must be YAML. Received: {text!r}. Quote it for the shell.") from error
    return build_section(section, kind, values)


def build_section(section: str, kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """The dataclass `kind` of a section's values.

    Raises:
        ValueError: an unknown key or a value of the wrong type or range.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown setting {section}.{unknown[0]}. Use one of: {', '.join(known)}.")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join([section, *(str(key) for key in fault["loc"])])
        message = fault["msg"].removeprefix("Value error, ").rstrip(".")
        # The settings' own messages say what came.
        received = "" if fault["type"] == "value_error" else f" Received: {fault['input']!r}."
        raise ValueError(f"{where}: {message}.{received}") from error
