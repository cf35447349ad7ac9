"""The command line ends with one line when it is told to, whatever it is at; it says what an installation lacks."""

import signal
import subprocess
import sys
import time

import pytest

from pipelines.commands import entry

# `ready` appears when the command line is at what a test is about.
COMMAND_LINE = """
import importlib.abc, sys, time
from pathlib import Path

ready, at, sys.argv = Path(sys.argv[1]), sys.argv[2], ["recsys-ssl", *sys.argv[3:]]

def wait(*args):
    ready.touch()
    time.sleep(30)

class SlowImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pipelines.commands.app":
            wait()

if at == "import":
    sys.meta_path.insert(0, SlowImport())
else:
    from pipelines.commands import data
    data.load_spec = wait
from pipelines.commands.entry import main
main()
"""


@pytest.mark.parametrize("at", ["import", "work"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGINT, "error: interrupted. Run the same command again to go on.\n"),
        (signal.SIGTERM, "error: ended by SIGTERM; run the same command to go on.\n"),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_command_without_a_session_ends_with_one_line_too(tmp_path, at, number, message):
    ready = tmp_path / "ready"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND_LINE, str(ready), at, "validate-spec", "spec.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("", message)
    assert process.returncode == 128 + number


def test_an_installation_without_the_pipeline_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "pipelines.commands.app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match="need typer, which is not installed. Install a lock"):
        entry.main()
