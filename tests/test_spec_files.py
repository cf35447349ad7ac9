import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from recsys_ssl import kinds
from recsys_ssl.datasets.sources import DATASETS
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.spec_files import SpecError, json_schema, load_spec
from tests.spec_texts import FULL, changed, faults, load_text

SPECS = Path(__file__).parent.parent / "feature_specs"

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
        ("{name: price, kind: numeric", "{name: price, kind: film", ":26: items.features.3: Input tag 'film' found"),
        ("description: everything", "version: yes\ndescription: x", ":2: version: this must be a whole number"),
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


@pytest.fixture
def picky_kind(monkeypatch):
    """Molecules whose columns have settings, as other kinds have."""

    @dataclasses.dataclass(frozen=True)
    class ColumnConfig:
        reads_bytes: ClassVar[bool] = False
        side: int = 3
        name: str = "{}"

        def __post_init__(self):
            if self.side < 1:
                raise ValueError(f"side must be at least 1. Received: side={self.side}.")

    parts = {"reading": SimpleNamespace(ColumnConfig=ColumnConfig)}
    monkeypatch.setattr(kinds, "find", lambda kind, part: parts.get(part))
    return ColumnConfig


def with_feature(feature):
    """FULL with a feature in place of items.features.2, on line 25."""
    (old,) = re.findall(r"    - \{name: tags.*\n", FULL)
    return FULL.replace(old, f"    - {feature}\n")


def test_keys_of_a_content_feature_are_those_of_its_kind(tmp_path, picky_kind):
    spec = load_text(tmp_path, with_feature("{name: shape, kind: molecule, column: s, side: 5}"))
    (feature,) = [feature for feature in spec.item_features if feature.is_content]
    assert feature.column_config == picky_kind(side=5)
    assert feature.source_column == "s"
    assert FeatureSpec.from_json(spec.to_json()) == spec
    assert "side" in spec.to_json()


def test_the_schema_has_the_keys_of_all_kinds(picky_kind):
    content = json.loads(json_schema())["$defs"]["ContentFeature"]
    assert content["additionalProperties"] is False
    assert content["properties"]["side"]["type"] == "integer"


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ("size: 5", "items.features.2.size: unknown key. Check its spelling or remove it."),
        ("side: wide", "items.features.2.side: Input should be a valid integer. Received: 'wide'."),
        ("side: true", "items.features.2.side: Input should be a valid integer. Received: True."),
        ("side: 0", "items.features.2: side must be at least 1. Received: side=0."),
    ],
)
def test_a_faulty_key_of_a_kind_is_told(tmp_path, picky_kind, keys, fault):
    (line,) = faults(tmp_path, with_feature("{name: shape, kind: molecule, " + keys + "}"))
    assert line == f":25: {fault}"


def test_a_kind_without_settings_has_no_further_key(tmp_path):
    (line,) = faults(tmp_path, with_feature("{name: shape, kind: molecule, size: 3}"))
    assert line.endswith(": items.features.2.size: unknown key. Check its spelling or remove it.")


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
        (
            "product, kind: id}",
            "product, kind: id, min_count: 10000000000}",
            ":23: items.features.0.min_count: .*less than or equal to",
        ),
        ("ngrams: 2", "max_words: 99999999", ":24: items.features.1.max_words: .*less than or equal to 10000"),
        ("ngrams: 2", "vocabulary_size: 9999999999", ":24: items.features.1.vocabulary_size: .*less than or equal"),
        (
            "product, kind: id}",
            "product, kind: id, oov_buckets: 9999999999}",
            ":23: items.features.0.oov_buckets: .*less than or equal",
        ),
        ("buckets: 20", "buckets: 1001", ":26: items.features.3.buckets: .*less than or equal to 1000"),
        ("buy: 3.0", "buy: 1.0e+30", ":9: events.label: weights are at most 1,000,000"),
        ("name: shop", f"name: {'a' * 101}", ":1: name: String should have at most 100 characters"),
        ("{name: device,", f"{{name: {'d' * 101}, column: device,", ":15: .*at most 100 characters"),
        ('"\\t"', '"\\t"\n  comment: "\\t"', ":3: events: comment and delimiter must differ"),
        ("[events-*.csv.gz]", f"['{'*a' * 30}']", ":4: events.paths.0: a path has at most 12 `[*]`"),
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


def test_a_repeated_key_is_an_error(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("version: 1\nname: a\nname: b\n")
    with pytest.raises(SpecError, match=r"twice.yaml:3: a key may be given once. Received twice: 'name'"):
        load_spec(path)


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
    message = "write recsys_ssl.spec_files.json_schema() into feature_specs/schema.json (make schema)"
    assert (SPECS / "schema.json").read_text(encoding="utf-8") == json_schema(), message


def test_the_schema_knows_kinds_defaults_and_strictness():
    schema = json.loads(json_schema())
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == ["events", "items", "name"]
    mapping = schema["$defs"]["Events"]["properties"]["features"]["items"]["discriminator"]["mapping"]
    assert set(mapping) == {"id", "categorical", "text", "numeric", "dense", "item_sequence", *kinds.KINDS}
    assert schema["$defs"]["Split"]["properties"]["kind"]["default"] == "time"
