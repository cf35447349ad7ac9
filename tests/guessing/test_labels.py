"""Which events are a choice, by the values of a column and its name."""

import pytest

from recsys_ssl.guessing.labels import guess_label, suggest_label
from tests.guessing.small_logs import table_of


def log_of(name, values):
    """A table of these values beside a query and an item."""
    return table_of(user=["u"] * len(values), item=["i"] * len(values), **{name: values})


def keys_of(name, values):
    label = guess_label(log_of(name, values), ["user", "item"], None)
    return label and label.keys


@pytest.mark.parametrize(
    ("values", "positive", "impressions"),
    [
        (["clicks", "carts", "orders"], ["carts", "clicks", "orders"], None),
        (["plays", "likes"], ["likes", "plays"], None),
        (
            ["Product Viewed", "Product Added", "Order Completed"],
            ["Order Completed", "Product Added", "Product Viewed"],
            None,
        ),
        (["like", "unliked", "un-like", "disliked"], ["like"], None),
        (["impressions", "clicks"], ["clicks"], ["impressions"]),
    ],
)
def test_event_types(values, positive, impressions):
    keys = keys_of("event", values)
    assert keys["positive"] == dict.fromkeys(positive, 1.0)
    assert keys.get("impressions") == impressions


@pytest.mark.parametrize(
    ("name", "values", "keys"),
    [
        ("liked", ["t", "f"], {"event_type": "liked", "positive": {"t": 1.0}}),
        ("liked", ["True", "true", "False"], {"event_type": "liked", "positive": {"True": 1.0, "true": 1.0}}),
        ("purchased", ["Y", "N"], {"event_type": "purchased", "positive": {"Y": 1.0}}),
        ("is_purchased", [0, 1], {"column": "is_purchased", "threshold": 1.0}),
        ("clicked", ["yes", "no"], {"event_type": "clicked", "positive": {"yes": 1.0}, "impressions": ["no"]}),
        ("vote", ["up", "down"], {"event_type": "vote", "positive": {"up": 1.0}}),
        ("dislike", [0, 1], {"event_type": "dislike", "positive": {"0": 1.0}}),
        ("skipped", ["true", "false"], {"event_type": "skipped", "positive": {"false": 1.0}}),
        ("not_liked", ["N", "Y"], {"event_type": "not_liked", "positive": {"N": 1.0}}),
        ("premium", ["Y", "N"], None),
        ("colour", ["up", "red"], None),
    ],
)
def test_flags(name, values, keys):
    assert keys_of(name, values) == keys


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        ([0.1, 0.35, 0.8, 0.97], 0.5),
        ([0.1, 0.2, 0.3, 0.4], (0.2 + 0.3) / 2),
        ([-1, 0, 1], 1.0),
        ([1, 2, 3, 3.5], 2.5),
        ([1, 2, 3, 4, 5], 4.0),
        ([-3, -2, -1], -1.0),
    ],
)
def test_some_record_reaches_the_threshold(values, threshold):
    keys = keys_of("score", values)
    assert keys["threshold"] == pytest.approx(threshold)
    assert keys["threshold"] <= max(values)


@pytest.mark.parametrize(
    ("name", "values", "keys"),
    [
        ("event", ["achat", "vue"], {"event_type": "event", "positive": {"achat": 1.0, "vue": 1.0}}),
        ("behavior_type", [1, 2, 3], {"event_type": "behavior_type", "positive": {"1": 1.0, "2": 1.0, "3": 1.0}}),
        ("vote", ["ja", "nein"], {"event_type": "vote", "positive": {"ja": 1.0, "nein": 1.0}}),
        ("score", [*range(0, 2001, 100)], {"column": "score", "threshold": 1000.0}),
        ("purchased", ["Y", ""], {"event_type": "purchased", "positive": {"Y": 1.0}}),
        ("premium", ["Y", ""], None),
        ("product_type", ["red", "blue"], None),
        ("colour", ["red", "blue"], None),
        ("event", ["achat"], None),
    ],
)
def test_what_is_not_understood_is_suggested(name, values, keys):
    assert keys_of(name, values) is None
    suggested = suggest_label(log_of(name, values), ["user", "item"])
    assert (suggested and suggested.keys) == keys
