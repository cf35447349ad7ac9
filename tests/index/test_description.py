"""What a SavedModel says of its own inputs."""

import json

import pytest
import tensorflow as tf

from recsys_ssl.index import description
from recsys_ssl.spec import FeatureSpec

INPUTS = {
    "recommend": {
        "k": tf.TensorSpec([None], tf.int32),
        "exclude": tf.TensorSpec([None, None], tf.string),
        "user": tf.TensorSpec([None], tf.string),
        "age": tf.TensorSpec([None], tf.float32),
        "history": tf.TensorSpec([None, None], tf.string),
        "history_us": tf.TensorSpec([None, None], tf.int64),
    },
    "embed_item": {"colour": tf.TensorSpec([None, 3], tf.float32)},
}


@pytest.fixture
def described(spec, tmp_path):
    values = spec.model_dump() | {"description": "Films of a club."}
    values["queries"]["features"][-1]["length"] = 7
    description.write(tmp_path, INPUTS, 1234, "exact", FeatureSpec.model_validate(values))
    return tmp_path


def test_inputs_are_described_as_the_spec_has_them(described):
    found = description.read(described)
    assert (found.name, found.num_items, found.max_k, found.search) == ("films", 1234, 10_000, "exact")
    inputs = {of_input.name: of_input for of_input in found.signatures["recommend"]}
    assert set(inputs) == set(INPUTS["recommend"])
    history = inputs["history"]
    assert (history.dtype, history.shape, history.kind, history.missing) == ("string", [-1, -1], "item_sequence", "")
    assert (history.length, history.order) == (7, "oldest first, newest last")
    assert (inputs["age"].kind, inputs["age"].missing) == ("numeric", "NaN")
    assert (inputs["k"].shape, inputs["k"].missing) == ([-1], None)
    assert (inputs["history_us"].kind, inputs["history_us"].missing) == ("time", -1)
    assert [(of.kind, of.shape) for of in found.signatures["embed_item"]] == [("dense", [-1, 3])]
    # Every parser reads it, so NaN is a text.
    json.loads((described / "assets.extra/description.json").read_text(), parse_constant=pytest.fail)


def test_the_card_has_a_row_for_each_input(described):
    card = (described / "assets.extra/README.md").read_text()
    assert card.startswith("# films\n\nFilms of a club.\n\nA two-tower recommender of 1,234 items")
    assert (
        "| `history` | string [any, any] | item_sequence | ids of the items that the query chose; "
        'oldest first, newest last; the last 7 are read | `""` |\n'
    ) in card
    assert "| `k` | int32 [any] | request | how many items, 1 to 10000 | never |\n" in card


def test_without_a_spec_types_and_shapes_are_known(tmp_path):
    description.write(tmp_path, INPUTS, 5, "exact", None)
    (colour,) = description.read(tmp_path).signatures["embed_item"]
    assert (colour.dtype, colour.shape, colour.kind) == ("float32", [-1, 3], "unknown")


def test_none_and_damaged_ones_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError):
        description.read(tmp_path)
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/description.json").write_text("{")
    with pytest.raises(ValueError, match=r"description\.json is damaged"):
        description.read(tmp_path)
