import json
import re

import pytest
from pydantic import ValidationError

from recsys_ssl.spec import RESERVED_NAMES, VOCABULARY_FEATURES, ColumnFeature, FeatureSpec
from tests.spec_texts import FULL, SMALL, changed, faults, load_text

# --- What a good spec means -------------------------------------------------------------------------------


def test_a_full_spec_is_read_as_written(tmp_path):
    spec = load_text(tmp_path, FULL)
    assert (spec.version, spec.name) == (1, "shop")
    assert (spec.events.delimiter, spec.events.timestamp.unit) == ("\t", "ms")
    assert spec.events.label.positive == {"buy": 3.0, "click": 1.0}
    assert [feature.name for feature in spec.query_features] == ["user", "history", "device"]
    assert [feature.kind for feature in spec.item_features] == ["id", "text", "categorical", "numeric", "dense"]
    assert [(sequence.name, sequence.length) for sequence in spec.item_sequences] == [("history", 5)]
    assert spec.item_id_feature.name == "product"
    assert spec.items.features[4].dim == 8
    assert spec.split.validation == 0.2


def test_the_defaults_of_a_small_spec(tmp_path):
    spec = load_text(tmp_path, SMALL)
    assert (spec.events.format, spec.events.delimiter, spec.events.header) == ("csv", ",", True)
    assert (spec.events.timestamp.unit, spec.events.deduplicate, spec.events.weight) == ("s", "event", None)
    assert (spec.events.label.column, spec.events.label.event_type, spec.events.label.impressions) == (None, None, [])
    assert (spec.split.kind, spec.split.validation, spec.split.test) == ("time", 0.1, 0.1)
    assert (spec.evaluation.mask_seen, spec.evaluation.group_by, spec.evaluation.slices) == (True, "query", [])
    assert spec.max_rejected_share == 0.01
    assert spec.item_sequences == ()


def test_the_column_of_a_feature_is_its_name_unless_given(tmp_path):
    spec = load_text(tmp_path, SMALL.replace("{name: item, kind: id}", "{name: film, column: item, kind: id}"))
    assert (spec.items.features[0].source_column, spec.queries.features[0].source_column) == ("item", "user")
    assert spec.item_id_feature.name == "film"


def test_only_an_id_on_the_catalogues_id_column_is_the_item_id_feature(tmp_path):
    items = {"table": {"paths": ["items.csv"]}, "id": "item", "features": [{"name": "code", "kind": "id"}]}
    spec = load_text(tmp_path, changed(SMALL, items=items))
    assert spec.item_id_feature is None
    with pytest.raises(ValueError, match="needs an item feature of kind id on column 'item'"):
        _ = spec.sequence_id_feature


def test_raw_values_are_lists_and_numbers_by_the_kind_of_their_feature(tmp_path):
    spec = load_text(tmp_path, FULL)
    features = (*spec.item_features, *spec.query_features)
    assert [f.name for f in features if f.is_list] == ["tags", "vector", "history"]
    assert [f.name for f in features if f.is_number] == ["price", "vector"]
    assert [f.name for f in features if not f.is_coded] == ["vector"]
    assert [f.name for f in features if not isinstance(f, ColumnFeature)] == ["history"]
    assert [f.name for f in features if isinstance(f, VOCABULARY_FEATURES)] == [
        "product",
        "title",
        "tags",
        "user",
        "device",
    ]
    assert [f.name for f in spec.event_features] == ["device"]
    assert spec.sequence_id_feature is spec.item_id_feature


def test_a_query_like_an_item_has_no_features_of_its_own(tmp_path):
    text = changed(SMALL, queries={"same_as_items": True}, events__timestamp=None, split={"kind": "random"})
    assert load_text(tmp_path, text).query_features == ()


def test_context_alone_is_enough_for_a_query(tmp_path):
    context = [{"name": "hour", "kind": "categorical"}]
    spec = load_text(tmp_path, changed(SMALL, queries=None, events__features=context))
    assert [feature.name for feature in spec.query_features] == ["hour"]


