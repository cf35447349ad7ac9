"""What every HTTP request passes: the key, the limits of its body, the count and the log.

Plain ASGI, around the whole application, so that nothing of a request is read that may not be sent.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Mapping
from typing import Any

import anyio
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_ssl.serving.errors import Code, RequestError
from recsys_ssl.serving.request_limits import Limits
from recsys_ssl.serving.telemetry import Telemetry

_LOG = logging.getLogger("recsys_ssl.serving")
OPEN_PATHS = ("/health/live", "/health/ready", "/explore")
"""Which need no key; the page of the last has nothing of the model, and asks for the key."""
_METHODS = ("GET", "HEAD", "POST")
"""That are counted by name: anybody can send any."""
_GONE = 499
"""Of no answer: the client went away."""


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, limits: Limits, telemetry: Telemetry, api_key: str | None = None):
        self._app, self._limits, self._telemetry, self._api_key = app, limits, telemetry, api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, facts = time.perf_counter(), {"status": _GONE, "bytes_out": 0}

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts["status"] = message["status"]
            elif message["type"] == "http.response.body":
                facts["bytes_out"] += len(message.get("body", b""))
            await send(message)

        body = b""
        try:
            headers = {name: value for name, value in scope["headers"] if name in _READ}
            if scope["path"] not in OPEN_PATHS:
                check_key(self._api_key, _decode(headers))
            with anyio.fail_after(self._limits.timeout_s):
                read = await self._read(headers, receive)
            if read is not None:
                body = read
                await self._app(scope, _replay(body, receive), observed)
        except TimeoutError:
            error = RequestError(Code.DEADLINE_EXCEEDED, "the body came too slowly. Send it at once.", http_status=408)
            await _refuse(observed, error)
        except RequestError as error:
            await _refuse(observed, error)
        except Exception:
            _LOG.exception("%s %s failed", scope["method"], scope["path"])
            if facts["status"] == _GONE:
                await _refuse(observed, RequestError(Code.INTERNAL, "the server failed. Its log says why."))
        finally:
            route = getattr(scope.get("route"), "path", "other")
            client = scope.get("client") or ("",)
            self._telemetry.observe_request(
                "http",
                f"{scope['method']} {route}" if route != "other" and scope["method"] in _METHODS else "other",
                str(facts["status"]),
                time.perf_counter() - started,
                path=scope["path"][:200],
                client=client[0],
                bytes_in=len(body),
                bytes_out=facts["bytes_out"],
                **scope.get("state", {}).get("log", {}),
            )

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        """The whole body; None when the client goes away before its end.

        Raises:
            RequestError: it is too large.
        """
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limits.max_bytes:
            raise self._too_large(int(announced))
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limits.max_bytes:
                raise self._too_large(size)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self, size: int) -> RequestError:
        return RequestError(
            Code.INVALID_ARGUMENT,
            f"a request must have at most {self._limits.max_bytes} bytes. Received: {size}. Send fewer queries.",
            http_status=413,
        )


_READ = (b"authorization", b"x-api-key", b"content-length")


def _decode(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


def check_key(api_key: str | None, headers: Mapping[str, str]) -> None:
    """
    Args:
        api_key: the server's; None asks for none.
        headers: of the request, names in lower case; of gRPC its metadata.

    Raises:
        RequestError: the request does not have the key.
    """
    if api_key is None:
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), api_key.encode()):
        raise RequestError(Code.UNAUTHENTICATED, "send the header `Authorization: Bearer KEY`, or `X-Api-Key: KEY`.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and then what comes after it."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(send: Send, error: RequestError) -> None:
    headers: list[Any] = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if error.code is Code.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": to_body(error)})


def to_body(error: RequestError) -> bytes:
    """As TensorFlow Serving writes errors."""
    return orjson.dumps({"error": str(error)})
