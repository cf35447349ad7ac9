"""Specs that nobody should write: mutations of the shipped ones load, or are told in a few plain lines.

`python -m benchmarks.anylog fuzz-specs --examples 1000` runs more of the same.
"""

import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.anylog import fuzz_specs
from recsys_ssl.spec_files import load_spec


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "spec.yaml"


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(malformed=fuzz_specs.malformed_specs())
def test_a_malformed_spec_loads_or_is_told_of(path, malformed):
    assert fuzz_specs.find_fault(malformed.content, path) is None


def test_the_generator_makes_what_loads_and_what_does_not(path, monkeypatch):
    loaded = []

    def load(path):
        loaded.append(load_spec(path))
        return loaded[-1]

    monkeypatch.setattr(fuzz_specs, "load_spec", load)
    result = fuzz_specs.fuzz(examples=40, seed=1)
    assert (result.inputs, result.traces) == (40, 0), result.examples_of_traces
    assert 0 < len(loaded) < 40


def test_a_trace_is_counted_and_told(monkeypatch):
    def load(path):
        raise RecursionError("too deep")

    monkeypatch.setattr(fuzz_specs, "load_spec", load)
    result = fuzz_specs.fuzz(examples=3, seed=0)
    assert result.inputs == result.traces == 3
    assert "RecursionError: too deep (test_fuzz_specs.py:" in result.examples_of_traces[0]
