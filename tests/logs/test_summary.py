"""Which logs can be used, and what is said of the others."""

import dataclasses
import re

import pytest

from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.summary import IngestSummary, check_summary, iso_time, list_warnings
from recsys_ssl.spec import FeatureSpec

SPEC = FeatureSpec.model_validate(
    {
        "name": "test",
        "events": {"paths": ["x"], "query_id": "user", "item_id": "item"},
        "items": {"table": {"paths": ["y"]}, "id": "item", "features": [{"name": "item", "kind": "id"}]},
        "queries": {"id": "user", "features": [{"name": "user", "kind": "id"}]},
        "split": {"kind": "random"},
        "max_rejected_share": 0.1,
    }
)
GOOD = IngestSummary(
    spec="test",
    events_read=100,
    positives=80,
    ignored=4,
    impressions=3,
    duplicates=3,
    rejected={"a": 6, "b": 4},
    items_read=5,
    items_rejected={},
    queries_read=0,
    queries_rejected={},
    queries_without_features=0,
    splits={"train": 60, "eval": 10, "test": 10},
    held_out_pairs={"eval": 9, "test": 10},
    held_out_repeats={"eval": 1, "test": 0},
    held_out_queries={"eval": 4, "test": 5},
    queries_without_history={"eval": 0, "test": 2},
    split_kind="random",
    cuts_us=None,
    cuts=None,
    num_items=5,
    num_queries=7,
    items_without_train=1,
    weighted_train=60,
    examples={"events: a": 'log.csv:3: "x"', "events: b": 'log.csv:9: "y"', "items: c": 'items.csv:2: "é"'},
)


def test_json_round_trip():
    assert IngestSummary.from_json(GOOD.to_json()) == GOOD


def test_iso_time():
    assert iso_time(86_400_000_000 + 1) == "1970-01-02T00:00:00.000001Z"


def test_a_log_whose_weights_are_all_zero_is_an_error():
    with pytest.raises(LogError, match="the weight of every train event is 0.* Check events.weight"):
        check_summary(dataclasses.replace(GOOD, weighted_train=0), SPEC)


def test_rejects_up_to_the_share_are_accepted():
    check_summary(GOOD, SPEC)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"events_read": 0, "rejected": {}}, "the log has no record. Check events in the spec"),
        ({"events_read": 2, "rejected": {"file is empty": 2}}, "the log has no record"),
        ({"items_read": 0}, "the item table has no record. Check items"),
        (
            {"events_read": 99},
            "10 of 99 records of the log (10.1%) were rejected; max_rejected_share is 10.0%.\n"
            '          6  a; first: log.csv:3: "x"\n'
            '          4  b; first: log.csv:9: "y"\n'
            "Mend the data or the spec, or raise max_rejected_share.",
        ),
        ({"items_rejected": {"c": 1}}, "1 of 5 records of the item table (20.0%) were rejected"),
        ({"positives": 0}, "the log has no positive event: 4 were ignored, 3 are impressions, 10 were rejected"),
        ({"splits": {"train": 0, "eval": 0, "test": 80}}, "80 positive events left train and eval empty"),
    ],
    ids=["no record", "empty files", "no item", "rejects", "item rejects", "no positive", "empty splits"],
)
def test_what_cannot_be_used_says_why(changes, message):
    with pytest.raises(LogError, match=re.escape(message)):
        check_summary(dataclasses.replace(GOOD, **changes), SPEC)


# --- Tables that the log does not fit -------------------------------------------------------------------

TIMED = FeatureSpec.model_validate(
    {
        **SPEC.model_dump(),
        "events": {"paths": ["x"], "query_id": "user", "item_id": "item", "timestamp": {"column": "t", "unit": "ms"}},
        "split": {},
    }
)
WITH_USERS = FeatureSpec.model_validate(
    {**SPEC.model_dump(), "queries": {**SPEC.queries.model_dump(), "table": {"paths": ["z"]}}}
)


def test_a_query_table_that_knows_no_query_is_an_error_and_one_that_knows_some_is_none():
    summary = dataclasses.replace(GOOD, queries_read=9, queries_without_features=7)
    with pytest.raises(LogError, match="none of the 7 queries of the log is in the query table"):
        check_summary(summary, WITH_USERS)
    check_summary(dataclasses.replace(summary, queries_without_features=6), WITH_USERS)
    with pytest.raises(LogError, match=re.escape("9 query ids of the query table end in .0 and none of the log does")):
        check_summary(dataclasses.replace(summary, whole_float_ids={"queries: query id": 9}), WITH_USERS)


