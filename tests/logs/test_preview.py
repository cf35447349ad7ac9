"""What would be rejected, by the first records of each file, and which key of the spec is about it."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recsys_ssl.logs.preview import LOG_RECORDS, preview, will_fail
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.spec_files import find_line, load_spec

SPEC = """\
version: 1
name: films
events:
  paths: [log*.csv]
  query_id: user
  item_id: film
  timestamp: {column: time, unit: s}
  label: {event_type: event, positive: {watch: 1.0}, impressions: [show]}
items:
  table: {paths: [films.csv]}
  id: film
  features:
    - {name: film, kind: id}
    - {name: price, kind: numeric}
queries:
  table: {paths: [users.csv]}
  id: user
  features:
    - {name: user, kind: id}
"""
FILMS = "film,price\nf1,1\nf2,2\n"
USERS = "user\nu1\nu2\n"
SOUND = "user,film,time,event\nu1,f1,1600000000,watch\nu2,f2,1600000001,show\nu2,f1,1600000002,watch\n"


@pytest.fixture
def look(tmp_path):
    """Writes files, sound where none is given, and returns the sides that a preview saw, by name."""

    def look(log=SOUND, films=FILMS, users=USERS, spec=SPEC, **others):
        for name, text in {"log.csv": log, "films.csv": films, "users.csv": users, **others}.items():
            if text is not None:
                (tmp_path / name).write_text(text)
        return {side.name: side for side in preview(FeatureSpec.model_validate(yaml.safe_load(spec)), str(tmp_path))}

    return look


def faults(side):
    return {finding.reason: (finding.number, finding.example, finding.key) for finding in side.findings.values()}


def test_a_sound_log_has_no_finding(look):
    sides = look()
    assert [faults(side) for side in sides.values()] == [{}, {}, {}]
    assert sides["events"].counts == {"positives": 2, "impressions": 1, "ignored": 0}
    assert (sides["items"].read, sides["queries"].read, sides["items"].is_whole) == (2, 2, True)
    assert not will_fail(list(sides.values()))


@pytest.mark.parametrize(
    ("line", "reason", "value", "key"),
    [
        ("u1,f1,yesterday,watch", "timestamp is not a number", "'yesterday'", ("events", "timestamp")),
        (",f1,1600000000,watch", "query id is empty", "''", ("events", "query_id")),
        ("u1,,1600000000,watch", "item id is empty", "''", ("events", "item_id")),
        ("u1,f1,1600000000,", "event type is empty", "''", ("events", "label", "event_type")),
        ("u1,f1", "wrong number of columns", "'u1,f1'", ("events", "delimiter")),
    ],
)
def test_a_reject_is_told_with_its_place_and_key(look, line, reason, value, key):
    side = look(log=SOUND + line + "\n")["events"]
    (found,) = [finding for name, finding in faults(side).items() if name.startswith(reason)]
    assert found == (1, f"log.csv:5: {value}", key)
    assert (side.read, side.rejected) == (4, 1)


def test_every_file_is_read(look):
    side = look(**{"log2.csv": SOUND.replace("1600000000", "x"), "log3.csv": SOUND})["events"]
    assert list(side.files) == ["log.csv", "log2.csv", "log3.csv"]
    assert side.read == 9
    assert [example for _, example, _ in faults(side).values()] == ["log2.csv:2: 'x'"]


def test_a_missing_column_is_told_with_the_names_that_are_there(look):
    sides = look(log=SOUND.replace("film", "movie"), films=FILMS.replace("price", "cost"))
    ((message, (_, _, key)),) = faults(sides["events"]).items()
    assert "'movie'" in message
    assert key == ("events", "item_id")
    ((message, (_, _, key)),) = faults(sides["items"]).items()
    assert "'cost'" in message
    assert key == ("items", "features", 1)
    assert will_fail(list(sides.values()))


def test_a_field_that_no_json_file_has(look):
    spec = SPEC.replace("[films.csv]", "[films.json]").replace(
        "table: {paths: [films.json]", "table: {paths: [films.json], format: jsonl"
    )
    films = {"films.json": '{"film": "f1"}\n{"film": "f2"}\n'}
    side = look(spec=spec, **films)["items"]
    (reason,) = side.findings
    assert reason.startswith("films.json: items.features.price needs column 'price'")
    assert side.findings[reason].key == ("items", "features", 1)
    assert side.fails
    films = {"films.json": '{"film": "f1"}\n{"film": "f2", "price": 1}\n'}
    assert look(spec=spec, **films)["items"].findings == {}


def test_a_missing_file(look):
    side = look(users=None)["queries"]
    ((message, (_, _, key)),) = faults(side).items()
    assert "no file matches 'users.csv'" in message
    assert key == ("queries", "table", "paths")
    assert will_fail([side])


def test_ignored_event_types_are_named(look):
    side = look(log=SOUND + "u1,f2,1600000003,scroll\n")["events"]
    assert faults(side) == {"event type 'scroll' is ignored": (1, "", ("events", "label", "positive"))}
    assert (side.rejected, side.counts["ignored"]) == (0, 1)


def test_ids_and_times_of_two_kinds_are_told_as_ingestion_does(look):
    log = "user,film,time,event\n" + "".join(
        f"{user},{film},{time},watch\n"
        for user, film, time in [("u1", "12", 1600000000), ("u1 ", "12.0", 1600000), ("u2", "1.23E+15", 1600000001)]
    )
    side = look(log, films="film,price\n12,1\n12.0,1\n1.23E+15,2\n")["events"]
    told = {reason: (number, key) for reason, (number, _, key) in faults(side).items()}
    assert told.pop("some item ids end in .0 and others do not: 12.0 and 12 are different ids") == (
        (1, ("events", "item_id"))
    )
    assert told.pop("some query ids have blanks around them and others do not: 'u1 ' and 'u1' are different ids") == (
        (1, ("events", "query_id"))
    )
    rounded = "item ids are rounded numbers, as 1.2E+15: different ids may be one"
    assert told.pop(rounded) == (1, ("events", "item_id"))
    (times,) = [reason for reason in told if reason.startswith("some times lie in 1970, the first at 1970-01-19T")]
    assert told.pop(times) == (1, ("events", "timestamp"))
    assert [reason.partition(" is not in")[0] for reason in told] == ["query"]  # 'u1 '
    assert side.rejected == 0


def test_ids_that_match_no_table(look):
    sides = look(films=FILMS.replace("f2", "2.0"), users=USERS.replace("u1", "u9"))
    found = faults(sides["events"])
    assert found["item is not in the table"] == (1, "log.csv:3: 'f2'; the table has 'f1'", ("items", "id"))
    (query,) = [finding for reason, finding in found.items() if reason.startswith("query is not in the table")]
    assert query == (1, "log.csv:2: 'u1'; the table has 'u9'", ("queries", "id"))
    assert sides["events"].rejected == 1  # a query without features is no reject

    found = faults(look(films=FILMS.replace("f2", "F2"))["events"])
    assert found["item is not in the table"][1] == "log.csv:3: 'f2'; the table has 'F2'"


def test_a_header_in_a_file_that_should_have_none_is_told(look):
    spec = SPEC.replace("users.csv]}", "users.csv], header: false, columns: [user]}")
    side = look(users="userId\nu1\nu2\n", spec=spec)["queries"]
    told = "the first record looks like names of columns, though header is false"
    assert faults(side) == {told: (1, "users.csv: userId", ("queries", "table", "header"))}
    assert faults(look(users="u1\nu2\n", spec=spec)["queries"]) == {}


def test_a_table_that_matches_nothing_fails(look):
    assert will_fail(list(look(users="user\n1\n2\n").values()))


def test_a_log_without_a_positive_fails(look):
    sides = look(log=SOUND.replace("watch", "watched"))
    assert "no record is positive" in faults(sides["events"])
    assert will_fail(list(sides.values()))


def test_a_log_without_a_record_fails(look):
    sides = look(log=SOUND.splitlines()[0] + "\n")
    assert faults(sides["events"])["no record is there"][2] == ("events", "paths")
    assert will_fail(list(sides.values()))


def test_most_of_a_side_decides(look):
    half = look(log=SOUND.replace("1600000001", "x"))
    assert not will_fail(list(half.values()))
    most = look(log=SOUND.replace("1600000001", "x").replace("1600000002", "y"))
    assert will_fail(list(most.values()))


def test_a_long_log_is_not_read_whole(tmp_path, look):
    rows = LOG_RECORDS // 10
    columns = {"user": ["u1"] * rows, "film": ["f1"] * rows, "time": np.arange(rows) + 1_600_000_000}
    pq.write_table(pa.table({**columns, "event": ["watch"] * rows}), tmp_path / "log.parquet")
    spec = SPEC.replace("[log*.csv]", "[log.parquet]\n  format: parquet")
    side = look(log=None, spec=spec)["events"]
    assert side.read == 5_000
    assert not side.is_whole


def test_keys_have_lines(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    load_spec(path)
    lines = {
        ("events", "timestamp"): 7,
        ("items", "features", 1): 14,
        ("events", "delimiter"): 3,
        ("queries", "id"): 17,
    }
    assert {key: find_line(path, key) for key in lines} == lines
