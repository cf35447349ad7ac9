"""What a servable model takes and gives, within its SavedModel: for programs, and for people.

    assets.extra/description.json   see `Description`
    assets.extra/README.md          the model card: the same as a page

TensorFlow and TensorFlow Serving leave `assets.extra` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

import recsys_ssl
from recsys_ssl import artifacts
from recsys_ssl.spec import TIME_INPUTS, Feature, FeatureSpec, ItemSequenceFeature

MAX_K = 10_000
"""The most items that a model recommends for one query."""
EXTRA_DIR = "assets.extra"
DESCRIPTION_FILE, CARD_FILE = "description.json", "README.md"

_MISSING: dict[tf.DType, str | int] = {tf.string: "", tf.int64: -1, tf.float32: "NaN"}


@dataclass(frozen=True)
class Input:
    """One input of a signature."""

    name: str
    dtype: str
    shape: list[int]
    """-1 for what a request chooses; the first is the number of queries, or of items."""
    kind: str
    """As in the feature spec; `request` for what is no feature."""
    meaning: str
    missing: str | int | None
    """What stands for a missing value, and pads shorter lists; NaN as text. None: it cannot be missing."""
    length: int | None = None
    """Of a list: values beyond the last `length` are not read. None where all are, and without a spec."""
    order: str | None = None


@dataclass(frozen=True)
class Description:
    """Of a servable model (description.json)."""

    name: str
    version: str
    """Of the library that wrote it."""
    num_items: int
    max_k: int
    search: str
    score: str
    signatures: dict[str, list[Input]]
    outputs: dict[str, str]
    """Of `recommend`."""


def write(
    model_dir: str | Path,
    inputs: Mapping[str, Mapping[str, tf.TensorSpec]],
    num_items: int,
    search: str,
    spec: FeatureSpec | None,
) -> None:
    """Writes the description and the card of a SavedModel.

    Args:
        inputs: signature -> name -> dtype and shape.
        search: how the index finds the best.
        spec: says what the features mean; without it there are dtypes and shapes.
    """
    signatures = {
        signature: [_describe(name, of_input, spec, signature) for name, of_input in sorted(of_signature.items())]
        for signature, of_signature in inputs.items()
    }
    description = Description(
        name="recommender" if spec is None else spec.name,
        version=recsys_ssl.__version__,
        num_items=num_items,
        max_k=MAX_K,
        search=search,
        score="dot product of query and item embeddings; more is better",
        signatures=signatures,
        outputs={
            "item_ids": 'string [num_queries, max k], best first; "" where nothing is left',
            "scores": f"float32 [num_queries, max k]; {tf.float32.min:.7g}, the lowest, where nothing is left",
        },
    )
    extra = Path(model_dir, EXTRA_DIR)
    artifacts.write_text(extra / DESCRIPTION_FILE, artifacts.to_json(description))
    artifacts.write_text(extra / CARD_FILE, to_card(description, "" if spec is None else spec.description))


def read(model_dir: str | Path) -> Description:
    """The description of a SavedModel.

    Raises:
        FileNotFoundError: it has none.
        DamagedError: it cannot be read.
    """
    path = Path(model_dir, EXTRA_DIR, DESCRIPTION_FILE)
    text = artifacts.read_text(path)
    with artifacts.reading(path):
        return artifacts.from_json(Description, text)


def _describe(name: str, of_input: tf.TensorSpec, spec: FeatureSpec | None, signature: str) -> Input:
    shape = [-1 if size is None else size for size in of_input.shape]
    facts: dict[str, Any] = {"name": name, "dtype": of_input.dtype.name, "shape": shape}
    if signature == "recommend" and name == "k":
        return Input(**facts, kind="request", meaning=f"how many items, 1 to {MAX_K}", missing=None)
    if signature == "recommend" and name == "exclude":
        return Input(**facts, kind="request", meaning="ids of items to leave out", missing="")
    missing = _MISSING[of_input.dtype]
    if name in TIME_INPUTS:
        meaning = "when the query asks" if len(shape) == 1 else "when it chose the items of its history"
        order = None if len(shape) == 1 else "that of the history, newest last"
        return Input(
            **facts, kind="time", meaning=f"{meaning}, in microseconds since 1970", missing=missing, order=order
        )
    is_of_items = spec is None or signature == "embed_item" or spec.queries.same_as_items
    features: tuple[Feature, ...] = ()
    if spec is not None:
        features = spec.item_features if is_of_items else spec.query_features
    feature = next((feature for feature in features if feature.name == name), None)
    if feature is None:
        return Input(**facts, kind="unknown", meaning="see the feature spec", missing=missing)
    if isinstance(feature, ItemSequenceFeature):
        return Input(
            **facts,
            kind=feature.kind,
            meaning="ids of the items that the query chose",
            missing=missing,
            length=feature.length,
            order="oldest first, newest last",
        )
    meanings = {
        "id": "an identifier, as in the log",
        "categorical": "categories, as in the log" if feature.is_list else "a category, as in the log",
        "text": "free text",
        "numeric": "a number",
        "dense": "a vector",
    }
    return Input(**facts, kind=feature.kind, meaning=meanings.get(feature.kind, "packed content"), missing=missing)


def to_card(description: Description, about: str) -> str:
    """The model card as Markdown."""
    lines = [
        f"# {description.name}",
        "",
        *([about, ""] if about else []),
        f"A two-tower recommender of {description.num_items:,} items, exported by recsys_ssl {description.version}. "
        f"Search: {description.search}. Score: {description.score}.",
        "",
        "It knows what it was trained on: an item or query that the log did not have is known by its features alone, "
        "and what was seldom shown was seldom chosen. How well it ranks is in the report of the run that made it.",
    ]
    for signature, inputs in description.signatures.items():
        lines += ["", f"## {signature}", "", "| Input | Type | Kind | What it is | Missing |", "|---|---|---|---|---|"]
        for of_input in inputs:
            size = ", ".join("any" if size < 0 else str(size) for size in of_input.shape)
            read = None if of_input.length is None else f"the last {of_input.length} are read"
            what = [of_input.meaning, of_input.order, read]
            missing = "never" if of_input.missing is None else f"`{of_input.missing!r}`".replace("'", '"')
            facts = (f"`{of_input.name}`", f"{of_input.dtype} [{size}]", of_input.kind, "; ".join(filter(None, what)))
            lines.append(f"| {' | '.join(facts)} | {missing} |")
        if signature == "recommend":
            lines += ["", *(f"- `{name}`: {what}" for name, what in description.outputs.items())]
    return "\n".join(lines) + "\n"
