"""The HTTP door: TensorFlow Serving's REST API, a plain route for people, health and metrics.

    POST /v1/models/NAME[/versions/V]:predict      rows or columns in, rows or columns out
    GET  /v1/models/NAME[/versions/V][/metadata]   status, or signatures
    POST /recommend                                one query, by features or by id
    GET  /explore                                  a page to look at a model, see `explorer`
    GET  /health/live, /health/ready, /metrics, /docs, /openapi.json

Errors are {"error": "what to send"}, with the statuses of TensorFlow Serving.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
from collections.abc import Sequence
from typing import Any, Optional, Union

import orjson
import pydantic
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from google.protobuf import json_format
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from starlette.exceptions import HTTPException

import recsys_ssl
from recsys_ssl.serving import explorer, model_status, tensors
from recsys_ssl.serving.batching import late
from recsys_ssl.serving.direct import Direct
from recsys_ssl.serving.engine import Engine
from recsys_ssl.serving.errors import Code, RequestError, invalid
from recsys_ssl.serving.guard import to_body
from recsys_ssl.serving.recommender import Answer
from recsys_ssl.serving.served_model import Question, ServedModel, unimplemented
from recsys_ssl.serving.telemetry import Telemetry
from recsys_ssl.serving.versions import Models

_JSON = "application/json"
_RECOMMEND = "/recommend"
_PREDICT_LATEST, _PREDICT_VERSION = "/v1/models/{name}:predict", "/v1/models/{name}/versions/{version}:predict"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"

_Value = Union[StrictStr, StrictInt, StrictFloat, None]
_Text = StrictStr


class Asked(BaseModel):
    """One query, by its features or by its id."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"query_id": "7", "k": 3}]})

    query: Optional[dict[_Text, Union[_Value, list[Union[StrictStr, StrictInt, StrictFloat]]]]] = Field(
        default=None,
        description="Features, raw as in the log; a list where one has several values, of an item sequence the oldest "
        "first. null, or left out, when missing. {} is a query that nothing is known of.",
    )
    query_id: Optional[_Text] = Field(default=None, description="A query of the log, in place of its features.")
    k: StrictInt = Field(default=10, ge=1, description="How many items; fewer come where no more are left.")
    exclude: list[_Text] = Field(default=[], description="Ids of items to leave out.")
    allow: Optional[list[_Text]] = Field(default=None, description="The only items that may come; null for any.")
    filters: Optional[dict[_Text, Any]] = Field(
        default=None,
        description="What features of the items must be: a value, a list of which one must hold, or an object with "
        "some of any, none, min, max.",
    )
    model: Optional[_Text] = Field(default=None, description="Needed where several models are served.")


class Item(BaseModel):
    """A recommended item."""

    id: str
    score: float


class Recommended(BaseModel):
    """The best items, best first."""

    model: str
    version: int
    items: list[Item]
    flags: list[str] = Field(
        description="content: the log has no such query; popularity: nothing is known of it; unknown_items: the "
        "request names items that are not in the catalogue; exact: all that may come were scored; fewer: there are "
        "no more."
    )


class Failure(BaseModel):
    """Why a request was not served."""

    error: str


_ASKED = pydantic.TypeAdapter(Asked)
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": what}
    for status, what in {
        400: "The request is wrong; the message says what to send.",
        401: "The key is missing or wrong.",
        404: "There is no such model or version.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        500: "The server failed.",
        501: "The model has no such method.",
        503: "The server is busy, or has no model yet.",
        504: "The answer took too long.",
    }.items()
}


