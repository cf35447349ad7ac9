"""Raw features of single items, as people write them: checked, and brought into the form of example files."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_ssl import kinds, lists
from recsys_ssl.spec import CategoricalFeature, ContentFeature, DenseFeature, FeatureSpec, IdFeature, TableFeature


def read_features(
    spec: FeatureSpec, item_id: str | None, given: Mapping[str, Any], data_dir: str = "."
) -> dict[str, list]:
    """The raw record of an item.

    Args:
        item_id: becomes the feature that holds the item's own id, where the spec has one; None of an item without id.
        given: feature -> a text or number, a list of texts of a feature with several values, a list of numbers of a
            dense one, what the column would hold of content (a SMILES, the path of an image); None when it is missing.
        data_dir: where paths of content begin.

    Returns:
        Feature -> values, for each feature that was given, and the id: bytes, or float32 numbers.

    Raises:
        ValueError: the id is empty, a feature is unknown, or a value cannot be one of its feature.
        TypeError: a value has the wrong type.
    """
    if item_id is not None and not isinstance(item_id, str):
        raise TypeError(f"item_id must be a string. Received: {item_id!r:.99}. Write it as in the log.")
    if item_id == "":
        raise ValueError("item_id must have at least one character. Received: ''.")
    if not isinstance(given, Mapping):
        raise TypeError(f"features of an item must be a dict. Received: {given!r:.99}. Write {{'FEATURE': 'VALUE'}}.")
    features = {feature.name: feature for feature in spec.item_features}
    unknown = sorted(set(given) - set(features), key=str)
    if unknown:
        raise ValueError(f"features of an item must be among {sorted(features)}. Received: {unknown}.")
    record = {name: _read(features[name], value, data_dir) for name, value in given.items()}
    own_features = [f.name for f in features.values() if isinstance(f, IdFeature) and f.source_column == spec.items.id]
    if item_id is not None:
        own = [item_id.encode("utf-8", "replace")]
        for name in own_features:
            if record.get(name, own) != own:
                raise ValueError(f"{name!r} is the item's id, {item_id!r}. Received: {record[name]}. Leave it out.")
            record[name] = own
    return record


def _read(feature: TableFeature, value: Any, data_dir: str) -> list:
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None or value == "" or value == [] or value == ():
        return []
    if isinstance(feature, ContentFeature):
        return _read_content(feature, value, data_dir)
    if isinstance(feature, DenseFeature):
        numbers = _as_list(value)
        if len(numbers) != feature.dim:
            raise ValueError(f"{feature.name!r} takes {feature.dim} numbers. Received: {len(numbers)}.")
        return [_to_float(feature, number) for number in numbers]
    several = isinstance(feature, CategoricalFeature) and feature.multi_valued
    values = _as_list(value)
    if len(values) > 1 and not several:
        raise ValueError(f"{feature.name!r} takes one value. Received: {value!r:.99}.")
    if feature.is_number:
        return [_to_float(feature, number) for number in values]
    for text in values:
        if not isinstance(text, str):
            raise TypeError(f"{feature.name!r} takes strings. Received: {text!r:.99}. Write it as in the table.")
    return [text.encode("utf-8", "replace") for text in values]


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _to_float(feature: TableFeature, number: Any) -> float:
    if not isinstance(number, Real) or isinstance(number, bool):
        raise TypeError(f"{feature.name!r} takes numbers. Received: {number!r:.99}.")
    try:
        with np.errstate(over="ignore"):
            rounded = float(np.float32(number))  # as in the example files
    except OverflowError:
        rounded = math.inf
    if not math.isfinite(rounded):
        raise ValueError(f"{feature.name!r} takes finite numbers of 32 bits. Received: {number!r:.99}.")
    return rounded


def _read_content(feature: ContentFeature, value: Any, data_dir: str) -> list[bytes]:
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"{feature.name!r} takes one {feature.kind}. Received: {value!r:.99}.")
    kind = pa.large_binary() if isinstance(value, bytes) else pa.large_string()
    cells = lists.single(pa.array([value], kind))
    packed, reasons = kinds.load(feature.kind, "column").read(cells, feature.column_config, data_dir)
    for reason in reasons:
        raise ValueError(f"{feature.name!r} is no {feature.kind}: {reason}. Received: {value!r:.99}.")
    return lists.flatten(packed, pa.large_binary())[0].to_pylist()


def to_text(record: Mapping[str, list]) -> str:
    """A raw record as JSON: numbers as they are, texts as texts, other bytes as base64."""
    return json.dumps({name: [_encode(value) for value in values] for name, values in record.items()}, allow_nan=False)


def from_text(text: str) -> dict[str, list]:
    """The record that `to_text` wrote."""
    return {name: [_decode(value) for value in values] for name, values in json.loads(text).items()}


def _encode(value: bytes | float) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _decode(value: Any) -> bytes | float:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return value.encode("utf-8") if isinstance(value, str) else value
