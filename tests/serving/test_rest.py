"""The HTTP door: answers are those of the model, and what cannot be answered is told what to send."""

import json
import re

import numpy as np
import pytest
import schemathesis
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from recsys_ssl.serving import rest
from recsys_ssl.serving.engine import Engine
from recsys_ssl.serving.guard import Guard
from recsys_ssl.serving.request_limits import Limits
from recsys_ssl.serving.telemetry import Telemetry

TASTE = [0.5, -1.0, 0.25, 0.0, 2.0, 0.0, 0.0, 1.0]
ROW = {"user": "u1", "taste": TASTE, "history": ["film-1"], "k": 3, "exclude": ["film-7"]}
PREDICT = "/v1/models/films:predict"


@pytest.fixture(scope="module")
def recommender(server):
    return server.running.models.get("films").recommender


# --- For people -------------------------------------------------------------------------------------


def ask(http, **body):
    answer = http.post("/recommend", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["model"], found["version"]) == ("films", 1)
    return [item["id"] for item in found["items"]], [item["score"] for item in found["items"]], found["flags"]


def test_the_best_items_by_features(http, films):
    ids, scores, flags = ask(http, query={"user": "u1", "taste": TASTE}, k=5)
    expected = films.vectors @ (np.float32(TASTE) / np.linalg.norm(np.float32(TASTE)))
    best = np.argsort(-expected)[:5]
    assert ids == [f"film-{row}" for row in best]
    np.testing.assert_allclose(scores, expected[best], atol=1e-5)
    assert flags == []


def test_the_best_items_by_id_with_all_that_may_be_asked(http, recommender):
    plain = recommender.recommend_ids(["u3"], 12)[0]
    assert ask(http, query_id="u3", k=12)[0] == plain.item_ids
    assert ask(http, query_id="u3", k=5, exclude=plain.item_ids[:2])[0] == plain.item_ids[2:7]
    allowed = plain.item_ids[3:5]
    assert ask(http, query_id="u3", k=5, allow=allowed)[::2] == (allowed, ["exact", "fewer"])
    filtered = ask(http, query_id="u3", k=3, filters={"genres": "genre-3"})[0]
    assert filtered == recommender.recommend_ids(["u3"], 3, filters={"genres": "genre-3"})[0].item_ids
    assert all(int(item_id.removeprefix("film-")) % 1000 == 0 for item_id in filtered)


def test_ten_items_and_none_left_out_where_nothing_is_said(http):
    assert len(ask(http, query_id="u3")[0]) == 10


def test_a_query_that_nothing_is_known_of_gets_what_is_popular(http):
    assert ask(http, query={}, k=2)[2] == ["popularity"]
    assert ask(http, query_id="nobody", k=2)[2] == ["popularity"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "Input should be an object"),
        (b"{", 400, "Invalid JSON"),
        (b"[" * 50_000, 400, "recursion limit"),
        (b'{"query_id": "\\ud800"}', 400, "Invalid JSON"),
        (b'{"query": {"taste": [1e400, 0, 0, 0, 0, 0, 0, 0]}}', 400, "'taste' must be a finite float32 or null"),
        (b'{"query": {"taste": [NaN, 0, 0, 0, 0, 0, 0, 0]}}', 400, "'taste' must be a finite float32 or null"),
        ([], 400, "Input should be an object"),
        ({}, 400, 'send either "query"'),
        ({"query": {}, "query_id": "u1"}, 400, 'send either "query"'),
        ({"query_id": 7}, 400, "query_id: Input should be a valid string. Received: 7"),
        ({"query_id": "u1", "k": 0}, 400, "k: Input should be greater than or equal to 1. Received: 0"),
        ({"query_id": "u1", "k": 101}, 400, "k must be at most 100. Received: 101"),
        ({"query_id": "u1", "k": "3"}, 400, "k: Input should be a valid integer. Received: '3'"),
        ({"query_id": "u1", "k": 10**30}, 400, "k "),
        ({"query_id": "u1", "n": 3}, 400, "n: Extra inputs are not permitted"),
        ({"query_id": "u1", "exclude": "film-1"}, 400, "exclude: Input should be a valid array"),
        ({"query_id": "u1", "filters": {"colour": "red"}}, 400, r"filters must name features of items: \['film'"),
        ({"query_id": "u1", "filters": {"year": "new"}}, 400, "the filter of 'year' takes numbers"),
        ({"query_id": "u1", "model": "nope"}, 404, "Servable not found for request: Latest"),
        ({"query": {"tast": TASTE}}, 400, r"features must be among .*'taste'.* Received: \['tast'\]"),
        ({"query": {"taste": [1.0]}}, 400, "'taste'"),
        ({"query": {"taste": "red"}}, 400, "'taste' takes numbers"),
        ({"query": {"user": ["u1", "u2"]}}, 400, "'user' takes one value"),
        ({"query": {"user": {"id": 1}}}, 400, "query.user|user"),
        ({"query": {"history": ["film-1"] * 41}}, 400, "values of 'history' must be at most 40. Received: 41"),
    ],
)
def test_a_question_that_cannot_be_answered(http, body, status, message):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = http.post("/recommend", content=body)
    assert answer.status_code == status, answer.text
    (told,) = answer.json().values()
    assert answer.headers["content-type"] == "application/json"
    assert len(told) < 500
    assert re.search(message, told), told


