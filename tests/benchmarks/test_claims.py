import json
import subprocess

import pytest

from benchmarks import claims

FACTS = {"what": "Recall@50", "value": 0.25, "command": "make demo", "seconds": 12.34}


def read(path):
    return json.loads(path.read_text())["claims"]


def test_a_record_has_every_field_with_machine_and_commit(tmp_path):
    claim = claims.record("demo", id="recall", interval=(0.2, 0.3), unit="", results=tmp_path, **FACTS)
    assert read(tmp_path / "demo.json") == [
        {
            "id": "recall",
            "what": "Recall@50",
            "value": 0.25,
            "interval": [0.2, 0.3],
            "unit": "",
            "command": "make demo",
            "seconds": 12.3,
            "hardware": claims.describe_hardware(),
            "commit": claims.describe_commit(),
        }
    ]
    assert claims.load(tmp_path / "demo.json") == [claim]


def test_an_absent_interval_is_null(tmp_path):
    claims.record("demo", id="recall", results=tmp_path, **FACTS)
    assert read(tmp_path / "demo.json")[0]["interval"] is None


def test_a_second_record_replaces_its_own_id_in_place_and_appends_another(tmp_path):
    for id, value in [("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0)]:
        claims.record("demo", id=id, results=tmp_path, **FACTS | {"value": value})
    assert [(claim["id"], claim["value"]) for claim in read(tmp_path / "demo.json")] == [("a", 3), ("b", 2), ("c", 4)]
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"value": 0.25 * (1 + 1e-12), "seconds": 12.3 * (1 - 1e-12)}, True),
        ({"interval": (0.2, 0.3 * (1 - 1e-12))}, True),
        ({"value": 0.2500001}, False),
        ({"interval": (0.2, 0.31)}, False),
        ({"interval": None}, False),
        ({"seconds": 12.4}, False),
        ({"what": "Recall@10"}, False),
        ({"unit": "%"}, False),
        ({"command": "make it"}, False),
        ({"id": "another"}, False),
    ],
    ids=lambda value: ", ".join(value) or "same" if isinstance(value, dict) else "",
)
def test_a_claim_keeps_its_machine_and_commit_while_its_numbers_stay(tmp_path, monkeypatch, change, kept):
    monkeypatch.setattr(claims, "describe_hardware", lambda: "another machine")
    known = claims.record("demo", id="recall", interval=(0.2, 0.3), results=tmp_path, **FACTS)
    again = claims.Claim(**{**known.model_dump(), "hardware": "this machine", "commit": "now", **change})
    assert claims.keep_recorded([again], tmp_path / "demo.json") == [known if kept else again]
    monkeypatch.setattr(claims, "describe_hardware", lambda: "a third machine")
    facts = again.model_dump(exclude={"hardware", "commit"})
    assert (claims.record("demo", results=tmp_path, **facts).hardware == "another machine") == kept


def test_without_a_results_file_no_claim_is_known(tmp_path):
    claim = claims.record("demo", id="recall", results=tmp_path, **FACTS)
    assert claims.keep_recorded([claim], tmp_path / "absent.json") == [claim]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": float("nan")}, "finite"),
        ({"interval": (0.3, 0.2)}, r"\(low, high\)"),
        ({"interval": (0.1, float("inf"))}, "finite"),
        ({"seconds": -1.0}, "greater than or equal to 0"),
        ({"id": "Not An Id"}, "pattern"),
        ({"what": ""}, "at least 1 character"),
    ],
    ids=["nan", "swapped", "infinite", "negative-time", "id", "empty-what"],
)
def test_a_bad_claim_is_refused_and_nothing_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        claims.record("demo", **{"id": "recall", "results": tmp_path} | FACTS | change)
    assert list(tmp_path.iterdir()) == []


def test_a_topic_is_a_plain_file_name(tmp_path):
    with pytest.raises(ValueError, match="Received: '../demo'"):
        claims.record("../demo", id="recall", results=tmp_path, **FACTS)


def test_loading_refuses_unknown_keys_missing_facts_and_repeated_ids(tmp_path):
    path = tmp_path / "demo.json"
    claims.record("demo", id="recall", results=tmp_path, **FACTS)
    (claim,) = read(path)
    for broken in [{**claim, "notes": "x"}, {k: v for k, v in claim.items() if k != "hardware"}]:
        path.write_text(json.dumps({"claims": [broken]}))
        with pytest.raises(ValueError, match="demo.json must hold claims"):
            claims.load(path)
    path.write_text(json.dumps({"claims": [claim, claim]}))
    with pytest.raises(ValueError, match=r"Received twice: \['recall'\]"):
        claims.load(path)
    with pytest.raises(ValueError, match="Run the benchmark that records 'absent'"):
        claims.load(tmp_path / "absent.json")


def test_hardware_is_model_cores_and_memory(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some   CPU @ 2.8GHz\nmodel name\t: Other\n")
    (tmp_path / "meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    monkeypatch.setattr(claims.os, "sched_getaffinity", lambda pid: {0, 3})
    assert claims.describe_hardware(tmp_path) == "Some CPU @ 2.8GHz, 2 cores, 16 GiB"


def test_hardware_without_a_model_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("")
    (tmp_path / "meminfo").write_text("")
    assert claims.describe_hardware(tmp_path).startswith("CPU of unknown model, ")


def test_commit_counts_changes_of_code_but_not_of_results_and_docs(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "core.hooksPath=/dev/null"]
        run = subprocess.run(["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    assert claims.describe_commit(tmp_path) == "no commit"
    git("init", "-q")
    assert claims.describe_commit(tmp_path) == "no commit"
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")[:12]
    assert claims.describe_commit(tmp_path) == head
    for file in ("README.md", "docs/a.md", "benchmarks/results/demo.json"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("new")
    assert claims.describe_commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert claims.describe_commit(tmp_path) == f"{head}+changes"
