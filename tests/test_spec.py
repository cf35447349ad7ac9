import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from recsys_ssl.datasets.sources import DATASETS
from recsys_ssl.spec import (
    RESERVED_NAMES,
    VOCABULARY_FEATURES,
    ColumnFeature,
    FeatureSpec,
    SpecError,
    json_schema,
    load_spec,
)

SPECS = Path(__file__).parent.parent / "feature_specs"

# Line numbers matter to the tests below: line 1 is `name`.
FULL = """\
name: shop
description: everything a spec can say
events:
  paths: [events-*.csv.gz]
  delimiter: "\\t"
  query_id: user
  item_id: product
  timestamp: {column: at, unit: ms}
  label:
    event_type: action
    positive: {buy: 3.0, click: 1.0}
    impressions: [view]
  weight: share
  features:
    - {name: device, kind: categorical}
items:
  table:
    paths: [products.jsonl]
    format: jsonl
  id: product
  title: title
  features:
    - {name: product, kind: id, min_count: 2}
    - {name: title, kind: text, ngrams: 2}
    - {name: tags, kind: categorical, multi_valued: true, separator: "|"}
    - {name: price, kind: numeric, buckets: 20, min_presence: 0.5}
    - name: vector
      kind: dense
      dim: 8
queries:
  table: {paths: [users.parquet], format: parquet}
  id: user
  features:
    - {name: user, kind: id}
    - {name: history, kind: item_sequence, length: 5}
split: {validation: 0.2, test: 0.1}
evaluation:
  slices: [device]
"""
SMALL = """\
name: small
events:
  paths: [log.csv]
  query_id: user
  item_id: item
  timestamp: {column: time}
items:
  id: item
  features:
    - {name: item, kind: id}
queries:
  id: user
  features:
    - {name: user, kind: id}
"""


def load_text(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)


def faults(tmp_path, text):
    """The lines of the error, each without the path of the file."""
    with pytest.raises(SpecError) as error:
        load_text(tmp_path, text)
    lines = str(error.value).splitlines()
    assert all(line.startswith(str(tmp_path / "spec.yaml")) for line in lines)
    return [line.removeprefix(str(tmp_path / "spec.yaml")) for line in lines]


def changed(text, **changes):
    """The spec `text` with the keys of `changes` set; `events__label` means events.label, None removes."""
    values = yaml.safe_load(text)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = values
        for parent in parents:
            node = node.setdefault(parent, {})
        if value is None:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return yaml.safe_dump(values, sort_keys=False)


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


# --- Errors name the line, the key, what came and what to do ----------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("weight: share", "wieght: share", ":13: events.wieght: unknown key. Check its spelling or remove it."),
        ("name: shop", "name: My Shop", ":1: name: String should match pattern .* Received: 'My Shop'."),
        ("ngrams: 2", "ngrams: 9", ":24: items.features.1.ngrams: .*less than or equal to 4. Received: 9."),
        ("ngrams: 2", 'ngrams: "2"', ":24: items.features.1.ngrams: .*valid integer. Received: '2'."),
        ("dim: 8", "dim: 0", ":29: items.features.4.dim: .*greater than or equal to 1. Received: 0."),
        ("kind: dense", "kind: dens", ":27: items.features.4: .*'dens'.*'dense'"),
        ("unit: ms", "unit: minutes", ":8: events.timestamp.unit: .*'s', 'ms', .* Received: 'minutes'."),
        ("format: jsonl", "format: xml", ":19: items.table.format: .*'parquet'. Received: 'xml'."),
        ("test: 0.1", "test: 0.6", ":36: split.test: .*less than 0.5. Received: 0.6."),
        ("test: 0.1", "test: 0", ":36: split.test: .*greater than 0"),
        ("  item_id: product\n", "", ":3: events.item_id: Field required."),
        ("min_presence: 0.5", "min_presence: 1.5", ":26: items.features.3.min_presence: .* Received: 1.5."),
        ('delimiter: "\\t"', 'delimiter: "a\\n"', ":5: events.delimiter: .*holds no line end"),
        ("paths: [products.jsonl]", "paths: []", ":18: items.table.paths: .*at least 1 item"),
        (
            "buy: 3.0",
            "1: 3.0",
            ":11: events.label.positive.1: this must be a text, and YAML takes it for a number. Quote it. Received: 1.",
        ),
        ("item_id: product", "item_id: no", ":7: events.item_id: .* for true or false. Quote it. Received: False."),
        ("item_id: product", "item_id: ~", ":7: events.item_id: .* for nothing. Quote it. Received: None."),
        (
            "weight: share",
            "missing: [0.0]",
            ":13: events.missing.0: .* takes it for a number. Quote it. Received: 0.0.",
        ),
        ("item_id: product", "item_id: [a]", ":7: events.item_id: Input should be a valid string"),
        ("buy: 3.0", "buy: lots", ":11: events.label.positive.buy: .*number. Received: 'lots'."),
        ("{name: user, kind: id}", "{name: 1user, kind: id}", ":34: queries.features.0.name: .* Received: '1user'."),
        ("{name: price, kind: numeric", "{name: price, kind: image", ":26: items.features.3: .*not yet available"),
        ("description: everything", "version: 2\ndescription: x", ":2: version: Input should be 1. Received: 2."),
    ],
)
def test_a_fault_names_line_key_and_what_came(tmp_path, old, new, fault):
    assert FULL.count(old) == 1
    (line,) = faults(tmp_path, FULL.replace(old, new))
    assert re.match(fault, line), line


