"""The schemas that raw example files are checked against."""

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from recsys_ssl.features.schema import catalogue_schema, interactions_schema, is_multi_valued
from recsys_ssl.spec import FeatureSpec

FEATURES = [
    {"name": "product", "kind": "id"},
    {"name": "brand", "kind": "categorical", "min_presence": 0.5},
    {"name": "tags", "kind": "categorical", "multi_valued": True},
    {"name": "title", "kind": "text"},
    {"name": "price", "kind": "numeric", "min_presence": 1.0},
    {"name": "shape", "kind": "dense", "dim": 3},
]


def make_spec(time=True, impressions=(), same_as_items=False):
    label = {"event_type": "kind", "positive": {"buy": 1.0}, "impressions": list(impressions)} if impressions else {}
    events = {"paths": ["e.csv"], "query_id": "user", "item_id": "product", "label": label}
    queries = {"id": "user", "features": [{"name": "user", "kind": "id"}]}
    if time:
        events["timestamp"] = {"column": "time"}
        queries["features"].append({"name": "history", "kind": "item_sequence"})
    return FeatureSpec.model_validate(
        {
            "version": 1,
            "name": "shop",
            "events": events,
            "items": {"table": {"paths": ["i.csv"]}, "id": "product", "features": FEATURES},
            "queries": {"same_as_items": True} if same_as_items else queries,
            "split": {"kind": "time" if time else "random"},
        }
    )


def describe(schema):
    """name -> (type, least and most values of a record, least share of records)."""
    kind = schema_pb2.FeatureType.Name
    return {
        feature.name: (
            kind(feature.type),
            feature.value_count.min,
            feature.value_count.max or None,
            feature.presence.min_fraction if feature.HasField("presence") else None,
        )
        for feature in schema.feature
    }


def test_the_catalogue_has_its_bookkeeping_and_every_kind_of_feature():
    assert describe(catalogue_schema(make_spec())) == {
        "item_id": ("BYTES", 1, 1, 1.0),
        "item_row": ("INT", 1, 1, 1.0),
        "train_count": ("INT", 1, 1, 1.0),
        "product": ("BYTES", 0, 1, None),
        "brand": ("BYTES", 0, 1, 0.5),
        "tags": ("BYTES", 0, None, None),
        "title": ("BYTES", 0, 1, None),
        "price": ("FLOAT", 1, 1, 1.0),
        "shape": ("FLOAT", 0, None, None),
    }


def test_impressions_are_counted_only_where_the_log_has_them():
    assert describe(catalogue_schema(make_spec(impressions=["view"])))["impression_count"] == ("INT", 1, 1, 1.0)


def test_the_interactions_have_their_bookkeeping_and_query_features():
    assert describe(interactions_schema(make_spec())) == {
        "query_id": ("BYTES", 1, 1, 1.0),
        "item_id": ("BYTES", 1, 1, 1.0),
        "item_row": ("INT", 1, 1, 1.0),
        "example_weight": ("FLOAT", 1, 1, 1.0),
        "timestamp_us": ("INT", 1, 1, 1.0),
        "user": ("BYTES", 0, 1, None),
        "history": ("BYTES", 0, None, None),
        "seen_rows": ("INT", 0, None, None),
        "sequence_position": ("INT", 0, 1, None),
        "history_us": ("INT", 0, None, None),
    }


def test_queries_that_are_items_carry_their_row_and_a_log_without_time_no_time():
    columns = describe(interactions_schema(make_spec(time=False, same_as_items=True)))
    assert set(columns) == {"query_id", "item_id", "item_row", "example_weight", "query_row", "seen_rows"}
    assert columns["query_row"] == ("INT", 1, 1, 1.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("product", False), ("brand", False), ("tags", True), ("title", False), ("price", False), ("shape", True)],
)
def test_which_features_may_have_several_raw_values(name, expected):
    assert is_multi_valued(next(f for f in make_spec().item_features if f.name == name)) is expected


def test_a_sequence_has_several_raw_values():
    assert is_multi_valued(make_spec().item_sequences[0])
