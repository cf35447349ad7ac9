"""What a server tells of itself: metrics for Prometheus, and a line of JSON for each request."""

from __future__ import annotations

import logging
import time
from typing import IO, Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_LOG = logging.getLogger("recsys_ssl.serving")


class Telemetry:
    """Counts of one server; threads share it."""

    def __init__(self, access_log: IO[bytes] | None = None):
        """Args:
        access_log: receives a line of JSON for each request; none when None.
        """
        self._access_log = access_log
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        labels = ["api", "route", "status"]
        self._requests = Counter("recsys_ssl_requests", "Requests answered", labels, registry=self.registry)
        self._seconds = Histogram(
            "recsys_ssl_request_seconds", "Time to answer", ["api", "route"], buckets=_SECONDS, registry=self.registry
        )
        self._batches = Histogram(
            "recsys_ssl_batch_rows", "Rows that went through the model at once", buckets=_ROWS, registry=self.registry
        )
        self._batched = Counter(
            "recsys_ssl_batched_requests", "Requests that went through the model", registry=self.registry
        )
        self._version = Gauge("recsys_ssl_model_version", "The version that answers", ["model"], registry=self.registry)
        self._events = Counter(
            "recsys_ssl_model_events", "Versions loaded, rejected, ...", ["model", "event"], registry=self.registry
        )

    def observe_batch(self, rows: int, requests: int) -> None:
        self._batches.observe(rows)
        self._batched.inc(requests)

    def observe_model(self, name: str, version: int, event: str) -> None:
        """Of `Models`: what became of a version."""
        self._events.labels(name, event).inc()
        if event == "serving":
            self._version.labels(name).set(version)

    def observe_request(self, api: str, route: str, status: str, seconds: float, **facts: Any) -> None:
        """Counts a request and logs it.

        Args:
            api: `http` or `grpc`.
            route: of few: a path without the names in it.
            facts: what else the log says.
        """
        self._requests.labels(api, route, status).inc()
        self._seconds.labels(api, route).observe(seconds)
        if self._access_log is None:
            return
        line = {
            "time": time.time(),
            "api": api,
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
            **facts,
        }
        try:
            self._access_log.write(orjson.dumps(line | facts, option=orjson.OPT_APPEND_NEWLINE))
            self._access_log.flush()
        except OSError as error:  # a full disk must not end the service
            self._access_log = None
            _LOG.error("the access log cannot be written any more: %s", error)

    def expose(self) -> bytes:
        """All metrics as text of Prometheus."""
        return generate_latest(self.registry)