def test_rejected_items_of_ids_as_floats_say_so():
    rejected = {"item not in the table": 50}
    examples = {"events: item not in the table": "log.csv:2: x"}
    summary = dataclasses.replace(GOOD, rejected=rejected, examples=examples, whole_float_ids={"events: item id": 50})
    with pytest.raises(LogError, match=re.escape("50 item ids of the log end in .0 and none of the item table does")):
        check_summary(summary, SPEC)
    both = {"events: item id": 50, "items: item id": 5}
    with pytest.raises(LogError) as error:
        check_summary(dataclasses.replace(summary, whole_float_ids=both), SPEC)
    assert ".0 and none" not in str(error.value)


def test_a_query_table_that_knows_few_queries_is_told_with_an_id_of_each_side():
    examples = {"queries: unknown": "u7", "queries: known": "u1", "queries: table": "U9"}
    few = dataclasses.replace(GOOD, num_queries=40, queries_without_features=39, id_examples=examples)
    assert list_warnings(few, WITH_USERS) == [
        "39 of the 40 queries of the log (97.5%) are not in the query table, e.g. 'u7'; one that is there is 'u1'. No "
        "feature of the table is known of them: check queries.id and how the ids are written.",
    ]
    half = dataclasses.replace(few, queries_without_features=20)
    assert list_warnings(half, WITH_USERS) == []
    none = dataclasses.replace(few, queries_read=9, queries_without_features=40)
    with pytest.raises(LogError, match="The log has 'u7', which the query table does not have; it has e.g. 'U9'"):
        check_summary(none, WITH_USERS)


def test_ids_of_another_form_are_told_with_both_forms():
    summary = dataclasses.replace(
        GOOD,
        rejected={"item not in the table": 50},
        examples={"events: item not in the table": "log.csv:2: x"},
        id_examples={"items: unknown": "18", "items: table": "00017"},
        twin_ids={"items": ["18", "00018"]},
    )
    with pytest.raises(LogError) as error:
        check_summary(summary, SPEC)
    assert "The log has '18', which the item table does not have; it has e.g. '00017'.\n" in str(error.value)
    assert "The log has item id '18' and the item table '00018': these are different ids." in str(error.value)
    assert any("'00018'" in warning for warning in list_warnings(summary, SPEC))


def test_a_first_record_that_looks_like_a_header_is_told():
    summary = dataclasses.replace(GOOD, header_lines={"events": "log.csv: userId, movieId"})
    assert list_warnings(summary, SPEC) == [
        "the first record of the log looks like names of columns, log.csv: userId, movieId. If it is a header, remove "
        "header and columns from the spec, or the line from the file."
    ]


def test_too_many_unreadable_values_are_an_error():
    values = {"items: price is not a number": 1}
    summary = dataclasses.replace(
        GOOD, unreadable_values=values, examples={"items_values: price is not a number": "items.csv:3: x"}
    )
    with pytest.raises(LogError, match=r"1 of 5 records of the item table \(20.0%\) have no price that"):
        check_summary(summary, SPEC)
    check_summary(dataclasses.replace(summary, items_read=10), SPEC)
    assert list_warnings(summary, SPEC) == [
        "1 of the values of the item table: price is not a number; taken for missing. First: items.csv:3: x"
    ]


def test_the_causes_of_one_feature_are_added_up():
    causes = {"items: price is not a number; set x": 1, "items: price is not a number but a word": 2}
    examples = {what.replace("items", "items_values"): "items.csv:3: x" for what in causes}
    summary = dataclasses.replace(GOOD, items_read=20, unreadable_values=causes, examples=examples)
    with pytest.raises(LogError, match=r"(?s)3 of 20 .* price .*  2  price is not a number but a word.*  1  price"):
        check_summary(summary, SPEC)
    both = {"items: price is not a number": 2, "items: size is not a number": 1}
    examples = {what.replace("items", "items_values"): "items.csv:3: x" for what in both}
    check_summary(dataclasses.replace(summary, unreadable_values=both, examples=examples), SPEC)


def test_a_rejected_item_is_told_before_the_events_that_lost_it():
    summary = dataclasses.replace(
        GOOD, rejected={"item not in the table": 50}, items_rejected={"c": 4}, examples={"items: c": "items.csv:3: x"}
    )
    with pytest.raises(LogError, match=r"4 of 5 records of the item table \(80.0%\) were rejected"):
        check_summary(summary, SPEC)


