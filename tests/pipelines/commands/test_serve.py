"""What the command says of options that cannot be, and that signals end it; serving: tests/serving/test_server."""

import os
import signal

import pytest

from pipelines.commands.serve import API_KEY_VARIABLE
from pipelines.commands.signals import ends_on_signals, stops_on_signals


@pytest.mark.parametrize(
    ("arguments", "key", "message"),
    [
        (["--models", "nowhere"], "", "--models must be a directory of models. Received: 'nowhere'."),
        (["--models", ".", "--tls-cert", "cert.pem"], "", "TLS needs a certificate and its key."),
        (["--models", "."], "short", "an API key must have at least 16 characters. Received: 5."),
        (
            ["--models", ".", "--access-log", "no/such/log"],
            "",
            "--access-log must be a file that can be written, - or none. Received: 'no/such/log'",
        ),
        (["--models", ".", "--port", "70000"], "", "65535"),
        ([], "", "--models"),
    ],
)
def test_options_that_cannot_be(cli, tmp_path, monkeypatch, arguments, key, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    result = cli("serve", *arguments)
    assert result.status != 0
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_told_and_ends_nothing(number):
    with ends_on_signals():
        before = signal.getsignal(number)
        with stops_on_signals() as stop:
            assert not stop.is_told
            os.kill(os.getpid(), number)
            stop.wait()
        assert signal.getsignal(number) == before