def test_every_fault_has_its_own_line(tmp_path):
    lines = faults(tmp_path, FULL.replace("ngrams: 2", "ngrams: 9").replace("dim: 8", "dim: 0"))
    assert [line.split(":")[1] for line in lines] == ["24", "29"]


def test_a_reserved_kind_says_not_yet(tmp_path):
    text = SMALL.replace("{name: user, kind: id}", "{name: picture, kind: image, size: 3}")
    (line,) = faults(tmp_path, text)
    message = "kind 'image' is reserved and not yet available. Remove feature 'picture'."
    assert line == f":14: queries.features.0: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", r":1: this is not valid YAML: .* Mend the syntax."),
        ("a: 1\n\tb: 2\n", r":2: this is not valid YAML: .*"),
        ("- a\n- b\n", r":1: a spec is a mapping of keys. Received: list."),
        ("", r":1: a spec is a mapping of keys. Received: nothing."),
    ],
    ids=["open-bracket", "tab", "list", "empty"],
)
def test_what_is_no_mapping_is_one_line(tmp_path, text, message):
    (line,) = faults(tmp_path, text)
    assert re.fullmatch(message, line), line


def test_a_missing_file_and_a_directory_are_one_line(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(SpecError, match=re.escape(f"{path}: the spec cannot be read")) as error:
            load_spec(path)
        assert "\n" not in str(error.value)


def test_a_binary_file_is_one_line(tmp_path):
    (tmp_path / "spec.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "spec.yaml")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("description: everything", 'description: "\\ud800', ":2: a text must be without NUL"),
        ("description: everything", "version: 2001-02-30\ndescription: x", ":2: version: Input should be 1"),
        ("dim: 8", "dim: 100000000000", ":29: items.features.4.dim: .*less than or equal to 65536"),
        ("length: 5", "length: 99999999999", ":35: queries.features.1.length: .*less than or equal to 10000"),
        ("min_count: 2", "min_count: 10000000000", ":23: items.features.0.min_count: .*less than or equal to"),
        ("ngrams: 2", "max_words: 99999999", ":24: items.features.1.max_words: .*less than or equal to 10000"),
        ("ngrams: 2", "vocabulary_size: 9999999999", ":24: items.features.1.vocabulary_size: .*less than or equal"),
        ("min_count: 2", "oov_buckets: 9999999999", ":23: items.features.0.oov_buckets: .*less than or equal"),
        ("buckets: 20", "buckets: 1001", ":26: items.features.3.buckets: .*less than or equal to 1000"),
        ("buy: 3.0", "buy: 1.0e+30", ":9: events.label: weights are at most 1,000,000"),
        ("name: shop", f"name: {'a' * 101}", ":1: name: String should have at most 100 characters"),
        ("{name: device,", f"{{name: {'d' * 101}, column: device,", ":15: .*at most 100 characters"),
        ('"\\t"', '"\\t"\n  comment: "\\t"', ":3: events: comment and delimiter must differ"),
        ("[events-*.csv.gz]", f"['{'*a' * 30}']", ":3: events: a path has at most 12 `[*]`"),
        ("slices: [device]", "slices: [device, device]", ":1: spec: evaluation.slices names each feature once"),
        ("kind: dense", 'kind: "\\e[31m\\u202e"', r":27: .*'\\u202e\\x1b|:27: .*\\x1b\[31m\\u202e"),
        ("test: 0.1", "test: 0.1, seed: 99999999999999999999", ":36: split.seed: "),
    ],
)
def test_what_no_run_could_have_is_refused_at_once(tmp_path, old, new, fault):
    assert FULL.count(old) == 1
    line, *others = faults(tmp_path, FULL.replace(old, new))
    assert re.match(fault, line), line
    assert others == []
    assert line.isprintable()
    assert len(line) < 400


@pytest.mark.parametrize("name", ["k", "exclude", "self"])
def test_inputs_of_recommend_are_no_names_of_query_features(tmp_path, name):
    (line,) = faults(tmp_path, FULL.replace("{name: user, kind", f"{{name: {name}, column: user, kind"))
    assert line.startswith(f":34: queries.features.0.name: query feature names ['{name}'] are reserved. Rename them")
    # Items have no such inputs of their own, unless they are the queries.
    text = FULL.replace("{name: price, kind", f"{{name: {name}, column: price, kind")
    if name == "self":
        assert "item feature names ['self'] are reserved" in faults(tmp_path, text)[0]
    else:
        assert load_text(tmp_path, text).items.features[3].name == name
        text = changed(text, queries={"same_as_items": True}, events__features=None, evaluation=None)
        assert f"item feature names ['{name}'] are reserved" in faults(tmp_path, text)[0]