@pytest.mark.parametrize(
    ("changes", "example", "hint"),
    [
        ({"padded_ids": {"events: item id": 50}}, "i24 ", "50 item ids of the log have blanks around them and none of"),
        ({}, "i24-1 i3-0", "If 'i24-1 i3-0' are several ids, events.explode makes a record of each."),
    ],
)
def test_items_that_are_unknown_for_how_their_ids_are_written(changes, example, hint):
    examples = {"events: item not in the table": f'log.csv:2: {{"query_id": "u 1", "item_id": "{example}"}}'}
    summary = dataclasses.replace(GOOD, rejected={"item not in the table": 50}, examples=examples, **changes)
    with pytest.raises(LogError, match=re.escape(hint)):
        check_summary(summary, SPEC)


# --- Warnings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"null_words": {"events: query id: NULL": 3, "events: query id: nan": 5}},
            ["query id of the log reads as if there were nothing: nan 5, NULL 3."],
        ),
        (
            {"whole_float_ids": {"events: item id": 2}, "integer_ids": {"events: item id": 5}},
            ["2 item ids of the log end in .0 and others do not: 12.0 and 12 are different ids. Write them alike."],
        ),
        (
            {"padded_ids": {"queries: query id": 1}, "unpadded_ids": {"queries: query id": 5}},
            ["1 query ids of the query table have blanks around them and others do not"],
        ),
        ({"rounded_ids": {"items: item id": 2}}, ["2 item ids of the item table are rounded numbers"]),
        ({"respelt_types": {"Buy": 1200}}, ["were read as its own: Buy 1,200."]),
        ({"ignored_types": {"scroll": 1, "hover": 3}}, ["4 events were ignored", "hover 3, scroll 1."]),
        ({"ignored_types": {f"t{n:02}": 1 for n in range(12)}}, ["t00 1, t01 1", "t09 1, ...."]),
    ],
    ids=["words", "two forms", "blanks", "rounded", "respelt", "ignored", "many"],
)
def test_what_is_probably_a_mistake_is_told(changes, parts):
    (warning,) = list_warnings(dataclasses.replace(GOOD, **changes), SPEC)
    for part in parts:
        assert part in warning


def test_a_sound_log_has_no_warning():
    assert list_warnings(GOOD, SPEC) == []
    recent = {"first": 31_556_952_000_000, "last": 1_600_000_000_000_000}
    assert list_warnings(dataclasses.replace(GOOD, times_us=recent), TIMED) == []
    alike = {"padded_ids": {"events: item id": 9}, "unpadded_ids": {"items: item id": 9, "events: query id": 9}}
    assert list_warnings(dataclasses.replace(GOOD, **alike), SPEC) == []


def test_times_of_1970_among_others_are_told():
    times = {"first": 1_600_000_000_000, "last": 1_600_000_000_000_000}
    (warning,) = list_warnings(dataclasses.replace(GOOD, times_us=times), TIMED)
    assert warning.startswith("some times lie in 1970, the first at 1970-01-19T12:26:40.000000Z, and others later")


@pytest.mark.parametrize(
    ("unit", "last", "advice"),
    [
        ("ms", 1_600_000_000 * 1_000, "set events.timestamp.unit to s, which gives 2020"),
        ("us", 1_600_000_000, "set events.timestamp.unit to s, which gives 2020"),
        ("us", 1_600_000_000_000, "set events.timestamp.unit to ms, which gives 2020"),
        ("s", 80_000_000, "check events.timestamp.unit"),
    ],
)
def test_a_log_of_1970_names_the_unit_that_is_meant(unit, last, advice):
    timestamp = {"column": "t", "unit": unit}
    spec = FeatureSpec.model_validate(
        {**TIMED.model_dump(), "events": {**TIMED.events.model_dump(), "timestamp": timestamp}}
    )
    summary = dataclasses.replace(GOOD, times_us={"first": 0, "last": last})
    (warning,) = list_warnings(summary, spec)
    assert warning.startswith("all times lie in 1970, the last at 1970-0")
    assert advice in warning
    with pytest.raises(LogError, match=advice):
        check_summary(dataclasses.replace(summary, splits={"train": 0, "eval": 0, "test": 80}), spec)
