"""What became of the versions of a model, in TensorFlow Serving's words."""

from __future__ import annotations

from tensorflow_serving.apis import get_model_status_pb2, status_pb2

from recsys_ssl.serving.versions import END, Models

_STATE = get_model_status_pb2.ModelVersionStatus.State


def describe_status(models: Models, name: str, version: int | None) -> get_model_status_pb2.GetModelStatusResponse:
    """The answer of ModelService.GetModelStatus.

    Raises:
        RequestError: there is no such model or version.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in models.list_status(name, version):
        error = status_pb2.StatusProto(error_code=3 if status.state == END else 0, error_message=status.error)
        response.model_version_status.add(version=status.version, state=_STATE.Value(status.state), status=error)
    return response