# --- TensorFlow Serving -----------------------------------------------------------------------------


def test_rows_and_columns_give_what_the_signature_gives(http, films):
    others = ROW | {"user": "u2", "taste": TASTE[::-1], "k": 2}
    rows = http.post(PREDICT, json={"instances": [ROW, others]})
    assert rows.status_code == 200, rows.text
    columns = http.post(PREDICT, json={"inputs": {name: [ROW[name], others[name]] for name in ROW}})
    first, second = rows.json()["predictions"]
    assert columns.json() == {"outputs": {name: [first[name], second[name]] for name in ("item_ids", "scores")}}
    expected = films.vectors @ (np.float32(TASTE) / np.linalg.norm(np.float32(TASTE)))
    expected[7] = -np.inf
    assert first["item_ids"] == [f"film-{row}" for row in np.argsort(-expected)[:3]]
    # The second wanted two items only; no answer has an infinity, which JSON has no number for.
    assert second["item_ids"][2] == ""
    assert np.float32(second["scores"][2]) == np.finfo(np.float32).min


def test_other_signatures_and_versions(http):
    body = {"signature_name": "embed_query", "instances": [{name: ROW[name] for name in ("user", "taste", "history")}]}
    answer = http.post("/v1/models/films/versions/1:predict", json=body)
    ((vector,),) = answer.json().values()
    np.testing.assert_allclose(vector, np.float32(TASTE) / np.linalg.norm(TASTE), atol=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
        (PREDICT, {"signature_name": "x", "instances": [ROW]}, 400, 'Serving signature name: "x" not found'),
        (PREDICT, {"instances": [ROW | {"k": 0}]}, 400, "k must be positive"),
        (PREDICT, {"instances": [ROW | {"k": 101}]}, 400, "k must be at most 100. Received: 101"),
        (PREDICT, {"instances": [ROW] * 51}, 400, "queries must be at most 50. Received: 51"),
        (PREDICT, {"instances": [ROW | {"taste": [1.0]}]}, 400, "input 'taste' must have the shape (None, 8)"),
        (PREDICT, {"instances": [ROW | {"history": ["f"] * 41}]}, 400, "values of 'history' must be at most 40"),
        (PREDICT, {"inputs": {**{n: [v] for n, v in ROW.items()}, "k": [1, 2]}}, 400, "one row per query"),
        ("/v1/models/nope:predict", {"instances": [ROW]}, 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/films/versions/9:predict", {"instances": [ROW]}, 404, "Specific(films, 9)"),
        ("/v1/models/films/versions/x:predict", {"instances": [ROW]}, 400, "a version is a number"),
        (f"/v1/models/films/versions/{2**63}:predict", {"instances": [ROW]}, 400, "Failed to convert version"),
        ("/v1/models/films:classify", {}, 501, "classify is not served"),
        ("/v1/models/films:paint", {}, 400, "Malformed request: POST /v1/models/films:paint"),
        ("/v1/nothing", {}, 404, "Malformed request: POST /v1/nothing"),
    ],
)
def test_errors_are_those_of_tensorflow_serving(http, path, body, status, message):
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_status_and_metadata_are_read_by_the_protos_of_tensorflow_serving(http):
    for path in ("/v1/models/films", "/v1/models/films/versions/1"):
        status = json_format.Parse(http.get(path).text, get_model_status_pb2.GetModelStatusResponse())
        (version,) = status.model_version_status
        assert (version.version, version.state, version.status.error_code) == (1, version.AVAILABLE, 0)
    for path in ("/v1/models/films/metadata", "/v1/models/films/versions/1/metadata"):
        found = http.get(path).json()
        assert found["model_spec"] == {"name": "films", "signature_name": "", "version": "1"}
        of_proto = get_model_metadata_pb2.SignatureDefMap()
        json_format.ParseDict(found["metadata"]["signature_def"], of_proto)
        assert set(of_proto.signature_def["serving_default"].inputs) == set(ROW)
    assert http.get("/v1/models/nope").status_code == http.get("/v1/models/nope/metadata").status_code == 404


