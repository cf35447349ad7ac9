"""Specs as YAML for the tests of specs and of their files, and what loading them gives."""

import copy

import pytest
import yaml

from recsys_ssl.spec_files import SpecError, load_spec

# Line numbers matter to the tests: line 1 is `name`.
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
    - {name: product, kind: id}
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
