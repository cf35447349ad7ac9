"""The routes that carry the load, called without the layers that a framework puts around every route.

FastAPI documents them and answers all else; what it adds to a call of such a route costs as much as a search among
some 10,000 items.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys_ssl.serving.errors import RequestError


class Direct:
    """ASGI application: some POST routes of an application by themselves, and all else by the application."""

    def __init__(
        self, app: FastAPI, paths: Sequence[str], answer_error: Callable[[Request, RequestError], Awaitable[Response]]
    ):
        """Args:
        paths: of POST routes, whose endpoints take the request and the texts in the path, and return a response.
        answer_error: makes the response to a request that is refused.

        Raises:
            ValueError: the application has no such route.
        """
        self._app: ASGIApp = app
        self._answer_error = answer_error
        posts = {
            route.path: route for route in app.routes if isinstance(route, APIRoute) and "POST" in (route.methods or ())
        }
        if not posts.keys() >= set(paths):
            raise ValueError(f"paths must be of POST routes. Received: {sorted(set(paths) - posts.keys())}.")
        self._routes = [posts[path] for path in paths]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, texts = self._find(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request, **texts)
        except RequestError as error:
            response = await self._answer_error(request, error)
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[APIRoute | None, dict[str, Any]]:
        """The route of a request, and the texts in its path."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for route in self._routes:
                found = route.path_regex.match(scope["path"])
                if found:
                    return route, found.groupdict()
        return None, {}
