"""Files of specs: YAML to a `FeatureSpec`, the line of each fault, and the schema that editors check them by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from recsys_ssl import kinds, yaml_text
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.spec_features import FEATURE_KINDS

_MAX_FAULTS = 10
_YAML_WORDS = {bool: "true or false", int: "a number", float: "a number", type(None): "nothing"}


class SpecError(ValueError):
    """A feature spec that cannot be used; the message says where, what came and what to do."""


def load_spec(path: str | Path) -> FeatureSpec:
    """Reads and checks a spec file.

    Raises:
        SpecError: the file is missing, is no YAML, or breaks the contract; one line per fault, each with
            the line of the file, the key, what came and what to do. Of many faults the first ten.

    Examples:
        >>> spec = load_spec("feature_specs/movielens-100k.yaml")
        >>> spec.name, [feature.kind for feature in spec.item_features]
        ('movielens-100k', ['id', 'text', 'categorical', 'categorical'])
    """
    try:
        document = yaml_text.read(path)
    except (OSError, ValueError) as error:
        if isinstance(error, yaml_text.YamlError):
            raise SpecError(f"{path}:{error.line}: {error}") from error
        raise SpecError(f"{path}: the spec cannot be read: {error}. Check the path.") from error
    if not isinstance(document.values, dict):
        received = type(document.values).__name__ if document.root else "nothing"
        raise SpecError(f"{path}:1: a spec is a mapping of keys. Received: {received}.")
    try:
        return FeatureSpec.model_validate(document.values)
    except ValidationError as error:
        lines = [f"{path}:{_describe(document, fault)}" for fault in error.errors()[:_MAX_FAULTS]]
        if error.error_count() > _MAX_FAULTS:
            lines.append(f"{path}: and {error.error_count() - _MAX_FAULTS:,} more faults.")
        raise SpecError("\n".join(lines)) from error


def json_schema() -> str:
    """The JSON Schema of a spec file, for editors."""
    schema = TypeAdapter(FeatureSpec).json_schema()
    content = schema["$defs"]["ContentFeature"]
    content["additionalProperties"] = False
    for kind in kinds.KINDS:
        reading = kinds.find(kind, "reading")
        content["properties"] |= TypeAdapter(reading.ColumnConfig).json_schema()["properties"] if reading else {}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def find_line(path: str | Path, keys: Sequence[str | int]) -> int:
    """The line of a spec file that has the key, or the deepest of the keys above it.

    Args:
        path: a file that `load_spec` reads.
        keys: from the top, as ["events", "features", 0].
    """
    return yaml_text.read(path).line_of(keys)


def _describe(document: yaml_text.Document, fault: ErrorDetails) -> str:
    # The discriminated union puts the kind into the location; it is no key of the file.
    loc = fault["loc"]
    keys = [key for i, key in enumerate(loc) if not (key in FEATURE_KINDS and i and isinstance(loc[i - 1], int))]
    keys += getattr(fault.get("ctx", {}).get("error"), "keys", [])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "unknown key. Check its spelling or remove it"
    if fault["type"] == "string_type" and isinstance(fault["input"], (bool, int, float, type(None))):
        message = f"this must be a text, and YAML takes it for {_YAML_WORDS[type(fault['input'])]}. Quote it"
        keys = [key for key in keys if key != "[key]"]  # of a mapping, by which pydantic marks it
    received = "" if isinstance(fault["input"], (dict, list)) else f" Received: {yaml_text.show(fault['input'])}."
    where = ".".join(str(key) for key in keys) or "spec"
    message = f"{yaml_text.printable(where, 200)}: {yaml_text.printable(message.rstrip('.'))}"
    return f"{document.line_of(keys)}: {message}.{received}"