def test_a_spec_cannot_be_changed(tmp_path):
    spec = load_text(tmp_path, SMALL)
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"


@pytest.mark.parametrize("text", [FULL, SMALL], ids=["full", "small"])
def test_json_round_trip(tmp_path, text):
    spec = load_text(tmp_path, text)
    again = FeatureSpec.from_json(spec.to_json())
    assert again == spec
    assert again.to_json() == spec.to_json()
    assert type(again.item_features[0]) is type(spec.item_features[0])


def test_a_time_of_its_own_format_and_items_of_the_log_go_through_json(tmp_path):
    label = {"column": "stars", "threshold": 4.0}
    changes = {
        "events__timestamp": {"column": "t", "format": "%m/%d/%y %H:%M"},
        "events__label": label,
        "items__from_events": True,
        "items__features": [ID, {"name": "title", "kind": "text"}],
        "evaluation": {"mask_seen": False, "mask_disliked": True},
    }
    spec = load_text(tmp_path, changed(SMALL, **changes))
    assert FeatureSpec.from_json(spec.to_json()) == spec
    assert spec.evaluation.masks


def test_json_of_an_unknown_version_is_refused(tmp_path):
    values = json.loads(load_text(tmp_path, SMALL).to_json()) | {"version": 2}
    with pytest.raises(ValidationError, match="version"):
        FeatureSpec.from_json(json.dumps(values))


# --- Consistency: one row per rule ------------------------------------------------------------------------

