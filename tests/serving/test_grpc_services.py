"""The gRPC door, asked by the stubs of TensorFlow Serving."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

TASTE = np.float32([[0.5, -1.0, 0.25, 0.0, 2.0, 0.0, 0.0, 1.0]])
INPUTS = {
    "user": np.array([b"u1"], object),
    "taste": TASTE,
    "history": np.array([[b"film-1"]], object),
    "k": np.int32([3]),
    "exclude": np.array([[b"film-7"]], object),
}


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def service(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def make_request(name="films", signature="", version=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    for key, value in (INPUTS | inputs).items():
        if value is not None:
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_predict_equals_http(prediction, http):
    response = prediction.Predict(make_request(), timeout=60)
    found = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
    row = {"user": "u1", "taste": TASTE[0].tolist(), "history": ["film-1"], "k": 3, "exclude": ["film-7"]}
    (expected,) = http.post("/v1/models/films:predict", json={"instances": [row]}).json()["predictions"]
    assert [value.decode() for value in found["item_ids"][0]] == expected["item_ids"]
    np.testing.assert_allclose(found["scores"][0], expected["scores"], atol=1e-6)
    assert (response.model_spec.name, response.model_spec.version.value) == ("films", 1)
    assert response.model_spec.signature_name == "serving_default"


def test_a_signature_a_version_and_some_outputs(prediction):
    request = make_request(signature="recommend", version=1)
    request.output_filter.append("scores")
    assert set(prediction.Predict(request, timeout=60).outputs) == {"scores"}
    embed = make_request(signature="embed_query", k=None, exclude=None)
    vector = tf.make_ndarray(prediction.Predict(embed, timeout=60).outputs["embedding"])
    np.testing.assert_allclose(vector, TASTE / np.linalg.norm(TASTE), atol=1e-6)


def test_metadata_and_status(prediction, service):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "films"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert prediction.GetModelMetadata(request, timeout=60).metadata["signature_def"].Unpack(signatures)
    assert {"recommend", "serving_default", "embed_query", "embed_item"} <= set(signatures.signature_def)
    # TensorFlow Serving batches what has no input of rank 0.
    sizes = [len(info.tensor_shape.dim) for info in signatures.signature_def["serving_default"].inputs.values()]
    assert min(sizes) == 1
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "films"
    (version,) = service.GetModelStatus(status, timeout=60).model_version_status
    assert (version.version, version.state) == (1, version.AVAILABLE)


def test_the_health_service(channel):
    found = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert found.status == found.SERVING


INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (make_request(name=""), INVALID, "Missing ModelSpec.name"),
        (make_request(name="nope"), NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (make_request(version=9), NOT_FOUND, "Specific(films, 9)"),
        (make_request(signature="x"), INVALID, 'Serving signature name: "x" not found'),
        (make_request(user=None), INVALID, "Missing but required: {user}"),
        (make_request(more=np.int32(1)), INVALID, "Sent extra: {more}"),
        (make_request(k=np.int64([3])), INVALID, "input 'k' must be int32. Received: int64"),
        (make_request(k=np.int32(3)), INVALID, "input 'k' must have the shape (None,). Received: []"),
        (make_request(k=np.int32([0])), INVALID, "k must be positive"),
        (make_request(k=np.int32([101])), INVALID, "k must be at most 100"),
        (make_request(taste=np.full((1, 8), np.inf, np.float32)), INVALID, "must be finite, or NaN"),
        (make_request(k=np.int32([3, 3])), INVALID, "one row per query"),
        (make_request(history=np.full((1, 41), b"f", object)), INVALID, "values of 'history' must be at most 40"),
    ],
)
def test_errors_of_predict(prediction, request_, code, message):
    with pytest.raises(grpc.RpcError) as error:
        prediction.Predict(request_, timeout=60)
    assert error.value.code() is code
    assert message in error.value.details()


def test_tensors_that_are_none(prediction):
    """A shape may name more values than any memory holds, or fewer than none."""
    for change in (
        {"tensor_shape": {"dim": [{"size": 2**40}]}},
        {"tensor_shape": {"dim": [{"size": -3}]}},
        {"tensor_shape": {"unknown_rank": True}},
        {"dtype": 999},
        {"dtype": 0},
    ):
        request = make_request()
        proto = request.inputs["k"]
        if "dtype" in change:
            proto.dtype = change["dtype"]
        else:
            shape = change["tensor_shape"]
            proto.tensor_shape.Clear()
            proto.tensor_shape.unknown_rank = shape.get("unknown_rank", False)
            for dim in shape.get("dim", []):
                proto.tensor_shape.dim.add(size=dim["size"])
        with pytest.raises(grpc.RpcError) as error:
            prediction.Predict(request, timeout=60)
        assert error.value.code() is INVALID, change
        assert "input 'k' must" in error.value.details()


def test_what_a_recommender_has_not(prediction, service):
    for call, request in [
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (service.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
    ]:
        with pytest.raises(grpc.RpcError) as error:
            call(request, timeout=60)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def end_of(call, request):
    """The status of a call and its details."""
    try:
        call(request, timeout=60)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


_TENSORS = st.builds(
    lambda dtype, sizes, ints, floats, texts, content: tensor_pb2.TensorProto(
        dtype=dtype,
        tensor_shape={"dim": [{"size": size} for size in sizes]},
        int_val=ints,
        float_val=floats,
        string_val=texts,
        tensor_content=content,
    ),
    st.sampled_from([0, 1, 3, 7, 9, 19, 21, 23]),
    st.lists(st.integers(-2, 4) | st.just(2**62), max_size=4),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    st.lists(st.floats(width=32), max_size=4),
    st.lists(st.binary(max_size=4), max_size=4),
    st.just(b"") | st.binary(max_size=16),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from([*INPUTS, "other"]), _TENSORS), st.sampled_from(["", "recommend", "embed_item"]))
def test_nothing_that_can_be_sent_hurts(prediction, tensors, signature):
    request = make_request(signature=signature)
    for name, tensor in tensors.items():
        request.inputs[name].CopyFrom(tensor)
    code, details = end_of(prediction.Predict, request)
    assert code in (grpc.StatusCode.OK, INVALID), details


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=64))
def test_bytes_that_are_no_message_hurt_nobody(channel, prediction, body):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, details = end_of(call, body)
    # Some bytes are a message, of a model that is not there; of others gRPC itself says what it says.
    assert code in (INVALID, NOT_FOUND, grpc.StatusCode.INTERNAL), details
    assert "the server failed" not in details
    assert prediction.Predict(make_request(), timeout=60).outputs
