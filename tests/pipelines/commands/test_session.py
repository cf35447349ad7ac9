"""A command ends when it is told to, is alone in its directory, and says in one line what the system refused."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.commands import failures
from pipelines.locks import LockedError, locked

# Commands as the session sees them: `ready` appears when the work begins.
COMMAND = """
import contextlib, errno, multiprocessing, os, signal, subprocess, sys, threading, time
import typer
from pathlib import Path
from pipelines.commands import signals
from pipelines.commands.session import session

signals.GRACE_S = 1
workdir, work = Path(sys.argv[1]), sys.argv[2]

class Deaf:
    def __del__(self):  # what is raised in a destructor is dropped
        (workdir / "ready").touch()
        time.sleep(30)

def do():
    if work in ("destructor", "dropped"):
        Deaf()
        if work == "dropped":
            return
        time.sleep(30)
    if work == "fork" and not os.fork():
        (workdir / "pid").write_text(str(os.getpid()))
        (workdir / "pid").rename(workdir / "ready")
        time.sleep(30)
        os._exit(0)
    if work != "fork":
        (workdir / "ready").touch()
    if work == "catching":
        for _ in range(300):
            with contextlib.suppress(BaseException):
                time.sleep(0.1)
    if work == "translating":
        try:
            time.sleep(30)
        except BaseException as error:
            raise RuntimeError("cancelled") from error
    if work == "full":
        print("what a library says " * 1000)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here")
    if work == "pool":
        with multiprocessing.get_context("fork").Pool(2) as pool:  # whose end is SIGTERM
            print(pool.map(abs, [-1]))
        time.sleep(2 * signals.GRACE_S)
        return
    if work == "thread":  # the interpreter waits for it
        threading.Thread(target=time.sleep, args=(30,)).start()
    if work == "child":
        child = subprocess.Popen(["sh", "-c", "sleep 31 & echo $! > %s/pid; wait" % workdir])
        child.wait()
    time.sleep(30)

def command():
    with session(workdir, "work", is_alone=True):
        do()

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command)
app([])
"""


def start(workdir, work):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(workdir), work], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (workdir / "ready").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("work", ["nothing", "destructor", "dropped", "catching", "translating", "thread", "child"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGINT, "error: interrupted. Run the same command again to go on.\n"),
        (signal.SIGTERM, "error: ended by SIGTERM; run the same command to go on.\n"),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_always_ends_a_command(tmp_path, work, number, message):
    process = start(tmp_path, work)
    time.sleep(0.1)
    process.send_signal(number)
    _, shown = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert shown == message
    if work == "child":
        pid = int((tmp_path / "pid").read_text())
        time.sleep(0.1)
        status = Path(f"/proc/{pid}/stat")
        assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_end_of_a_forked_worker_is_none_of_the_command(tmp_path):
    process = start(tmp_path, "pool")
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("work", ["nothing", "fork"])
def test_a_command_is_alone_until_it_ends_or_is_killed(tmp_path, work):
    process = start(tmp_path, work)
    holder = rf"process {process.pid}, `recsys-ssl work`, since 2\d{{3}}-.*name another"
    with pytest.raises(LockedError, match=holder), locked(tmp_path, "run"):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path, "run"):
        pass
    if work == "fork":  # the worker outlived it
        os.kill(int((tmp_path / "ready").read_text()), signal.SIGKILL)
    process.communicate()


def test_arms_may_be_trained_at_the_same_time_but_not_while_all_is_made(tmp_path):
    with locked(tmp_path, "train control", "control"):
        with locked(tmp_path, "train treatment", "treatment"):
            pass
        for part in ("control", None):
            with pytest.raises(LockedError, match="train control"), locked(tmp_path, "run", part):
                pass


def raised_from(error, cause):
    try:
        raise error from cause
    except type(error) as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), r"the disk is full \(No space.*: /a/b\)\. Free"),
        (
            RuntimeError("Traceback\n  line\nOSError: [Errno 28] No space left on device: '/a'\n[while running 'x']"),
            r"the disk is full \(OSError: .*: '/a'\)\. Free",
        ),
        (MemoryError(), r"not enough memory \(MemoryError: ?\)"),
        (RuntimeError("std::bad_alloc"), "not enough memory"),
        (raised_from(RuntimeError("a worker failed"), MemoryError("x")), "not enough memory"),
        (RuntimeError("can't start new thread"), "no more threads .* fewer --workers"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "cannot be read or written .*Permission denied: /a"),
        (OSError(errno.EROFS, "Read-only file system", "/a"), "cannot be read or written"),
        (raised_from(RuntimeError("a worker failed"), OSError(errno.EIO, "x", "/a")), "network drive fails .*x: /a"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open .*ulimit -n"),
    ],
)
def test_what_the_system_refuses_is_one_line(tmp_path, error, message):
    shown, status = failures.explain(raised_from(error, error.__cause__), tmp_path / "run.log")
    assert re.search(message, shown)
    assert "\n" not in shown
    assert status == 1


def test_a_lock_held_by_another_command_is_told_as_such(cli, tmp_path):
    with locked(tmp_path, "run"):
        result = cli("clean", "--workdir", tmp_path)
    assert result.status == 1
    assert f"one command at a time may work in {tmp_path}. Received: process {os.getpid()}, `recsys-ssl run`" in (
        result.output
    )
    assert "ulimit" not in result.output


@pytest.mark.parametrize("below", ["", "out", "out*"])
def test_a_workdir_that_is_a_dead_link_is_told_as_such(cli, tmp_path, below):
    dead = tmp_path / "dead"
    dead.symlink_to(tmp_path / "nowhere")
    result = cli("transform", "spec.yaml", "--workdir", dead / below)
    assert result.status == 1
    assert f"Received: {str(dead / below)!r}: {dead} is a link to what is not there." in result.output


def test_what_was_handled_before_an_error_is_no_cause_of_it():
    def fail():
        try:
            raise PermissionError(errno.EACCES, "Permission denied", "/secret")
        except OSError:
            raise RuntimeError("of its own") from None

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert failures.explain_system(raised.value) is None
    raised.value.__suppress_context__ = False
    assert "Permission denied: /secret" in failures.explain_system(raised.value)


@pytest.mark.parametrize("name", ["Out of memory", "No space left on device", "Permission denied"])
def test_words_in_the_name_of_a_file_are_no_failure_of_the_system(cli, tmp_path, name):
    missing = tmp_path / name / "x.csv"
    result = cli("new-spec", missing, "--out", tmp_path / "spec.yaml")
    assert result.status == 1
    assert not any(trouble.what in result.output for trouble in failures._SYSTEM)
    error = raised_from(FileNotFoundError(errno.ENOENT, "No such file or directory", str(missing)), None)
    assert failures.explain_system(error) is None
    workdir = tmp_path / "work"
    result = cli("transform", missing, "--workdir", workdir)
    assert f"{missing}: the spec cannot be read" in result.output


def test_a_full_disk_below_the_log_itself_is_one_line(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "work.log").symlink_to("/dev/full")
    process = start(tmp_path, "full")
    _, shown = process.communicate(timeout=20)
    assert re.fullmatch(r"error: the disk is full \(.*No space left on device.*\)\. Free.*\n", shown)
    assert process.returncode == 1


def test_a_damage_told_within_the_trace_of_a_worker_stands_alone(tmp_path):
    error = RuntimeError(
        "Traceback\n  x\nrecsys_ssl.artifacts.DamagedError: a is damaged. Delete a. [while running 'b']"
    )
    assert failures.explain(raised_from(error, None), tmp_path / "run.log") == ("a is damaged. Delete a.", 1)
