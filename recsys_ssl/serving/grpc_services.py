"""The gRPC door: PredictionService and ModelService of TensorFlow Serving, and gRPC's own health service."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from recsys_ssl.serving import model_status
from recsys_ssl.serving.batching import late
from recsys_ssl.serving.engine import Engine
from recsys_ssl.serving.errors import Code, RequestError, invalid, not_found
from recsys_ssl.serving.guard import check_key
from recsys_ssl.serving.served_model import DEFAULT_SIGNATURE, ServedModel, unimplemented
from recsys_ssl.serving.telemetry import Telemetry
from recsys_ssl.serving.versions import Models

_LOG = logging.getLogger("recsys_ssl.serving")
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_OF_MESSAGE = 2000
"""Characters of an error; they travel in a header."""


class _Door:
    """What all calls share: the key, the count, the log and errors as statuses."""

    def __init__(self, models: Models, engine: Engine, telemetry: Telemetry, api_key: str | None):
        self._models, self._engine, self._telemetry, self._api_key = models, engine, telemetry, api_key

    def _call(self, route: str, context: grpc.ServicerContext, answer: Callable[[dict], Any]) -> Any:
        """What `answer` returns; it may add what the log should say."""
        started, status, facts = time.perf_counter(), grpc.StatusCode.OK, {"client": context.peer()}
        try:
            check_key(self._api_key, {key: str(value) for key, value in context.invocation_metadata() or ()})
            return answer(facts)
        except RequestError as error:
            status = _STATUS[error.code.number]
            context.abort(status, str(error)[:_OF_MESSAGE])
        except Exception:
            _LOG.exception("%s failed", route)
            status = grpc.StatusCode.INTERNAL
            context.abort(status, "the server failed. Its log says why.")
        finally:
            self._telemetry.observe_request("grpc", route, status.name, time.perf_counter() - started, **facts)

    def _find(self, spec: model_pb2.ModelSpec, facts: dict) -> ServedModel:
        name, version = to_name(spec)
        model = self._models.get(name, version)
        facts |= {"model": model.name, "version": model.version}
        return model


class PredictionService(_Door, prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; a recommender has no other method."""

    def Predict(self, request, context):  # noqa: N802
        def answer(facts):
            model = self._find(request.model_spec, facts)
            signature = request.model_spec.signature_name
            arrays = {name: to_array(name, proto) for name, proto in request.inputs.items()}
            future = self._engine.predict(model, signature, arrays)
            facts["queries"] = len(next(iter(arrays.values())))
            left = context.time_remaining()
            timeout = self._engine.limits.timeout_s if left is None else min(left, self._engine.limits.timeout_s)
            try:
                outputs = future.result(max(timeout, 0.0))
            except futures.TimeoutError:
                future.cancel()
                raise late() from None
            wanted = set(request.output_filter) or set(outputs)
            if unknown := wanted - set(outputs):
                raise invalid(f"output tensor alias not found in signature: {', '.join(sorted(unknown))}")
            response = predict_pb2.PredictResponse(model_spec=_spec(model, signature or DEFAULT_SIGNATURE))
            for name in wanted:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

        return self._call("Predict", context, answer)

    def GetModelMetadata(self, request, context):  # noqa: N802
        def answer(facts):
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != "signature_def":
                    raise invalid(f"Metadata field {name} is not supported")
            model = self._find(request.model_spec, facts)
            packed = any_pb2.Any()
            packed.Pack(model.metadata)
            return get_model_metadata_pb2.GetModelMetadataResponse(
                model_spec=_spec(model, ""), metadata={"signature_def": packed}
            )

        return self._call("GetModelMetadata", context, answer)

    def Classify(self, request, context):  # noqa: N802
        return self._refuse("Classify", context)

    def Regress(self, request, context):  # noqa: N802
        return self._refuse("Regress", context)

    def MultiInference(self, request, context):  # noqa: N802
        return self._refuse("MultiInference", context)

    def _refuse(self, method: str, context: grpc.ServicerContext) -> None:
        def answer(facts):
            raise unimplemented(method)

        self._call(method, context, answer)


class ModelService(_Door, model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; which models are served is said by their directory, not by a request."""

    def GetModelStatus(self, request, context):  # noqa: N802
        def answer(facts) -> get_model_status_pb2.GetModelStatusResponse:
            return model_status.describe_status(self._models, *to_name(request.model_spec))

        return self._call("GetModelStatus", context, answer)

    def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        def answer(facts):
            raise RequestError(Code.UNIMPLEMENTED, "put models into the directory that is served, or take them out.")

        return self._call("HandleReloadConfigRequest", context, answer)


class _Health(health.HealthServicer):
    """SERVING once a model answers."""

    def __init__(self, models: Models):
        super().__init__()
        self._models = models

    def Check(self, request, context):  # noqa: N802
        state = health_pb2.HealthCheckResponse.SERVING if self._models.names else None
        return health_pb2.HealthCheckResponse(status=state or health_pb2.HealthCheckResponse.NOT_SERVING)


def to_name(spec: model_pb2.ModelSpec) -> tuple[str, int | None]:
    """Name and version of a request.

    Raises:
        RequestError: it has no name, or a label, which nothing gives out.
    """
    if not spec.name:
        raise invalid("Missing ModelSpec.name")
    if spec.HasField("version_label"):
        raise not_found(f"Unrecognized servable version label: {spec.version_label}. Name a version.")
    return spec.name, spec.version.value if spec.HasField("version") else None


def to_array(name: str, proto: Any) -> np.ndarray:
    """A tensor of a request.

    Raises:
        RequestError: it is no tensor, or holds other values than its shape says.
    """
    try:
        # A shape of 2^60 with one value is a few bytes: what is not there is not made.
        size = 1
        for dim in proto.tensor_shape.dim:
            size *= dim.size
        if proto.tensor_shape.unknown_rank or size < 0 or size > _count(proto):
            raise ValueError("its shape holds more values than it has")
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise invalid(f"input {name!r} must be a tensor. Received: {error}.") from None


def _count(proto: Any) -> int:
    """No fewer than the values that a tensor holds."""
    if proto.tensor_content:
        return len(proto.tensor_content)
    repeated = (value for field, value in proto.ListFields() if field.name.endswith("_val"))
    return max((len(values) for values in repeated), default=0)


def _spec(model: ServedModel, signature: str) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=model.name, signature_name=signature)
    spec.version.value = model.version
    return spec


def create_server(
    models: Models, engine: Engine, telemetry: Telemetry, api_key: str | None = None, num_threads: int = 32
) -> grpc.Server:
    """A server without a port.

    Args:
        num_threads: requests that wait for the model at once; as many again queue, beyond that they are refused.
    """
    server = grpc.server(
        futures.ThreadPoolExecutor(num_threads, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", engine.limits.max_bytes),
            ("grpc.so_reuseport", 0),
            ("grpc.max_metadata_size", 16 * 1024),
        ],
        maximum_concurrent_rpcs=2 * num_threads,
    )
    prediction = PredictionService(models, engine, telemetry, api_key)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    status = ModelService(models, engine, telemetry, api_key)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(status, server)
    health_pb2_grpc.add_HealthServicer_to_server(_Health(models), server)
    return server
