"""JSON of TensorFlow Serving's REST API as arrays, and arrays as its JSON.

    {"signature_name": ..., "instances": [{input: value of one row, ...}, ...]}   row form  -> {"predictions": [...]}
    {"signature_name": ..., "inputs": {input: values of all rows, ...}}          column form -> {"outputs": ...}

Strings are UTF-8, or {"b64": "..."} for bytes. Where a signature has one input or one output its name may be, and is,
left out. Messages are those of TensorFlow Serving where it has one.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
import pydantic_core
import tensorflow as tf

from recsys_ssl.serving.errors import invalid

Arrays = dict[str, np.ndarray]
Specs = Mapping[str, tf.TensorSpec]

_BYTES_SUFFIX = "_bytes"
_TYPE_NAMES = {dict: "Object", list: "Array", str: "String", bool: "Bool", int: "Number", float: "Number"}
_SHOWN = 80


class PredictRequest(NamedTuple):
    signature: str
    arrays: Arrays
    is_row_form: bool


def parse_predict(body: bytes, find_specs: Callable[[str], Specs]) -> PredictRequest:
    """The arrays of a request's body.

    Args:
        find_specs: signature, "" for the default -> name, dtype and shape of its inputs.

    Raises:
        RequestError: the body is no such request.
    """
    document = parse_json(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_show(document)} Is not object")
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise invalid(
            f"JSON Value: {_show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    specs = find_specs(signature)
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_show(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    if "instances" in document:
        return PredictRequest(signature, _from_rows(document["instances"], specs), True)
    if "inputs" in document:
        return PredictRequest(signature, _from_columns(document["inputs"], specs), False)
    raise invalid("Missing 'inputs' or 'instances' key")


def parse_json(body: bytes) -> Any:
    """The value of a JSON text, in which NaN and Infinity may stand for numbers.

    Raises:
        RequestError: it is no JSON, or nested more deeply than any request is.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        return pydantic_core.from_json(body)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from None


def _from_rows(instances: Any, specs: Specs) -> Arrays:
    if not isinstance(instances, list):
        raise invalid(f"JSON Value: {_show(instances)} Excepting 'instances' to be an list/array")
    if not instances:
        raise invalid("JSON Value: [] No values in 'instances' array")
    if not _is_object(instances[0]):
        if len(specs) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                f"tensorinfo_map. Send objects with the keys {','.join(sorted(specs))}."
            )
        ((name, spec),) = specs.items()
        for row, instance in enumerate(instances):
            if _is_object(instance):
                raise invalid(f"Expecting value/list but got object at item {row} of input list")
        return {name: to_array(name, instances, spec)}
    for row, instance in enumerate(instances):
        if not _is_object(instance):
            raise invalid(f"Expecting object but got list at item {row} of input list")
        if instance.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {row} of 'instances' list. JSON object: {_show(instance)} keys must be "
                f"equal to: {','.join(sorted(specs))}"
            )
    return {name: to_array(name, [row[name] for row in instances], spec) for name, spec in specs.items()}


def _from_columns(inputs: Any, specs: Specs) -> Arrays:
    if not _is_object(inputs):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map. Send an object with the keys {','.join(sorted(specs))}."
            )
        ((name, spec),) = specs.items()
        return {name: to_array(name, inputs, spec)}
    for name in sorted(specs):
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(name, inputs[name], spec) for name, spec in specs.items()}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_bytes(value)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def to_array(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
    """Nested lists as an array of an input's dtype and rank.

    Raises:
        RequestError: lists are not rectangular, or a value has another type.
    """
    shape: list[int] = []
    inner = value
    while isinstance(inner, list) and len(shape) <= 8:
        shape.append(len(inner))
        inner = inner[0] if inner else None
    rank = spec.shape.rank
    if len(shape) < rank and 0 in shape:  # [] of what would be lists
        shape += [0] * (rank - len(shape))
    if len(shape) != rank:
        raise invalid(
            f"input {name!r} must be nested {rank} deep, rows first: {_describe(spec)}. Received: {len(shape)} deep."
        )
    values: list = []
    _flatten(name, value, shape, 0, _CONVERT.get(spec.dtype, _no_conversion), values)
    array = np.empty(len(values), object) if spec.dtype == tf.string else np.array(values, spec.dtype.as_numpy_dtype)
    if spec.dtype == tf.string:
        array[:] = values
    return array.reshape(shape)


def _flatten(name: str, value: Any, shape: list[int], level: int, convert: Callable, values: list) -> None:
    if level == len(shape):  # a single value
        values.append(convert(name, value))
        return
    if not isinstance(value, list):
        raise invalid(
            f"input {name!r}: JSON Value: {_show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
            f"Expected at level: {len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"input {name!r}: Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}. Pad shorter lists."
        )
    if level + 1 < len(shape):
        for one in value:
            _flatten(name, one, shape, level + 1, convert, values)
        return
    for one in value:
        if isinstance(one, list):
            raise invalid(f"input {name!r}: Encountered list at unexpected level: {level + 1} expected < {len(shape)}")
        values.append(convert(name, one))


