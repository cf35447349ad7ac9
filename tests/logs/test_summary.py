"""Which logs can be used, and what is said of the others."""

import dataclasses
import re

import pytest

from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.summary import IngestSummary, check_summary, iso_time
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
    split_kind="random",
    cuts_us=None,
    cuts=None,
    num_items=5,
    num_queries=7,
    items_without_train=1,
    examples={"events: a": 'log.csv:3: "x"', "events: b": 'log.csv:9: "y"', "items: c": 'items.csv:2: "é"'},
)


def test_json_round_trip():
    assert IngestSummary.from_json(GOOD.to_json()) == GOOD


def test_iso_time():
    assert iso_time(86_400_000_000 + 1) == "1970-01-02T00:00:00.000001Z"


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
