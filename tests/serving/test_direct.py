"""Some routes of an application are called by themselves; all else is answered as the application would."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from recsys_ssl.serving.direct import Direct
from recsys_ssl.serving.errors import invalid


@pytest.fixture
def app():
    """An application whose own layers mark what goes through them."""
    app = FastAPI()

    @app.middleware("http")
    async def mark(request, call_next):
        response = await call_next(request)
        response.headers["layers"] = "yes"
        return response

    @app.post("/models/{name}:ask")
    async def ask(request: Request, name: str) -> Response:
        body = await request.body()
        if body == b"wrong":
            raise invalid("send something else.")
        return Response(f"{name} {body.decode()} {request.scope['route'].path}")

    @app.get("/models/{name}")
    async def tell(name: str) -> Response:
        return Response(name)

    return app


async def answer_error(request, error):
    return Response(f"{request.url.path}: {error}", error.http_status)


def send(app, method, path, body=b""):
    async def talk():
        transport = httpx.ASGITransport(Direct(app, ["/models/{name}:ask"], answer_error))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=body)

    return asyncio.run(talk())


def test_a_route_is_called_with_the_texts_of_its_path_and_without_layers(app):
    answer = send(app, "POST", "/models/films:ask", b"who")
    assert (answer.status_code, answer.text) == (200, "films who /models/{name}:ask")
    assert "layers" not in answer.headers


def test_what_is_refused_is_answered(app):
    answer = send(app, "POST", "/models/films:ask", b"wrong")
    assert (answer.status_code, answer.text) == (400, "/models/films:ask: send something else.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/models/films", 200),
        ("GET", "/models/films:ask", 200),
        ("PUT", "/models/films:ask", 405),
        ("POST", "/models/a/b:ask", 404),
        ("GET", "/openapi.json", 200),
    ],
)
def test_all_else_is_the_applications(app, method, path, status):
    answer = send(app, method, path)
    assert answer.status_code == status
    assert answer.headers["layers"] == "yes"


def test_a_path_that_is_no_route_is_refused(app):
    with pytest.raises(ValueError, match=r"paths must be of POST routes\. Received: \['/models/\{name\}'\]"):
        Direct(app, ["/models/{name}"], answer_error)
