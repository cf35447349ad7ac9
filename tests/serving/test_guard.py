"""What is kept from the application: no key, too much, too slow, and its own faults."""

import asyncio
import json

import anyio
import httpx
import pytest

from recsys_ssl.serving.errors import RequestError, invalid
from recsys_ssl.serving.guard import Guard, check_key
from recsys_ssl.serving.request_limits import Limits
from recsys_ssl.serving.telemetry import Telemetry

KEY = "a key of enough letters"


async def echo(scope, receive, send):
    message = await receive()
    if message["body"] == b"fail":
        raise ZeroDivisionError
    if message["body"] == b"wrong":
        raise invalid("send something else.")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


@pytest.fixture
def telemetry():
    return Telemetry()


def post(telemetry, body, headers=None, key=None, path="/recommend"):
    app = Guard(echo, Limits(max_bytes=1000, timeout_s=1.0), telemetry, key)

    async def send():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(send())


async def in_parts(parts, pause_s=0.0):
    for part in parts:
        yield part
        await anyio.sleep(pause_s)


def test_a_body_comes_whole(telemetry):
    assert post(telemetry, b"some").content == b"some"
    assert post(telemetry, in_parts([b"so", b"me"])).content == b"some"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (lambda: b"x" * 1001, 413, "at most 1000 bytes. Received: 1001. Send fewer"),
        (lambda: in_parts([b"x" * 300] * 9), 413, "at most 1000 bytes. Received: 1200."),
        (lambda: in_parts([b"x"] * 9, pause_s=0.3), 408, "the body came too slowly"),
        (lambda: b"fail", 500, "the server failed"),
        (lambda: b"wrong", 400, "send something else."),
    ],
    ids=["announced", "not announced", "slow", "fault", "refused"],
)
def test_what_is_refused_is_told_why_and_counted(telemetry, body, status, message):
    answer = post(telemetry, body())
    assert answer.status_code == status
    assert message in json.loads(answer.content)["error"]
    assert f'recsys_ssl_requests_total{{api="http",route="other",status="{status}"}} 1.0' in telemetry.expose().decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {KEY[:-1]}"}, 401),
        ({"authorization": KEY}, 401),
        ({"x-api-key": "é"}, 401),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer {KEY}"}, 200),
        ({"X-Api-Key": KEY}, 200),
    ],
)
def test_a_key(telemetry, headers, status):
    headers = {name: value.encode() for name, value in headers.items()}
    answer = post(telemetry, b"some", headers, key=KEY)
    assert answer.status_code == status
    if status == 401:
        assert "send the header `Authorization: Bearer KEY`" in answer.text
        assert answer.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_key(telemetry):
    assert post(telemetry, b"", key=KEY, path="/health/ready").status_code == 200
    assert post(telemetry, b"", key=KEY, path="/metrics").status_code == 401


def test_no_key_is_asked_for_where_there_is_none():
    check_key(None, {})
    with pytest.raises(RequestError):
        check_key(KEY, {})