TIMED = {"column": "time"}
ID = {"name": "item", "kind": "id"}
HISTORY = {"name": "history", "kind": "item_sequence"}
TABLE = {"paths": ["t.csv"]}
MOLECULE = {"name": "structure", "kind": "molecule"}
TAG = {"name": "tag", "kind": "categorical"}
BY_SCAFFOLD = {"kind": "item_group", "column": "scaffold"}
GIVEN = {"kind": "given", "test_paths": ["t.csv"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"events__header": False}, "without header needs its columns. Set columns"),
        ({"events__columns": ["a"]}, "columns may only be given for CSV with header: false"),
        ({"events__format": "jsonl", "events__columns": ["a"]}, "columns may only be given for CSV"),
        ({"events__label": {"column": "stars"}}, "column and threshold belong together"),
        ({"events__label": {"threshold": 3.0}}, "column and threshold belong together"),
        ({"events__label": {"event_type": "e"}}, "event_type and positive belong together"),
        ({"events__label": {"positive": {"buy": 1.0}}}, "event_type and positive belong together"),
        (
            {"events__label": {"column": "s", "threshold": 1.0, "event_type": "e", "positive": {"buy": 1.0}}},
            "a threshold or a set of event types. Remove one",
        ),
        ({"events__label": {"impressions": ["view"]}}, "impressions need event_type and positive"),
        ({"events__label": {"event_type": "e", "positive": {}}}, "at least one event type and weights above 0"),
        ({"events__label": {"event_type": "e", "positive": {"buy": 0.0}}}, "weights above 0"),
        (
            {"events__label": {"event_type": "e", "positive": {"buy": 1.0}, "impressions": ["buy"]}},
            r"positive or an impression. Received both for: \['buy'\]",
        ),
        (
            {"items__table": TABLE, "items__features": [ID, {"name": "t", "kind": "categorical", "separator": "|"}]},
            "a separator needs multi_valued: true",
        ),
        ({"items__features": [ID, ID]}, r"item feature names must be unique. Received twice: \['item'\]"),
        (
            {"events__features": [{"name": "user", "kind": "categorical"}]},
            r"query feature names must be unique. Received twice: \['user'\]",
        ),
        ({"items__features": []}, "at least 1 item"),
        ({"items__features": [ID, HISTORY]}, "item_sequence"),
        ({"events__features": [HISTORY]}, "an item_sequence is a feature of queries. Move it to queries.features"),
        (
            {"events__timestamp": None, "split": {"kind": "random"}, "queries__features": [HISTORY]},
            "an item_sequence needs events.timestamp",
        ),
        (
            {
                "items__table": TABLE,
                "items__features": [{"name": "x", "kind": "categorical"}],
                "queries__features": [HISTORY],
            },
            "an item_sequence needs an item feature of kind id on column 'item'",
        ),
        ({"queries__same_as_items": True}, "same_as_items takes the items' features. Remove"),
        ({"queries": {"same_as_items": True, "table": TABLE}}, "same_as_items takes the items' features"),
        (
            {"queries": {"same_as_items": True}, "events__features": [{"name": "hour", "kind": "categorical"}]},
            "same_as_items takes the items' features",
        ),
        ({"queries": None}, "the query needs at least one feature"),
        (
            {"items__features": [ID, {"name": "title", "kind": "text"}]},
            "without items.table only the id column is known. Add the table",
        ),
        (
            {"queries__features": [{"name": "age", "kind": "numeric"}]},
            "query feature 'age' reads column 'age', but there is no queries.table",
        ),
        ({"events__timestamp": None}, "a time split needs events.timestamp"),
        ({"split": {"kind": "random"}}, "a log with time is split by time, or the test leaks"),
        ({"split": BY_SCAFFOLD, "items__table": TABLE}, "or the test leaks. Remove split.kind: item_group"),
        ({"split": {"kind": "given"}}, r"^:\d+: split.kind: test_paths and kind: given belong together"),
        ({"split": {"test_paths": ["t.csv"]}}, r"^:\d+: split.kind: test_paths and kind: given belong together"),
        ({"split": {"validation_paths": ["v.csv"]}}, "split.validation_paths: only a given split has files. Set kind"),
        ({"split": {"validation": 0}}, "split.validation: only a given split may hold out nothing for validation"),
        ({"split": GIVEN | {"test": 0.1}}, "split.test: test_paths take the place of a share. Remove one of"),
        (
            {"split": GIVEN | {"validation": 0.1, "validation_paths": ["v.csv"]}},
            "split.validation: validation_paths take the place of a share. Remove one of",
        ),
        ({"split": GIVEN | {"test_paths": []}}, "split.test_paths: List should have at least 1 item"),
        ({"split": GIVEN | {"test_paths": ["../t.csv"]}}, r"split.test_paths.0: a path must stay within"),
        ({"split": GIVEN | {"column": "scaffold"}}, "column and kind: item_group belong together"),
        ({"split": {"kind": "item_group"}}, "column and kind: item_group belong together"),
        ({"split": {"column": "scaffold"}}, "column and kind: item_group belong together"),
        ({"events__timestamp": None, "split": BY_SCAFFOLD}, "an item_group split needs items.table"),
        (
            {
                "events__timestamp": None,
                "split": BY_SCAFFOLD,
                "items__table": TABLE,
                "queries": {"same_as_items": True},
            },
            "an item_group split needs queries that are no items",
        ),
        ({"events__features": [MOLECULE]}, "content of kind molecule is a feature of items. Move it to items.features"),
        (
            {"queries__table": TABLE, "queries__features": [ID, MOLECULE]},
            "content of kind molecule is a feature of items. Move it to items.features",
        ),
        (
            {"items__features": [ID, MOLECULE | {"column": "item"}]},
            "without items.table only the id column is known. Add the table",
        ),
        (
            {"items__table": TABLE, "items__features": [ID, MOLECULE], "items__title": "structure"},
            "items.title must name an item feature that is text. Received: 'structure'",
        ),
        ({"items__features": [ID, MOLECULE | {"hidden_dim": 64}]}, "hidden_dim: unknown key"),
        ({"evaluation": {"slices": ["age"]}}, r"slices must be categorical query features. Received: \['age'\]"),
        (
            {"queries__features": [{"name": "user", "kind": "text"}], "evaluation": {"slices": ["user"]}},
            "slices must be categorical query features",
        ),
        ({"evaluation": {"cluster_by": "item"}}, "cluster_by must be a categorical item feature. Received: 'item'"),
        ({"evaluation": {"cluster_by": "genre"}}, "cluster_by must be a categorical item feature. Received: 'genre'"),
        ({"items__title": "title"}, "items.title must name an item feature that is text. Received: 'title'"),
        (
            {
                "items__features": [ID, {"name": "year", "kind": "numeric"}],
                "items__table": TABLE,
                "items__title": "year",
            },
            "items.title must name an item feature that is text. Received: 'year'",
        ),
        (
            {"items__features": [{**ID, "min_count": 2}]},
            r"items.features.0.min_count: each item is once in the catalogue",
        ),
        (
            {"queries__features": [{"name": "age", "column": "user", "kind": "numeric"}]},
            "queries.features.0: 'age' reads the query's id, which is one text",
        ),
        (
            {"items__features": [ID, {"name": "parts", "column": "item", "kind": "categorical", "multi_valued": True}]},
            "items.features.1: 'parts' reads the item's id, which is one text",
        ),
        ({"events__timestamp": {"column": "t", "unit": "ms", "format": "%Y%m%d"}}, "takes the place of the unit"),
        ({"events__timestamp": {"column": "t", "format": "%d/%m %H:%M"}}, "must read year, month and day"),
        ({"events__timestamp": {"column": "t", "format": "dd/MM/yyyy"}}, "must read year, month and day"),
        ({"events__timestamp": {"column": "t", "format": "%Y-%m-%d %Q"}}, "'%Y-%m-%d %Q' is no strptime format"),
        ({"events__timestamp": {"column": "t", "format": "%Y-%m-%d %d"}}, "is no strptime format"),
        ({"events__decimal": ",", "events__thousands": ","}, "decimal and thousands must differ"),
        ({"events__escape": ","}, "escape must differ from delimiter and comment. Received twice: ','"),
        ({"events__escape": "#", "events__comment": "#"}, "escape must differ from delimiter and comment"),
        ({"events__escape": '"'}, "a delimiter, escape or comment holds no line end, NUL or quotation mark"),
        (
            {"events__escape": "\\", "events__quoting": "none"},
            "escape is for quotation marks, which quoting: none makes",
        ),
        ({"events__explode": {"column": "item", "into": ["a"]}}, "into and part_separator belong together"),
        (
            {"events__explode": {"column": "c", "into": ["a", "a"], "part_separator": "-"}},
            "into names each part once",
        ),
        (
            {"events__explode": {"column": "shown", "separator": " "}},
            r"^:10: events.explode.column: explode makes a record of each element of 'shown', of which nothing is read",
        ),
        (
            {"events__explode": {"column": "shown", "into": ["a", "b"], "part_separator": "-"}},
            r"^:10: events.explode.column: .* Read the column or one of `into`, or remove explode",
        ),
        (
            {"items__table": {**TABLE, "explode": {"column": "tags"}}, "items__features": [ID]},
            r"^:\d+: items.table.explode.column: explode makes a record of each element of 'tags'",
        ),
        ({"items__from_events": True, "items__table": TABLE}, "items come from a table or from the events"),
        ({"items__from_events": True, "items__id": "other"}, "items from the events have their id. Set items.id: item"),
        ({"evaluation": {"mask_disliked": True}}, "mask_disliked needs ratings. Give label.column"),
    ],
)
def test_a_contradiction_is_refused(tmp_path, changes, message):
    (line,) = faults(tmp_path, changed(SMALL, **changes))
    assert re.search(message, line), line
    assert re.match(r":\d+: ", line), line


