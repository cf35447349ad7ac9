"""What a request that cannot be served is answered: a code, of HTTP and gRPC alike, and a message of what to send.

The codes and their HTTP statuses are those of TensorFlow Serving.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class _Code(NamedTuple):
    number: int
    """Of gRPC and of TensorFlow."""
    http_status: int


class Code(_Code, enum.Enum):
    INVALID_ARGUMENT = _Code(3, 400)
    DEADLINE_EXCEEDED = _Code(4, 504)
    NOT_FOUND = _Code(5, 404)
    RESOURCE_EXHAUSTED = _Code(8, 429)
    UNIMPLEMENTED = _Code(12, 501)
    INTERNAL = _Code(13, 500)
    UNAVAILABLE = _Code(14, 503)
    UNAUTHENTICATED = _Code(16, 401)


class RequestError(Exception):
    """A request that is not served; the message is for whoever sent it.

    Args:
        http_status: where HTTP has a better one than the code's.
    """

    def __init__(self, code: Code, message: str, http_status: int | None = None):
        super().__init__(message)
        self.code = code
        self.http_status = code.http_status if http_status is None else http_status


def invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> RequestError:
    return RequestError(Code.NOT_FOUND, message)
