"""Kernels for processors that OpenBLAS does not know, and what NumPy then takes on this one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_ssl import processor

_AVX2 = "fpu sse sse2 avx avx2 fma"
_AVX512 = f"{_AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"


def describe(vendor, family, model, flags):
    facts = {"processor": 0, "vendor_id": vendor, "cpu family": family, "model": model, "model name": "A"}
    one = "".join(f"{name}\t: {value}\n" for name, value in (facts | {"flags": flags}).items())
    return f"{one}\n{one}"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (describe("GenuineIntel", 6, 207, _AVX512), "SkylakeX"),
        (describe("GenuineIntel", 6, 175, _AVX2), "Haswell"),
        (describe("GenuineIntel", 6, 207, "fpu sse sse2"), None),
        (describe("GenuineIntel", 6, 143, _AVX512), None),
        (describe("GenuineIntel", 6, 85, _AVX512), None),
        (describe("AuthenticAMD", 25, 17, _AVX512), None),
        ("CPU architecture: 8\n", None),
        ("", None),
    ],
    ids=["emerald rapids", "sierra forest", "old flags", "sapphire rapids", "skylake", "amd", "arm", "empty"],
)
def test_kernels_are_named_for_newer_processors_only(cpuinfo, expected):
    assert processor.choose_kernels(cpuinfo) == expected


def test_what_a_user_set_stays(monkeypatch, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(describe("GenuineIntel", 6, 207, _AVX512))
    monkeypatch.setenv(processor.VARIABLE, "Haswell")
    processor.name_kernels(path)
    assert os.environ[processor.VARIABLE] == "Haswell"
    monkeypatch.delenv(processor.VARIABLE)
    processor.name_kernels(tmp_path / "none")
    assert processor.VARIABLE not in os.environ
    processor.name_kernels(path)
    assert os.environ[processor.VARIABLE] == "SkylakeX"
    monkeypatch.delenv(processor.VARIABLE)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux what the processor can do")
def test_numpy_multiplies_with_the_vectors_that_the_processor_has():
    code = (
        "import recsys_ssl, numpy, json, threadpoolctl as t;"
        "print(json.dumps([p['architecture'] for p in t.threadpool_info() if p['internal_api'] == 'openblas']))"
    )
    environment = {name: value for name, value in os.environ.items() if name != processor.VARIABLE}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    flags = Path("/proc/cpuinfo").read_text().split()
    for architecture in json.loads(out.stdout):
        assert "avx2" not in flags or architecture not in ("Prescott", "Nehalem", "Core2", "Barcelona", "Sandybridge")
