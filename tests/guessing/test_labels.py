"""Which events are a choice, by the values of a column and its name."""

import pandas as pd
import pyarrow as pa
import pytest

from recsys_ssl.guessing.columns import describe
from recsys_ssl.guessing.labels import guess_label
from recsys_ssl.guessing.sample import Sample
from recsys_ssl.guessing.tables import Table


def log_of(name, values):
    """A table of these values beside a query and an item."""
    values = list(map(str, values))
    frame = pd.DataFrame({"user": "u", "item": "i", name: values})
    table = pa.table({column: pa.array(frame[column], pa.large_string()) for column in frame})
    return Table(["log.csv"], ["log.csv"], Sample({}, table, {}, True), describe(table), [])


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
