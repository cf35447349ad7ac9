"""Requests of TensorFlow Serving's REST API as arrays, and back."""

import json

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.serving import tensors
from recsys_ssl.serving.errors import RequestError

SPECS = {
    "user": tf.TensorSpec([None], tf.string),
    "age": tf.TensorSpec([None], tf.float32),
    "history": tf.TensorSpec([None, None], tf.string),
    "k": tf.TensorSpec([None], tf.int32),
}
ONE = {"user": tf.TensorSpec([None], tf.string)}
ROW = {"user": "u1", "age": 3.5, "history": ["a", "b"], "k": 2}


def parse(document, specs=SPECS):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return tensors.parse_predict(body, lambda signature: specs)


def test_row_and_column_form_say_the_same():
    rows = parse({"instances": [ROW, ROW | {"user": "ü", "k": 1}]})
    columns = parse({"inputs": {"user": ["u1", "ü"], "age": [3.5] * 2, "history": [["a", "b"]] * 2, "k": [2, 1]}})
    assert (rows.is_row_form, columns.is_row_form, rows.signature) == (True, False, "")
    for name, spec in SPECS.items():
        np.testing.assert_array_equal(rows.arrays[name], columns.arrays[name])
        assert tf.as_dtype(rows.arrays[name].dtype) == spec.dtype
    assert rows.arrays["user"].tolist() == [b"u1", "ü".encode()]
    assert rows.arrays["history"].shape == (2, 2)


def test_bytes_nan_and_empty_lists():
    found = parse(
        b'{"signature_name": "s", "instances": [{"user": {"b64": "/w=="}, "age": NaN, "history": [], "k": 1}]}'
    )
    assert found.signature == "s"
    assert found.arrays["user"].tolist() == [b"\xff"]
    assert np.isnan(found.arrays["age"]).all()
    assert found.arrays["history"].shape == (1, 0)


def test_the_name_of_a_single_input_is_left_out():
    for document in ({"instances": ["a", "b"]}, {"inputs": ["a", "b"]}, {"inputs": {"user": ["a", "b"]}}):
        assert parse(document, ONE).arrays["user"].tolist() == [b"a", b"b"]
    assert parse({"instances": [{"b64": "/w=="}]}, ONE).arrays["user"].tolist() == [b"\xff"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: EOF"),
        (b"\xff", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error: recursion limit"),
        ([], "Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [ROW], "inputs": {}}, "only one of 'inputs' or 'instances'"),
        ({"signature_name": 3, "inputs": {}}, "'signature_name' key must be a string value"),
        ({"instances": {}}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": ["a"]}, "expecting list of objects as multiple input tensors"),
        ({"instances": [ROW, "a"]}, "Expecting object but got list at item 1"),
        ({"instances": [{"user": "u1"}]}, "keys must be equal to: age,history,k,user"),
        ({"instances": [ROW | {"x": 1}]}, "keys must be equal to"),
        ({"inputs": [1]}, "inputs is a plain value/list"),
        ({"inputs": {"user": ["u1"]}}, "Missing named input: age in 'inputs' object."),
        ({"instances": [ROW | {"user": 7}]}, "Type: Number is not of expected type: string"),
        ({"instances": [ROW | {"user": None}]}, "Type: Null is not of expected type: string"),
        ({"instances": [ROW | {"user": {"b64": "="}}]}, "Unable to base64 decode"),
        ({"instances": [ROW | {"user": {"a": 1}}]}, "not formatted correctly for base64 data"),
        ({"instances": [ROW | {"age": "old"}]}, "Type: String is not of expected type: float"),
        ({"instances": [ROW | {"age": True}]}, "Type: Bool is not of expected type: float"),
        ({"instances": [ROW | {"age": 1e39}]}, "to float without loss of precision"),
        ({"instances": [ROW | {"age": 10**400}]}, "to float without loss of precision"),
        ({"instances": [ROW | {"k": 1.5}]}, "Type: Number is not of expected type: int32"),
        ({"instances": [ROW | {"k": 2**31}]}, "not of expected type: int32"),
        ({"instances": [ROW | {"k": [1]}]}, "input 'k' must be nested 1 deep.*Received: 2 deep"),
        ({"instances": [ROW | {"history": "a"}]}, "input 'history' must be nested 2 deep"),
        ({"instances": [ROW, ROW | {"history": ["a"]}]}, "unexpected size: 1 at level: 1 expected size: 2. Pad"),
        ({"instances": [ROW | {"history": ["a", ["b"]]}]}, "Encountered list at unexpected level: 2"),
        ({"instances": [ROW | {"history": [["a"], "b"]}]}, "must be nested 2 deep"),
    ],
)
def test_what_is_wrong_is_said(document, message):
    with pytest.raises(RequestError, match=message) as error:
        parse(document)
    assert error.value.http_status == 400


OUTPUTS = {"item_ids": np.array([[b"a", b""], [b"\xc3\xbc", b"c"]], object), "scores": np.float32([[0.1, -2], [3, 4]])}


def test_answers_in_rows_and_columns():
    ids, scores = [["a", ""], ["ü", "c"]], [[0.1, -2.0], [3.0, 4.0]]
    rows = [{"item_ids": i, "scores": s} for i, s in zip(ids, scores, strict=True)]
    assert json.loads(tensors.to_json(OUTPUTS, True)) == {"predictions": rows}
    assert json.loads(tensors.to_json(OUTPUTS, False)) == {"outputs": {"item_ids": ids, "scores": scores}}


def test_the_name_of_a_single_output_is_left_out():
    one = {"embedding": np.float32([[0.5, 0.25]])}
    assert json.loads(tensors.to_json(one, True)) == {"predictions": [[0.5, 0.25]]}
    assert json.loads(tensors.to_json(one, False)) == {"outputs": [[0.5, 0.25]]}


def test_bytes_by_name_are_base64():
    assert json.loads(tensors.to_json({"a_bytes": np.array([b"\xff"], object)}, True)) == {
        "predictions": [{"b64": "/w=="}]
    }
