"""The benchmark of any log judges as it says: expectations, outcomes, patches and claims."""

import json

import pytest
import yaml

from benchmarks.anylog import cases, commands, expectations, results
from benchmarks.anylog.commands import Outcome
from benchmarks.anylog.expectations import Checks, Run, Table
from benchmarks.claims import load

SUMMARY = {
    "events_read": 6,
    "positives": 3,
    "ignored": 1,
    "impressions": 0,
    "duplicates": 0,
    "rejected": {"a": 1, "b": 1},
}


def test_the_table_is_whole_and_every_run_says_what_is_right():
    table = expectations.load()
    names = [name for entry in table.cases for name in entry.cases]
    assert len(names) > 200
    for entry in table.cases:
        assert entry.right
        assert entry.runs
        for run in entry.runs:
            for checks in run.either or [run]:
                told = checks.says or checks.summary or checks.known or checks.catalogue or checks.report
                assert checks.status or told or checks.never or run.keep, entry.cases


def test_a_case_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "expectations.yaml"
    path.write_text("cases: [{cases: [a, b], right: read, runs: [{}]}, {cases: [b], right: read, runs: [{}]}]")
    with pytest.raises(ValueError, match="Received twice: b"):
        expectations.load(path)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "out" / "interactions").mkdir(parents=True)
    (tmp_path / "out" / "interactions" / "summary.json").write_text(json.dumps(SUMMARY))
    return tmp_path


@pytest.mark.parametrize(
    ("checks", "outcome", "faults"),
    [
        ({"says": ["read it"]}, Outcome(0, "read\n  it", 1.0), []),
        ({}, Outcome(1, "", 1.0), ["status 1, not 0"]),
        ({"status": 1, "says": ["price"]}, Outcome(1, "error", 1.0), ["does not say /price/"]),
        ({"never": ["na[n]"]}, Outcome(0, "nan", 1.0), ["says /na[n]/"]),
        ({}, Outcome(0, "\x1b[2J", 1.0), ["printed an escape character"]),
        ({}, Outcome(0, "Traceback (most recent call last):", 1.0), ["printed a trace"]),
        ({"traces": True}, Outcome(0, "Traceback (most recent call last):", 1.0), []),
        ({"status": 1}, Outcome(1, "The whole story is in x.log", 1.0), ["printed an error of a library"]),
        ({"summary": {"rejected": 2, "positives": 3}}, Outcome(0, "", 1.0), []),
        ({"summary": {"rejected": 1}}, Outcome(0, "", 1.0), ["rejected 2, not 1"]),
        ({"catalogue": {"i": {"x": [1]}}}, Outcome(0, "", 1.0), ["no catalogue"]),
    ],
)
def test_an_outcome_is_judged_by_status_words_and_numbers(place, checks, outcome, faults):
    assert cases._compare(Checks(**checks), outcome, place, "case") == faults


def test_any_of_several_right_outcomes_will_do_and_a_killed_command_never(place):
    run = Run(either=[{"status": 1, "says": ["a", "b"]}, {"says": ["c"]}], seconds=7)
    assert cases._judge(run, Outcome(0, "c", 1.0), place, "x") == []
    assert cases._judge(run, Outcome(0, "d", 1.0), place, "x") == ["does not say /c/"]
    assert cases._judge(run, Outcome(None, "c", 7.0), place, "x") == ["ran past 7 s"]


def test_a_lost_record_is_told_whatever_is_asked(place):
    path = place / "out" / "interactions" / "summary.json"
    path.write_text(json.dumps(SUMMARY | {"ignored": 0}))
    assert cases._compare(Checks(), Outcome(0, "", 1.0), place, "x") == ["lost: 6 read, 5 told of"]


def test_a_spec_is_patched_at_dotted_keys_and_places_of_lists(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("events: {paths: [a]}\nitems: {features: [{name: x}, {name: y}]}\n")
    cases._patch_spec(
        path, {"events.timestamp": {"unit": "s"}, "items.table.missing": ["-"], "items.features.1.column": "z"}
    )
    assert yaml.safe_load(path.read_text()) == {
        "events": {"paths": ["a"], "timestamp": {"unit": "s"}},
        "items": {"features": [{"name": "x"}, {"name": "y", "column": "z"}], "table": {"missing": ["-"]}},
    }


def test_a_case_runs_in_a_copy_of_its_folder_and_is_told_with_its_faults(tmp_path):
    folder = tmp_path / "cases" / "a" / "one"
    folder.mkdir(parents=True)
    (folder / "cmd.txt").write_text("cat word.txt   # as then\n")
    folder.chmod(0o555)
    entry = {"cases": ["a/one"], "right": "says it", "write": {"word.txt": "yes"}}
    runs = [{"says": ["^yes$"]}, {"commands": ["echo {stem} >> word.txt; cat word.txt; false"], "says": ["yesno"]}]
    table = Table.model_validate({"cases": [entry | {"runs": runs}]})
    (result,) = cases.run_cases(tmp_path / "cases", table=table)
    assert result.faults == ["run 2: status 1, not 0", "run 2: does not say /yesno/"]
    assert result.came == "status 0: yes; then status 1: yesone"
    assert list(cases.run_cases(tmp_path / "cases", only="b*", table=table)) == []
    assert [path.name for path in folder.iterdir()] == ["cmd.txt"]


def test_a_command_past_its_limit_is_killed_with_its_children(tmp_path):
    outcome = commands.run_command("(sleep 60; touch late) & wait", tmp_path, 0.3)
    assert outcome.status is None
    assert outcome.seconds < 30


def case_result(faults):
    return results.CaseResult("a", "read", "read", faults, 1.0)


def test_claims_are_made_of_what_was_kept(tmp_path):
    kept, claimed = tmp_path / "kept", tmp_path / "results"
    results.keep_cases([case_result([]), case_result([]), case_result(["x"]), case_result([])], "cases", 10.0, kept)
    results.keep_fuzz("fuzz-logs", results.FuzzResult(1000, 2, ["a"]), "fuzz-logs", 5.0, kept)
    results.keep_fuzz("fuzz-specs", results.FuzzResult(900, 1, []), "fuzz-specs", 6.0, kept)
    junit = tmp_path / "junit.xml"
    junit.write_text('<testsuites><testsuite tests="12" failures="0" errors="0" skipped="2" time="3.5"/></testsuites>')
    results.write_claims({"py311": junit}, kept, claimed)
    claims = {claim.id: (claim.value, claim.seconds, claim.command) for claim in load(claimed / "anylog.json")}
    assert claims == {
        "cases_right_share": (3 / 4, 10.0, "cases"),
        "fuzz_inputs": (1900.0, 11.0, "fuzz-logs; fuzz-specs"),
        "fuzz_traces": (3.0, 11.0, "fuzz-logs; fuzz-specs"),
        "tests_passed_lock_py311": (10.0, 3.5, "make test"),
    }


@pytest.mark.parametrize("counts", ['tests="3" failures="1" errors="0"', 'tests="3" errors="1"', 'tests="0"'])
def test_a_lock_whose_tests_fail_is_no_claim(tmp_path, counts):
    (tmp_path / "junit.xml").write_text(f"<testsuites><testsuite {counts}/></testsuites>")
    with pytest.raises(ValueError, match="all tests must pass"):
        results.count_passed(tmp_path / "junit.xml")
