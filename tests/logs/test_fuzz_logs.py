"""Generated malformed logs: no trace, no hang, and no record is lost."""

from collections import Counter

import pytest

from benchmarks.anylog import shrinking
from benchmarks.anylog.fuzz_logs import fuzz
from benchmarks.anylog.log_checks import find_loss
from benchmarks.anylog.malformed_logs import Input, generate

EXAMPLES, SEED = 100, 14


def test_generated_logs_are_read_or_told_of():
    found = fuzz(EXAMPLES, SEED, whole_share=0)
    assert found.inputs == EXAMPLES
    assert not found.traces, "\n".join(found.examples_of_traces)


def test_an_input_is_the_same_for_the_same_seed_and_forms_and_ways_differ():
    inputs = [generate(SEED, number) for number in range(EXAMPLES)]
    assert inputs[7] == generate(SEED, 7) != generate(SEED + 1, 7)
    forms = Counter(made.spec["events"]["format"] for made in inputs)
    assert min(forms[form] for form in ("csv", "jsonl", "parquet")) > EXAMPLES / 20
    assert len({made.made.split("; ")[-1] for made in inputs}) > EXAMPLES / 2


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"duplicates": 1}, None),
        ({"duplicates": 0}, "4 read, 3 told of"),
        ({"events_read": 3}, "3 read, 4 told of"),
    ],
)
def test_a_lost_record_is_a_fault(change, fault):
    summary = {
        "events_read": 4,
        "positives": 1,
        "ignored": 0,
        "impressions": 0,
        "duplicates": 1,
        "rejected": {"a": 1, "b": 1},
    }
    assert find_loss(summary | change) == fault


def test_a_fault_is_kept_as_few_lines(tmp_path, monkeypatch):
    def read(spec, place):
        return "ValueError: odd" if b"odd" in (place / "events.csv").read_bytes() else None

    monkeypatch.setattr(shrinking, "read_and_check", read)
    lines = ["user,item,time", *(f"u{k},A,{k}" for k in range(50)), "odd,A,1", *(f"u{k},B,{k}" for k in range(30))]
    made = Input("made", {}, {"events.csv": "\n".join(lines).encode()})
    shrinking.keep_small(made, "ValueError: odd", read, tmp_path / "kept", tmp_path / "place")
    assert (tmp_path / "kept" / "events.csv").read_text() == "user,item,time\nodd,A,1\n"