def _string(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise invalid(f"input {name!r} takes UTF-8. Received: half of a character. Send the whole.") from None
    if _is_bytes(value):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise invalid("Unable to base64 decode") from None
    if isinstance(value, dict):
        raise invalid(f"JSON Value: {_show(value)} not formatted correctly for base64 data")
    raise _wrong_type(name, value, "string")


def _integer(kind: str, bits: int) -> Callable[[str, Any], int]:
    def convert(name: str, value: Any) -> int:
        if type(value) is not int or not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise _wrong_type(name, value, kind)
        return value

    return convert


def _real(kind: str, largest: float) -> Callable[[str, Any], float]:
    def convert(name: str, value: Any) -> float:
        if type(value) not in (int, float):
            raise _wrong_type(name, value, kind)
        if abs(value) > largest and not (isinstance(value, float) and math.isinf(value)):
            raise invalid(f"Cannot convert JSON value: {_show(value)} to {kind} without loss of precision.")
        return float(value)

    return convert


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, value, "bool")
    return value


def _no_conversion(name: str, value: Any) -> Any:
    raise invalid(f"input {name!r} has a type that JSON cannot hold. Send it by gRPC.")


_CONVERT: dict[tf.DType, Callable[[str, Any], Any]] = {
    tf.string: _string,
    tf.bool: _bool,
    tf.int32: _integer("int32", 32),
    tf.int64: _integer("int64", 64),
    tf.float32: _real("float", float(np.finfo(np.float32).max)),
    tf.float64: _real("double", float(np.finfo(np.float64).max)),
}


def _wrong_type(name: str, value: Any, expected: str):
    kind = _TYPE_NAMES.get(type(value), "Null")
    return invalid(f"input {name!r}: JSON Value: {_show(value)} Type: {kind} is not of expected type: {expected}")


def _show(value: Any) -> str:
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:  # a number of more than 64 bits
        text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _describe(spec: tf.TensorSpec) -> str:
    return f"{spec.dtype.name} [{', '.join('any' if size is None else str(size) for size in spec.shape)}]"


def to_json(outputs: Mapping[str, np.ndarray], is_row_form: bool) -> bytes:
    """The body of an answer.

    Args:
        outputs: name -> array; in row form all have as many rows.
    """
    columns = {name: _to_lists(name, outputs[name]) for name in sorted(outputs)}
    if not is_row_form:
        answer = {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
    elif len(columns) == 1:
        answer = {"predictions": next(iter(columns.values()))}
    else:
        names = list(columns)
        answer = {"predictions": [dict(zip(names, row)) for row in zip(*columns.values(), strict=True)]}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _to_lists(name: str, array: np.ndarray) -> Any:
    """What `orjson` writes: the rows of an array of numbers, nested lists of text."""
    if array.dtype != object:
        return list(array) if array.ndim else array.item()
    if name.endswith(_BYTES_SUFFIX):
        texts: list = [{"b64": base64.b64encode(value).decode()} for value in array.ravel()]
    else:
        texts = [value.decode("utf-8", "replace") for value in array.ravel()]
    of_texts = np.empty(len(texts), object)
    of_texts[:] = texts
    return of_texts.reshape(array.shape).tolist()
