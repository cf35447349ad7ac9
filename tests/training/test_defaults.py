"""Settings of a log that nobody tuned for."""

import pytest

from recsys_ssl.settings import build
from recsys_ssl.training import defaults
from recsys_ssl.training.config import BY_LOG, StartConfig, TrainConfig
from recsys_ssl.training.defaults import LogFacts, choose, fit_to_log, measure, settle

SMALL = {
    "start.ids": "factors",
    "learning_rate": 0.03,
    "temperature": 0.2,
    "batch_size": 512,
    "ssl.batch_size": 256,
}
LARGE = {"steps": 2000, "start.ids": "factors", "learning_rate": 0.05, "temperature": 0.15}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (LogFacts(99_999, 11.9, 500.0), {}),
        (LogFacts(99_999, 500.0, 11.9), {}),
        (LogFacts(99_999, 12.0, 12.0), SMALL),
        (LogFacts(100_000, 12.0, 12.0), LARGE),
        (LogFacts(100_000, 3.0, 300.0), {"steps": 2000}),
        (LogFacts(20_000_000, None, None), {"steps": 2000}),
    ],
    ids=["rare_items", "rare_queries", "dense", "dense_and_large", "large", "too_large_to_count"],
)
def test_a_log_asks_for_what_its_size_and_its_ids_say(facts, expected):
    assert choose(facts, can_start=True) == expected
    fitted, taken = fit_to_log(TrainConfig(by_log=BY_LOG), facts, has_ids=True)
    assert taken == expected
    assert (fitted.steps, fitted.start.ids) == (expected.get("steps", 1000), expected.get("start.ids", "random"))
    assert fitted.by_log == ()


def test_what_is_not_left_to_the_log_stays():
    dense = LogFacts(50_000, 40.0, 40.0)
    assert fit_to_log(TrainConfig(), dense, has_ids=True) == (TrainConfig(), {})
    left = ("start.ids", "temperature", "ssl.batch_size")
    fitted, taken = fit_to_log(TrainConfig(learning_rate=0.1, by_log=left), dense, has_ids=True)
    assert taken == {"start.ids": "factors", "temperature": 0.2, "ssl.batch_size": 256}
    assert (fitted.learning_rate, fitted.temperature, fitted.ssl.batch_size) == (0.1, 0.2, 256)
    assert fitted.start.ids == "factors"


@pytest.mark.parametrize(
    ("settings", "has_ids", "starts"),
    [
        ({"by_log": BY_LOG}, True, True),
        ({"by_log": BY_LOG}, False, False),
        ({"by_log": BY_LOG, "hidden": (8,)}, True, False),
        ({"by_log": ("learning_rate",)}, True, False),
        ({"by_log": ("learning_rate",), "start": StartConfig("factors")}, True, True),
    ],
    ids=["ids", "no_ids", "hidden_layer", "random_start_chosen", "factors_chosen"],
)
def test_small_steps_are_for_ids_that_start_at_factors(settings, has_ids, starts):
    fitted, _ = fit_to_log(TrainConfig(**settings), LogFacts(50_000, 40.0, 40.0), has_ids)
    assert (fitted.start.ids, fitted.learning_rate) == (("factors", 0.03) if starts else ("random", 0.1))
    large, _ = fit_to_log(TrainConfig(by_log=BY_LOG), LogFacts(500_000, 40.0, 40.0), has_ids)
    assert large.steps == 2000


def test_what_a_search_found_is_not_left_to_the_log():
    settled = settle(TrainConfig(by_log=BY_LOG), {"learning_rate": 0.5, "ssl.batch_size": 100})
    fitted, taken = fit_to_log(settled, LogFacts(50_000, 40.0, 40.0), has_ids=True)
    assert (fitted.learning_rate, fitted.ssl.batch_size) == (0.5, 100)
    assert sorted(taken) == ["batch_size", "start.ids", "temperature"]


def test_only_known_settings_can_be_left_to_the_log():
    assert build("train", TrainConfig, {"by_log": ["steps"]}).by_log == ("steps",)
    with pytest.raises(ValueError, match=r"train\.by_log must be names of steps, .* Received: steps, hidden"):
        build("train", TrainConfig, {"by_log": ["steps", "hidden"]})


def test_the_typical_positive_is_counted(tmp_path, make_records, monkeypatch):
    from recsys_ssl import examples

    # Query a has three items, b and c one each; item 0 has three queries, 1 and 2 one each.
    events = [(b"a", 0), (b"a", 1), (b"a", 2), (b"b", 0), (b"c", 0)]
    columns = {"query_id": [[query] for query, _ in events], "item_row": [[item] for _, item in events]}
    columns["timestamp_us"] = [[]] * len(events)
    examples.write_shard(make_records(columns), str(tmp_path), "train", "part-0")
    facts = measure(str(tmp_path))
    assert facts == LogFacts(5, 3.0, 3.0)
    assert str(facts) == "5 positives, a typical one of an item with 3 and a query with 3"
    monkeypatch.setattr(defaults, "MOST", 4)
    assert measure(str(tmp_path)) == LogFacts(5, None, None)
    assert str(LogFacts(5, None, None)) == "5 positives"