def create_app(models: Models, engine: Engine, telemetry: Telemetry) -> Direct:
    """The application, without what `guard` checks."""
    app = FastAPI(
        title="recsys_ssl",
        version=recsys_ssl.__version__,
        description="Recommendations of a two-tower model. The routes under /v1 are those of TensorFlow Serving.",
        responses=_ERRORS,
        redoc_url=None,
    )
    app.add_exception_handler(RequestError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(404, _answer_http_error)
    app.add_exception_handler(405, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    _add_recommend(app, models, engine)
    _add_tensorflow_serving(app, models, engine)
    _add_health(app, models, telemetry)
    explorer.add_routes(app, models)
    return Direct(app, (_RECOMMEND, _PREDICT_LATEST, _PREDICT_VERSION), _answer_error)


# --- For people ------------------------------------------------------------------------------------------


def _add_recommend(app: FastAPI, models: Models, engine: Engine) -> None:
    schema = Asked.model_json_schema()
    schema["properties"]["k"]["maximum"] = engine.limits.max_k

    @app.post(
        _RECOMMEND,
        summary="The best items for one query",
        response_model=Recommended,
        openapi_extra={"requestBody": {"required": True, "content": {_JSON: {"schema": schema}}}},
    )
    async def recommend(request: Request) -> Response:
        try:
            asked = _ASKED.validate_json(await request.body() or b"null")
        except pydantic.ValidationError as error:
            raise invalid(_tell(error.errors(include_url=False, include_context=False))) from None
        if (asked.query is None) == (asked.query_id is None):
            raise invalid('send either "query", an object of features, or "query_id", an id of the log.')
        model = models.get_default(asked.model)
        _log(request, model, 1)
        allow = None if asked.allow is None else tuple(asked.allow)
        question = Question(asked.query, asked.query_id, tuple(asked.exclude), allow)
        answer: Answer = await _wait(engine, engine.ask(model, question, asked.k, asked.filters))
        items = [{"id": i, "score": score} for i, score in zip(answer.item_ids, answer.scores, strict=True)]
        return _json({"model": model.name, "version": model.version, "items": items, "flags": list(answer.flags)})


def _tell(errors: Sequence[Any]) -> str:
    """The first thing that is wrong with a request."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    received = "" if first["type"] in ("missing", "json_invalid") else f" Received: {first.get('input')!r:.80}."
    return f"{f'{place}: ' if place else ''}{first['msg']}.{received} See /docs."


# --- TensorFlow Serving ----------------------------------------------------------------------------------

_PREDICT_SCHEMA = {
    "type": "object",
    "properties": {
        "signature_name": {"type": "string", "description": "serving_default when left out."},
        "instances": {"type": "array", "minItems": 1, "items": {}, "description": "Rows; or else:"},
        "inputs": {"description": "Columns: input -> values of all rows."},
    },
    "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
}
_PREDICT = {"requestBody": {"required": True, "content": {_JSON: {"schema": _PREDICT_SCHEMA}}}}
_TAG: list[str | enum.Enum] = ["TensorFlow Serving"]


def _add_tensorflow_serving(app: FastAPI, models: Models, engine: Engine) -> None:
    async def predict(request: Request, name: str, version: int | None) -> Response:
        model = models.get(name, version)
        body = await request.body()
        signature, arrays, is_row_form = tensors.parse_predict(body, model.specs)
        outputs = await _wait(engine, engine.predict(model, signature, arrays))
        _log(request, model, len(next(iter(arrays.values()))))
        return Response(tensors.to_json(outputs, is_row_form), media_type=_JSON)

    @app.post(_PREDICT_LATEST, tags=_TAG, openapi_extra=_PREDICT, summary="Outputs of a signature")
    async def predict_latest(request: Request, name: str) -> Response:
        return await predict(request, name, None)

    @app.post(_PREDICT_VERSION, tags=_TAG, openapi_extra=_PREDICT, summary="Of a version")
    async def predict_version(request: Request, name: str, version: str) -> Response:
        return await predict(request, name, _to_version(version))

    @app.post("/v1/models/{name}:{method}", tags=_TAG, include_in_schema=False)
    @app.post("/v1/models/{name}/versions/{version}:{method}", tags=_TAG, include_in_schema=False)
    async def other_method(request: Request, name: str, method: str) -> Response:
        if method in ("classify", "regress"):
            raise unimplemented(method)
        raise invalid(f"Malformed request: POST {request.url.path}")

    @app.get("/v1/models/{name}", tags=_TAG, summary="Which versions there are")
    async def status_latest(name: str) -> Response:
        return _json(_to_dict(model_status.describe_status(models, name, None)))

    @app.get("/v1/models/{name}/versions/{version}", tags=_TAG, summary="Of a version")
    async def status_version(name: str, version: str) -> Response:
        return _json(_to_dict(model_status.describe_status(models, name, _to_version(version))))

    @app.get("/v1/models/{name}/metadata", tags=_TAG, summary="Signatures")
    async def metadata_latest(name: str) -> Response:
        return _metadata(models.get(name))

    @app.get("/v1/models/{name}/versions/{version}/metadata", tags=_TAG, summary="Signatures of a version")
    async def metadata_version(name: str, version: str) -> Response:
        return _metadata(models.get(name, _to_version(version)))


def _to_version(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise invalid(f"Malformed request: a version is a number. Received: {text[:80]!r}.")
    if len(text) > 19 or int(text) >= 2**63:
        raise invalid(f"Failed to convert version: {text[:80]} to numeric.")
    return int(text)


# protobuf 5 has another name for it.
_DEFAULTS = ({"including_default_value_fields", "always_print_fields_with_no_presence"}) & set(
    inspect.signature(json_format.MessageToDict).parameters
)


def _to_dict(message: Any) -> dict[str, Any]:
    """A message as TensorFlow Serving writes it: with the fields that nobody set."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True, **dict.fromkeys(_DEFAULTS, True))


def _metadata(model: ServedModel) -> Response:
    spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
    return _json({"model_spec": spec, "metadata": {"signature_def": _to_dict(model.metadata)}})


# --- Health ----------------------------------------------------------------------------------------------


def _add_health(app: FastAPI, models: Models, telemetry: Telemetry) -> None:
    tag: list[str | enum.Enum] = ["Operations"]

    @app.get("/health/live", tags=tag, summary="Whether the process runs")
    async def live() -> Response:
        return _json({"status": "live"})

    @app.get("/health/ready", tags=tag, summary="Whether a model answers")
    async def ready() -> Response:
        if not models.names:
            raise RequestError(Code.UNAVAILABLE, "no model is loaded yet.")
        return _json({"status": "ready", "models": {name: models.get(name).version for name in models.names}})

    @app.get("/metrics", tags=tag, summary="Of Prometheus", responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        return Response(telemetry.expose(), media_type=_METRICS)


# --- Answers ---------------------------------------------------------------------------------------------


async def _wait(engine: Engine, future: Any) -> Any:
    """The result of a future, unless it takes longer than a request may."""
    wrapped = asyncio.wrap_future(future)
    try:
        return await asyncio.wait_for(wrapped, engine.limits.timeout_s)
    except asyncio.TimeoutError:
        raise late() from None


def _log(request: Request, model: ServedModel, rows: int) -> None:
    request.scope.setdefault("state", {})["log"] = {"model": model.name, "version": model.version, "queries": rows}


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type=_JSON)


async def _answer_error(request: Request, error: Any) -> Response:
    headers = {"Retry-After": "1"} if error.code is Code.UNAVAILABLE else {}
    return Response(to_body(error), error.http_status, headers, media_type=_JSON)


async def _answer_http_error(request: Request, error: Any) -> Response:
    status = getattr(error, "status_code", 500)
    if status in (404, 405):
        told = f"Malformed request: {request.method} {request.url.path[:200]}. The routes are listed at /docs."
        return _json({"error": told}, status)
    return _json({"error": str(getattr(error, "detail", error))}, status)


async def _answer_invalid(request: Request, error: Any) -> Response:
    return _json({"error": _tell(error.errors())}, 400)
