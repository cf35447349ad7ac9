"""The command that serves models."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Annotated, BinaryIO, Optional

import typer
from rich.console import Console

from pipelines.commands.session import fail, readable
from pipelines.commands.signals import stops_on_signals
from pipelines.console import plain

_Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Of HTTP; 0 takes any that is free.")]
_GrpcPort = Annotated[int, typer.Option("--grpc-port", min=-1, max=65535, help="Of gRPC; 0 takes any, -1 none.")]
API_KEY_VARIABLE = "RECSYS_SSL_API_KEY"


def serve(
    models: Annotated[
        Path,
        typer.Option(
            "--models",
            help="Models to serve: DIR/NAME/VERSION as Pusher makes it (WORK/pushed), DIR/VERSION, one SavedModel "
            "(WORK/recommender), or all that a run published (WORK).",
            show_default=False,
        ),
    ],
    live: Annotated[
        Optional[Path], typer.Option(help="File of the live catalogue (WORK/live.sqlite), see `index add`.")
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in: give a key, and TLS.")] = "127.0.0.1",
    port: _Port = 8501,
    grpc_port: _GrpcPort = 8500,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between looks for new versions.")] = 1.0,
    keep: Annotated[int, typer.Option(min=0, help="Earlier versions that stay in memory.")] = 1,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows that go through the model at once.")] = 64,
    max_k: Annotated[int, typer.Option(min=1, max=10_000, help="Items of one answer, at most.")] = 1000,
    max_bytes: Annotated[int, typer.Option(min=1024, help="Of a request.")] = 1 << 20,
    max_queries: Annotated[int, typer.Option(min=1, help="Rows of a request.")] = 1024,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for one answer.")] = 10.0,
    tls_cert: Annotated[Optional[Path], typer.Option(help="Certificate, PEM; serves HTTPS, and gRPC by TLS.")] = None,
    tls_key: Annotated[Optional[Path], typer.Option(help="Its key, PEM.")] = None,
    access_log: Annotated[
        str, typer.Option(help="A line of JSON for each request: a file, - for the terminal, or none.")
    ] = "-",
) -> None:
    """Serves recommendations: the REST and gRPC API of TensorFlow Serving, and POST /recommend for people.

    A new version is taken while requests go on. With the variable RECSYS_SSL_API_KEY set, requests need that key.

    [dim]recsys-ssl serve --models build/demo/recommender[/dim]

    [dim]curl localhost:8501/recommend -d '{"query_id": "7", "k": 3}'[/dim]
    """
    console = Console(stderr=True)
    with readable(), contextlib.ExitStack() as stack:
        log = _open_log(access_log, stack)
        _quiet()
        with _needing_the_extra():
            from recsys_ssl.serving.request_limits import Limits
            from recsys_ssl.serving.server import ServerConfig, serving
        config = ServerConfig(
            models,
            host,
            port,
            None if grpc_port < 0 else grpc_port,
            poll_s=poll,
            keep=keep,
            live_path=live,
            max_batch=max_batch,
            api_key=os.environ.get(API_KEY_VARIABLE) or None,
            tls_cert=tls_cert,
            tls_key=tls_key,
            limits=Limits(max_bytes=max_bytes, max_queries=max_queries, max_k=max_k, timeout_s=timeout),
        )
        with stops_on_signals() as stop, serving(config, log) as server:
            scheme = "http" if tls_cert is None else "https"
            for name in server.models.names:
                version = server.models.get(name).version
                console.print(f"{plain(name)} version {version} is served", highlight=False)
            if not server.models.names:
                console.print(f"no model in {plain(str(models))} answers yet; it is looked at every {poll:g} s")
            console.print(f"{scheme}://{host}:{server.http_port}/docs", highlight=False)
            if server.grpc_port is not None:
                console.print(f"gRPC at {host}:{server.grpc_port}", highlight=False)
            stop.wait()
            console.print("stopping", highlight=False)


@contextlib.contextmanager
def _needing_the_extra():
    try:
        yield
    except ModuleNotFoundError as error:
        fail(f"`serve` needs {error.name}, which is not installed. Install the extra: `pip install '.[serve]'`.")


def _open_log(name: str, stack: contextlib.ExitStack) -> BinaryIO | None:
    if name == "none":
        return None
    if name == "-":
        return os.fdopen(os.dup(1), "wb")
    try:
        return stack.enter_context(Path(name).open("ab"))
    except OSError as error:
        raise ValueError(
            f"--access-log must be a file that can be written, - or none. Received: {name!r}: {error.strerror}."
        ) from None


def _quiet() -> None:
    """Only what the server says of itself reaches the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("recsys_ssl.serving")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