@pytest.mark.parametrize(
    "changes",
    [
        {"events__explode": {"column": "item"}},
        {"events__explode": {"column": "shown", "into": ["item", "x"], "part_separator": "-"}},
        {"events__explode": {"column": "lines"}, "events__item_id": "lines.sku"},
        {"events__explode": {"column": "t"}, "events__timestamp": {"column": "t"}},
        {"events__explode": {"column": "w"}, "events__weight": "w"},
        {"events__explode": {"column": "r"}, "events__label": {"column": "r", "threshold": 1}},
        {"events__explode": {"column": "e"}, "events__label": {"event_type": "e", "positive": {"buy": 1.0}}},
        {"events__explode": {"column": "hour"}, "events__features": [{"name": "hour", "kind": "categorical"}]},
        {"events__explode": {"column": "tag"}, "items__from_events": True, "items__features": [ID, TAG]},
        {"items__table": {**TABLE, "explode": {"column": "item"}}},
        {"queries__table": {**TABLE, "explode": {"column": "tag"}}, "queries__features": [TAG]},
    ],
)
def test_each_column_that_is_read_may_be_exploded(tmp_path, changes):
    load_text(tmp_path, changed(SMALL, **changes))


@pytest.mark.parametrize("timestamp", [{"column": "time"}, None], ids=["with time", "without"])
@pytest.mark.parametrize(
    ("keys", "has_validation"),
    [({}, True), ({"validation": 0.05}, True), ({"validation": 0}, False), ({"validation_paths": ["v.csv"]}, True)],
    ids=["share of the default", "share", "none", "files"],
)
def test_a_split_may_be_given_by_files(tmp_path, keys, has_validation, timestamp):
    spec = load_text(tmp_path, changed(SMALL, split=GIVEN | keys, events__timestamp=timestamp))
    assert (spec.split.test_paths, spec.split.has_validation) == (["t.csv"], has_validation)
    assert FeatureSpec.from_json(spec.to_json()) == spec


