"""What `make setup` chooses on a machine, on made-up ones, and the locks that it installs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-next.lock", "requirements-serve.lock")
TOOLS = ("bash", "cut", "dirname", "env", "head", "ls", "rm", "sort")


@pytest.fixture
def setup(tmp_path):
    """setup(pythons, glibc, **variables) runs it where only these commands are: name -> version, None if it fails."""
    binaries = tmp_path / "bin"
    (tmp_path / "project" / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup.sh", tmp_path / "project" / "tools")
    binaries.mkdir()
    for tool in TOOLS:
        (binaries / tool).symlink_to(shutil.which(tool))

    def write(path, command):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{command}\n")
        path.chmod(0o755)

    def setup(pythons, glibc="2.36", system="Linux x86_64", *arguments, **variables):
        write(binaries / "uname", f"echo {system}")
        write(binaries / "getconf", f"echo glibc {glibc}" if glibc else "exit 1")
        for name, version in pythons.items():
            write(tmp_path / name if "/" in name else binaries / name, f"echo {version}" if version else "exit 127")
        return subprocess.run(
            [str(tmp_path / "project" / "tools" / "setup.sh"), *(arguments or ["--dry-run"])],
            env={"PATH": str(binaries), "PYENV_ROOT": str(tmp_path / "pyenv"), **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return setup


PY311, PY312, PY313 = ({f"python{version}": version} for version in ("3.11", "3.12", "3.13"))


@pytest.mark.parametrize(
    ("pythons", "glibc", "variables", "expected"),
    [
        pytest.param(PY311, "2.36", {}, "requirements.lock python3.11", id="default"),
        pytest.param(PY311 | PY313, "2.36", {"LOCK": "serve"}, "requirements-serve.lock python3.11", id="serve"),
        pytest.param(PY311 | PY313, "2.41", {}, "requirements.lock python3.11", id="default-before-next"),
        pytest.param(PY312 | PY313, "2.41", {}, "requirements-next.lock python3.13", id="newest-of-next"),
        pytest.param(PY312, "2.39", {}, "requirements-next.lock python3.12", id="oldest-glibc-of-next"),
        pytest.param(PY312, "2.9", {}, "requirements.lock uv", id="old-glibc-needs-another-python"),
        pytest.param({"python3": "3.13"}, "2.41", {}, "requirements-next.lock python3", id="python3"),
        pytest.param({"python3": "3.10"}, "2.41", {}, "requirements.lock uv", id="too-old"),
        pytest.param(PY311 | PY313, "2.41", {"LOCK": "next"}, "requirements-next.lock python3.13", id="lock-named"),
        pytest.param(PY311, "2.41", {"LOCK": "next"}, "requirements-next.lock uv", id="lock-named-without-python"),
        pytest.param(PY312 | PY311, "2.41", {"PYTHON": "python3.12"}, "requirements-next.lock python3.12", id="python"),
        pytest.param({"python3.11": None}, "2.36", {}, "requirements.lock uv", id="shim-that-fails"),
        pytest.param(
            {"python3.11": None, "pyenv/versions/3.11.7/bin/python": "3.11"}, "2.36", {}, "requirements.lock python",
            id="pyenv",
        ),
        pytest.param(
            PY311 | {"project/.venv/bin/python": "3.13"}, "2.41", {}, "requirements-next.lock python", id="stays"
        ),
        pytest.param(
            PY311 | {"project/.venv/bin/python": "3.13"}, "2.41", {"LOCK": "default"}, "requirements.lock python3.11",
            id="lock-before-what-is-there",
        ),
        pytest.param(
            PY311 | {"project/.venv/bin/python": "3.10"}, "2.41", {}, "requirements.lock python3.11", id="goes"
        ),
    ],
)  # fmt: skip
def test_the_lock_and_the_python_that_fit(setup, pythons, glibc, variables, expected):
    done = setup(pythons, glibc, **variables)
    lock, python = done.stdout.split()
    assert f"{lock} {Path(python).name}" == expected
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("pythons", "glibc", "system", "variables", "message"),
    [
        (PY311, "2.36", "Linux x86_64", {"LOCK": "next"}, "needs glibc 2.39 or newer .* Received: glibc 2.36"),
        (PY313, "2.36", "Linux x86_64", {"PYTHON": "python3.13"}, "needs glibc 2.39 or newer"),
        (PY311, "2.41", "Linux x86_64", {"LOCK": "old"}, "must be default, next or serve. Received: LOCK=old"),
        ({"python3.9": "3.9"}, "2.41", "Linux x86_64", {"PYTHON": "python3.9"}, "3.11 is needed. Received: Python 3.9"),
        (PY311, "2.41", "Linux x86_64", {"PYTHON": "python3.11", "LOCK": "next"}, "3.13 or 3.12 is needed for LOCK"),
        (PY311, "2.41", "Linux x86_64", {"PYTHON": "/no/python"}, "must be an interpreter that runs"),
        (PY311, "2.41", "Linux aarch64", {}, "x86-64 Linux only. Received: Linux aarch64"),
        (PY311, "", "Linux x86_64", {}, "need glibc, which was not found"),
    ],
)
def test_what_does_not_fit_is_said(setup, pythons, glibc, system, variables, message):
    done = setup(pythons, glibc, system, **variables)
    assert done.returncode == 1
    assert re.search(message, done.stderr)
    assert not done.stdout


@pytest.mark.parametrize("uv", [{}, {"uv": None}], ids=["no-uv", "no-network"])
def test_without_python_and_download_it_says_what_to_do(setup, uv):
    done = setup({"python3": None, **uv}, "2.36", "Linux x86_64", "install")
    assert done.returncode == 1
    assert "Python 3.11 is needed and could not be had: uv" in done.stderr
    assert "make setup PYTHON=/path/to/python3.11" in done.stderr


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_each_package_and_names_no_host(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-", text.replace("    --hash=sha256:", ""), re.MULTILINE)
    packages = re.split(r"\n(?=\S)", text.strip())
    assert len(packages) > (50 if "serve" in lock else 200)
    assert all(re.match(r"[\w.-]+==\S+ ", package) and "--hash=sha256:" in package for package in packages)


def test_the_next_lock_keeps_to_the_tensorflow_that_scann_links_to():
    override = (ROOT / "requirements-next.override").read_text(encoding="utf-8")
    text = (ROOT / "requirements-next.lock").read_text(encoding="utf-8")
    for pin in re.findall(r"^[\w-]+==\S+$", override, re.MULTILINE):
        assert f"\n{pin} " in text


def test_what_serves_has_the_versions_that_the_tests_run_with_and_no_pipeline():
    served, tested = ((ROOT / lock).read_text(encoding="utf-8") for lock in ("requirements-serve.lock", LOCKS[0]))
    pins, of_tests = (dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE)) for text in (served, tested))
    assert pins.pop("tensorflow-cpu") == of_tests["tensorflow"]
    assert {name: of_tests.get(name) for name in pins} == pins
    assert not {"tfx", "apache-beam", "tensorflow", "tensorflow-transform", "pandas", "matplotlib"} & set(pins)


def test_an_environment_to_serve_stays_one_unless_another_is_named(setup, tmp_path):
    stamp = tmp_path / "project" / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.write_text("serve\n")
    pythons = PY311 | {"project/.venv/bin/python": "3.11"}
    assert setup(pythons).stdout.startswith("requirements-serve.lock ")
    assert setup(pythons, LOCK="default").stdout.startswith("requirements.lock ")
