"""A server whose models change, break and go while it answers, and clients that behave badly."""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import httpx
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from recsys_ssl.serving.request_limits import Limits
from recsys_ssl.serving.server import ServerConfig, serving

ROOT = Path(__file__).parents[2]
ASK = {"query_id": "u1", "k": 3}
KEY = "a key of enough letters"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "films").mkdir()
    return tmp_path


def serve(root, **changes):
    of_tests = {"grpc_port": None, "poll_s": 0.05, "limits": Limits(timeout_s=60.0)}  # on machines that are busy
    return serving(ServerConfig(root, http_port=0, **(of_tests | changes)))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextlib.contextmanager
def load(url, num_clients):
    """Clients that ask without a pause; yields what they were answered: (status, version)."""
    answers, is_over = [], threading.Event()

    def ask():
        with httpx.Client(base_url=url, timeout=60) as client:
            while not is_over.is_set():
                try:
                    answer = client.post("/recommend", json=ASK)
                    answers.append((answer.status_code, answer.json().get("version")))
                except httpx.HTTPError as error:
                    answers.append((type(error).__name__, None))

    clients = [threading.Thread(target=ask) for _ in range(num_clients)]
    for client in clients:
        client.start()
    try:
        yield answers
    finally:
        is_over.set()
        for client in clients:
            client.join()


def test_no_request_fails_while_versions_come_break_and_go(root, film_model_dir, put_model):
    films = root / "films"
    put_model(film_model_dir, films / "1")
    with serve(root) as server, load(f"http://127.0.0.1:{server.http_port}", 4) as answers:
        put_model(film_model_dir, films / "2")
        wait_for(lambda: (200, 2) in answers)
        shutil.copytree(film_model_dir, root / "damaged")
        (data,) = (root / "damaged").glob("variables/variables.data*")
        os.truncate(data, data.stat().st_size // 2)
        (root / "damaged").rename(films / "3")
        wait_for(lambda: server.models.list_status("films")[0].state == "END")
        assert server.models.get("films").version == 2
        shutil.rmtree(films / "2")
        wait_for(lambda: server.models.get("films").version == 1)
        wait_for(lambda: answers[-1] == (200, 1))
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {1, 2}
    assert server.telemetry.expose().decode().count('event="rejected",model="films"} 1.0') == 1


def test_clients_that_open_many_connections_and_never_end_a_request_hurt_nobody(root, film_model_dir, put_model):
    """That a body which comes too slowly is given up: test_guard."""
    put_model(film_model_dir, root / "films" / "1")
    with serve(root) as server, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.http_port)
        idle = [stack.enter_context(socket.create_connection(address)) for _ in range(1000)]
        idle[0].sendall(b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{")
        idle[1].sendall(b"POST /recom")
        idle[2].sendall(b"\x00\xff\r\n\r\n")
        answer = httpx.post(f"http://127.0.0.1:{server.http_port}/recommend", json=ASK, timeout=60)
        assert answer.status_code == 200
        assert idle[2].recv(1000).startswith(b"HTTP/1.1 400")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of this machine's own loopback address, and its key."""
    root = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", root / "key.pem", "-out", root / "cert.pem"], check=True, capture_output=True)
    return root / "cert.pem", root / "key.pem"


def test_tls_and_a_key_at_both_doors(root, film_model_dir, put_model, certificate):
    put_model(film_model_dir, root / "films" / "1")
    cert, key = certificate
    with serve(root, grpc_port=0, api_key=KEY, tls_cert=cert, tls_key=key) as server:
        trusted = ssl.create_default_context(cafile=str(cert))
        url = f"https://localhost:{server.http_port}/v1/models/films"
        assert httpx.get(url, verify=trusted, timeout=60).status_code == 401
        with_key = {"Authorization": f"Bearer {KEY}"}
        assert httpx.get(url, verify=trusted, headers=with_key, timeout=60).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(url, timeout=60)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "films"
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as channel:
            status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
            with pytest.raises(grpc.RpcError) as error:
                status(request, timeout=60)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
            found = status(request, timeout=60, metadata=[("authorization", f"Bearer {KEY}")])
            assert found.model_version_status[0].version == 1


def test_before_the_first_model_a_server_is_alive_and_not_ready(root, film_model_dir, put_model):
    with serve(root) as server, httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}", timeout=60) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        answer = client.post("/recommend", json=ASK)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        put_model(film_model_dir, root / "films" / "1")
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/recommend", json=ASK).status_code == 200


def start(root):
    """The command in a process of its own, and the address that it tells."""
    command = [sys.executable, "-c", "from pipelines.commands.entry import main; main()", "serve", "--models", root]
    command += [
        "--port",
        "0",
        "--grpc-port",
        "-1",
        "--poll",
        "0.05",
        "--timeout",
        "60",
        "--access-log",
        root / "access.jsonl",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("http://"):
            return process, line.strip().removesuffix("/docs")
    raise AssertionError(f"ended with {process.wait()}")


def test_killed_during_a_swap_it_comes_back_with_the_last_good_version(root, film_model_dir, put_model):
    films = root / "films"
    put_model(film_model_dir, films / "1")
    process, url = start(root)
    try:
        assert httpx.post(f"{url}/recommend", json=ASK, timeout=60).json()["version"] == 1
        # Half of a copy, as a kill of the machine leaves it; the process dies while it reads that.
        shutil.copytree(film_model_dir, films / "2", ignore=shutil.ignore_patterns("variables"))
        time.sleep(0.15)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    process, url = start(root)
    try:
        assert httpx.post(f"{url}/recommend", json=ASK, timeout=60).json()["version"] == 1
        (latest, _) = httpx.get(f"{url}/v1/models/films", timeout=60).json()["model_version_status"]
        assert (latest["version"], latest["state"]) == ("2", "END")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert "stopping" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    lines = [json.loads(line) for line in (root / "access.jsonl").read_text().splitlines()]
    assert [line["route"] for line in lines].count("POST /recommend") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tls_cert": Path("cert.pem")}, "a certificate and its key"),
        ({"api_key": "short"}, "at least 16 characters. Received: 5"),
        ({"poll_s": 0.0}, "must be positive"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        ServerConfig(Path("models"), **changes)


def test_a_port_that_is_taken(root):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"127.0.0.1:{port} must be free for HTTP. .*--port"),
            serving(ServerConfig(root, http_port=port, grpc_port=None)),
        ):
            pass