# --- Operations -------------------------------------------------------------------------------------


def test_health_metrics_and_the_log(http, server):
    assert http.get("/health/live").json() == {"status": "live"}
    assert http.get("/health/ready").json() == {"status": "ready", "models": {"films": 1}}
    route = 'recsys_ssl_requests_total{api="http",route="POST /recommend",status="200"}'

    def count():
        lines = http.get("/metrics").text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(route)), 0.0)

    before = count()
    assert http.post("/recommend", json={"query_id": "u1"}).status_code == 200
    assert count() == before + 1
    assert 'recsys_ssl_model_version{model="films"} 1.0' in http.get("/metrics").text
    lines = [json.loads(line) for line in server.log.getvalue().splitlines()]
    (last,) = [line for line in lines if line["route"] == "POST /recommend"][-1:]
    assert (last["status"], last["model"], last["version"], last["queries"]) == ("200", "films", 1, 1)
    assert last["seconds"] > 0
    assert last["bytes_in"] == len(b'{"query_id":"u1"}')


def test_the_page_names_every_route(http):
    page = http.get("/openapi.json").json()
    assert set(page["paths"]) == {
        *("/recommend", "/health/live", "/health/ready", "/metrics", "/explore"),
        *(f"/explore/{what}" for what in ("model", "queries", "query", "items", "nearest")),
        *("/v1/models/{name}", "/v1/models/{name}:predict", "/v1/models/{name}/metadata"),
        *(f"/v1/models/{{name}}/versions/{{version}}{end}" for end in ("", ":predict", "/metadata")),
    }
    body = page["paths"]["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["k"]["maximum"] == 100
    assert "text/html" in http.get("/docs").headers["content-type"]


def test_nothing_that_can_be_sent_hurts(server):
    """Every answer is one that the page tells of, and none is a fault of the server's."""
    telemetry, limits = Telemetry(), Limits(max_k=100)
    app = Guard(rest.create_app(server.running.models, Engine(limits), telemetry), limits, telemetry)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    statuses = set()
    for operation in operations:
        statuses |= send_all_kinds(schema, operation)
    assert {200, 400, 404} <= statuses


def send_all_kinds(schema, operation):
    """Requests of one route as the page allows and, where there is a body, forbids; the statuses of the answers."""
    told = {*schema.raw_schema["paths"][operation.path][operation.method]["responses"], "405"}
    statuses, cases = set(), operation.as_strategy()
    if operation.method == "post":
        cases |= operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def send(case):
        answer = case.call()
        statuses.add(answer.status_code)
        assert str(answer.status_code) in told, answer.text
        assert answer.status_code < 500, answer.text
        assert answer.status_code < 400 or list(answer.json()) == ["error"]

    send()
    return statuses