def test_names_that_differ_in_case_alone_would_share_a_file(tmp_path):
    (line,) = faults(tmp_path, FULL.replace("{name: price, kind", "{name: Title, column: price, kind"))
    message = "item feature names must differ in more than case. Received: ['Title', 'title']. Rename one."
    assert line == f":26: items.features.3.name: {message}"


def test_of_many_faults_the_first_ten_are_told(tmp_path):
    lines = faults(tmp_path, FULL + "".join(f"x{i}: 1\n" for i in range(30)))
    assert len(lines) == 11
    assert lines[0] == ":39: x0: unknown key. Check its spelling or remove it. Received: 1."
    assert lines[-1] == ": and 20 more faults."


# --- Consistency: one row per rule ------------------------------------------------------------------------

TIMED = {"column": "time"}
ID = {"name": "item", "kind": "id"}
HISTORY = {"name": "history", "kind": "item_sequence"}
TABLE = {"paths": ["t.csv"]}
MOLECULE = {"name": "structure", "kind": "molecule"}
BY_SCAFFOLD = {"kind": "item_group", "column": "scaffold"}


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
        ({"events__features": [MOLECULE]}, "a molecule is a feature of items. Move it to items.features"),
        (
            {"queries__table": TABLE, "queries__features": [ID, MOLECULE]},
            "a molecule is a feature of items. Move it to items.features",
        ),
        (
            {"items__features": [ID, MOLECULE | {"column": "item"}]},
            "without items.table only the id column is known. Add the table",
        ),
        (
            {"items__table": TABLE, "items__features": [ID, MOLECULE], "items__title": "structure"},
            "items.title must name an item feature. Received: 'structure'",
        ),
        ({"items__features": [ID, MOLECULE | {"hidden_dim": 64}]}, "hidden_dim: unknown key"),
        ({"evaluation": {"slices": ["age"]}}, r"slices must be categorical query features. Received: \['age'\]"),
        (
            {"queries__features": [{"name": "user", "kind": "text"}], "evaluation": {"slices": ["user"]}},
            "slices must be categorical query features",
        ),
        ({"items__title": "title"}, "items.title must name an item feature. Received: 'title'"),
        ({"events__timestamp": {"column": "t", "unit": "ms", "format": "%Y%m%d"}}, "takes the place of the unit"),
        ({"events__timestamp": {"column": "t", "format": "%d/%m %H:%M"}}, "must read year, month and day"),
        ({"events__timestamp": {"column": "t", "format": "dd/MM/yyyy"}}, "must read year, month and day"),
        ({"events__timestamp": {"column": "t", "format": "%Y-%m-%d %Q"}}, "'%Y-%m-%d %Q' is no strptime format"),
        ({"events__timestamp": {"column": "t", "format": "%Y-%m-%d %d"}}, "is no strptime format"),
        ({"events__decimal": ",", "events__thousands": ","}, "decimal and thousands must differ"),
        ({"events__explode": {"column": "item", "into": ["a"]}}, "into and part_separator belong together"),
        (
            {"events__explode": {"column": "c", "into": ["a", "a"], "part_separator": "-"}},
            "into names each part once",
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


# --- The specs that ship ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_spec_loads_is_named_as_its_file_and_names_its_schema(path):
    spec = load_spec(path)
    assert spec.name == path.stem
    assert FeatureSpec.from_json(spec.to_json()) == spec
    first, *head = path.read_text(encoding="utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=schema.json"
    comment = "\n".join(line for line in head if line.startswith("#"))
    assert re.search(r"`recsys-ssl data (\S+) --to DIR", comment)[1] in DATASETS


def test_every_data_set_that_can_be_had_has_a_spec():
    assert {path.stem for path in SPECS.glob("*.yaml")} >= set(DATASETS)


def test_the_schema_file_is_current():
    message = "write recsys_ssl.spec.json_schema() into feature_specs/schema.json (make schema)"
    assert (SPECS / "schema.json").read_text(encoding="utf-8") == json_schema(), message


def test_the_schema_knows_kinds_defaults_and_strictness():
    schema = json.loads(json_schema())
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == ["events", "items", "name"]
    kinds = schema["$defs"]["Events"]["properties"]["features"]["items"]["discriminator"]["mapping"]
    assert set(kinds) == {"id", "categorical", "text", "numeric", "dense", "item_sequence", "molecule", "image"}
    assert schema["$defs"]["Split"]["properties"]["kind"]["default"] == "time"


def test_a_repeated_key_is_an_error(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("version: 1\nname: a\nname: b\n")
    with pytest.raises(SpecError, match=r"twice.yaml:3: a key may be given once. Received twice: 'name'"):
        load_spec(path)
