"""Which kernels NumPy's OpenBLAS is told to take, on processors that are newer than it.

The OpenBLAS of NumPy 1.26, the last that TFX installs with, takes its kernels by the processor's model. Intel's servers
after Sapphire Rapids (Emerald and Granite Rapids) it does not know, and takes kernels of 2004 for them: a product of
matrices costs several times as much. It can be told once only, before NumPy is loaded.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
_LAST_KNOWN_MODEL = 143  # Sapphire Rapids
_AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def name_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Sets `OPENBLAS_CORETYPE`, unless it is set, where OpenBLAS would not know the processor."""
    try:
        kernels = choose_kernels(cpuinfo.read_text())
    except OSError:
        return
    if kernels:
        os.environ.setdefault(VARIABLE, kernels)


def choose_kernels(cpuinfo: str) -> str | None:
    """What OpenBLAS calls the kernels for a processor, given as Linux describes it; None where it knows best."""
    facts = dict(re.findall(r"^(vendor_id|cpu family|model|flags)\s*: (.*)$", cpuinfo, flags=re.MULTILINE))
    if facts.get("vendor_id") != "GenuineIntel" or facts.get("cpu family") != "6":
        return None
    if int(facts.get("model", 0)) <= _LAST_KNOWN_MODEL:
        return None
    flags = set(facts.get("flags", "").split())
    if flags >= _AVX512:
        return "SkylakeX"
    return "Haswell" if {"avx2", "fma"} <= flags else None
