"""A server of a directory of models: HTTP and gRPC on this machine, both before one engine."""

from __future__ import annotations

import contextlib
import functools
import resource
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import grpc
import uvicorn

from recsys_ssl.serving import grpc_services, rest
from recsys_ssl.serving.engine import Engine
from recsys_ssl.serving.guard import Guard
from recsys_ssl.serving.request_limits import Limits
from recsys_ssl.serving.served_model import ServedModel
from recsys_ssl.serving.telemetry import Telemetry
from recsys_ssl.serving.versions import Models

_DRAIN_S = 3.0
"""For requests that are under way when the server is told to end."""


@dataclass(frozen=True)
class ServerConfig:
    """How to serve; the ports are those of TensorFlow Serving."""

    models_dir: Path
    host: str = "127.0.0.1"
    http_port: int = 8501
    """0 takes any that is free."""
    grpc_port: int | None = 8500
    """None for no gRPC; 0 takes any that is free."""
    poll_s: float = 1.0
    """How often the directory of models is looked at."""
    keep: int = 1
    """Versions before the one that answers that stay in memory."""
    max_batch: int = 64
    num_workers: int = 1
    """Batches that are computed at once."""
    live_path: Path | None = None
    """File of a live catalogue, see `live`."""
    api_key: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self):
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs a certificate and its key. Received: one of them. Name both.")
        if self.api_key is not None and len(self.api_key) < 16:
            raise ValueError(f"an API key must have at least 16 characters. Received: {len(self.api_key)}.")
        if self.poll_s <= 0 or self.keep < 0 or self.max_batch < 1 or self.num_workers < 1:
            raise ValueError("poll_s, max_batch and num_workers must be positive, keep not negative.")


class Server:
    """A server that runs in threads of this process.

    Attributes:
        http_port, grpc_port: that it listens at.
        models: what it serves.
        telemetry: what it counts.
    """

    def __init__(self, config: ServerConfig, access_log: IO[bytes] | None = None):
        """Loads the models.

        Args:
            access_log: receives a line of JSON for each request.

        Raises:
            NotADirectoryError: there is no such directory of models.
            OSError: a port is taken.
        """
        self._config = config
        _raise_file_limit()
        self.telemetry = Telemetry(access_log)
        self._engine = Engine(config.limits, config.max_batch, config.num_workers, self.telemetry.observe_batch)
        load = functools.partial(ServedModel, live_path=config.live_path)
        self.models = Models(config.models_dir, config.keep, load, self.telemetry.observe_model)
        self._socket = _listen(config.host, config.http_port)
        self.http_port = self._socket.getsockname()[1]
        self.grpc_port: int | None = None
        self._grpc: grpc.Server | None = None
        if config.grpc_port is not None:
            self._grpc = grpc_services.create_server(self.models, self._engine, self.telemetry, config.api_key)
            self.grpc_port = self._open_grpc(self._grpc)
        app = Guard(
            rest.create_app(self.models, self._engine, self.telemetry), config.limits, self.telemetry, config.api_key
        )
        self._http = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=int(_DRAIN_S),
                ssl_certfile=None if config.tls_cert is None else str(config.tls_cert),
                ssl_keyfile=None if config.tls_key is None else str(config.tls_key),
            )
        )
        self._thread = threading.Thread(target=self._http.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def start(self) -> None:
        """Begins to answer, first that it is not ready, and returns when the models are loaded."""
        self._thread.start()
        while not self._http.started:
            if not self._thread.is_alive():
                raise OSError("the HTTP server ended as it began. Its log says why.")
            time.sleep(0.005)
        if self._grpc is not None:
            self._grpc.start()
        self.models.start(self._config.poll_s)

    def stop(self) -> None:
        """Takes no more requests and ends when those under way are answered, or after some seconds."""
        self.models.stop()
        self._http.should_exit = True
        stopped = self._grpc.stop(_DRAIN_S) if self._grpc is not None else None
        self._thread.join(_DRAIN_S + 1.0)
        if stopped is not None:
            stopped.wait(_DRAIN_S)
        self._engine.close()

    def _open_grpc(self, server: grpc.Server) -> int:
        config = self._config
        address = f"{config.host}:{config.grpc_port}"
        try:
            if config.tls_cert is None or config.tls_key is None:
                return server.add_insecure_port(address)
            pair = (config.tls_key.read_bytes(), config.tls_cert.read_bytes())
            return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except RuntimeError:
            raise OSError(f"{address} must be free for gRPC. It is taken. Name another with --grpc-port.") from None


@contextlib.contextmanager
def serving(config: ServerConfig, access_log: IO[bytes] | None = None) -> Iterator[Server]:
    """A server that has started, and ends with the block."""
    server = Server(config, access_log)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise OSError(
            f"{host}:{port} must be free for HTTP. Received: {error.strerror}. Name another with --port."
        ) from None
    return found


def _raise_file_limit() -> None:
    """Each connection is an open file; systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