def test_a_spec_as_json_says_nothing_of_files_that_are_not_given(tmp_path):
    split = json.loads(load_text(tmp_path, SMALL).to_json())["split"]
    assert split == {"kind": "time", "validation": 0.1, "test": 0.1, "seed": 0, "column": None}


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
@pytest.mark.parametrize("side", ["items", "queries"])
def test_the_columns_of_ingestion_are_no_feature_names(tmp_path, side, name):
    column = {"items": "item", "queries": "user"}[side]
    text = changed(SMALL, **{f"{side}__features": [{"name": name, "column": column, "kind": "id"}]})
    (line,) = faults(tmp_path, text)
    assert f"feature names ['{name}'] are reserved. Rename them and set their column." in line


def test_slices_of_same_as_items_are_item_features(tmp_path):
    changes = {"queries": {"same_as_items": True}, "items__table": TABLE}
    features = [ID, {"name": "section", "kind": "categorical"}, {"name": "words", "kind": "text"}]
    text = changed(SMALL, **changes, items__features=features, evaluation={"slices": ["section"]})
    assert load_text(tmp_path, text).evaluation.slices == ["section"]
    (line,) = faults(tmp_path, text.replace("- section", "- words"))
    assert "Received: ['words']" in line


def test_a_csv_without_header_is_read_by_its_columns(tmp_path):
    columns = ["user", "item", "time"]
    spec = load_text(tmp_path, changed(SMALL, events__header=False, events__columns=columns))
    assert spec.events.columns == columns


def test_clusters_are_by_an_item_feature_and_in_the_json_only_where_they_are_asked_for(tmp_path):
    features = [ID, {"name": "section", "kind": "categorical"}]
    text = changed(SMALL, items__table=TABLE, items__features=features, evaluation={"cluster_by": "section"})
    spec = load_text(tmp_path, text)
    assert FeatureSpec.from_json(spec.to_json()).evaluation.cluster_by == "section"
    without = load_text(tmp_path, SMALL)
    assert without.evaluation.cluster_by is None
    assert "cluster_by" not in without.to_json()
