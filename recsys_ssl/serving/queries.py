"""Asking a finished run's recommender for a query of its own log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys_ssl import artifacts, examples, lists
from recsys_ssl.artifacts import PLACES_FILE
from recsys_ssl.serving.catalogue import read_catalogue
from recsys_ssl.serving.recommender import load_recommender, recommend
from recsys_ssl.spec import Feature, FeatureSpec


@dataclass(frozen=True)
class Places:
    """Where a working directory keeps what a recommendation needs (places.json)."""

    interactions_dir: str
    catalogue_dir: str
    recommender_dir: str

    def write(self, workdir: str) -> None:
        artifacts.write_text(Path(workdir, PLACES_FILE), artifacts.to_json(self))

    @classmethod
    def read(cls, workdir: str) -> Places:
        path = Path(workdir, PLACES_FILE)
        if not path.exists():
            raise FileNotFoundError(
                f"no {PLACES_FILE} in {workdir}. Finish `recsys-ssl run` or `recsys-ssl index` first."
            )
        return artifacts.from_json(cls, artifacts.read_text(path))


@dataclass(frozen=True)
class Recommended:
    """Recommendations for one query of the log, best first."""

    query_id: str
    chosen_titles: list[str]
    """What the query had chosen before, newest last where the spec has an item sequence."""
    item_ids: list[str]
    titles: list[str]
    scores: list[float]


def recommend_to_query(spec: FeatureSpec, places: Places, query_id: str | None, k: int) -> Recommended:
    """The k best items for a query of the test split, with the features of its last held-out event.

    Args:
        query_id: as in the log; None takes the first query of the split that has seen something.

    Raises:
        ValueError: the test split has no such query.
    """
    event = _find_event(places.interactions_dir, query_id)
    query_id = event["query_id"][0].decode("utf-8")
    catalogue = read_catalogue(spec, places.catalogue_dir)
    own = [query_id] if spec.queries.same_as_items else []
    seen = [catalogue.item_ids[row] for row in event.get("seen_rows", [])]
    features: tuple[Feature, ...]
    if spec.queries.same_as_items:
        record, features = catalogue.record(event["query_row"][0]), spec.item_features
    else:
        record, features = event, spec.query_features
    # What was rated low is among the seen, and was not chosen.
    chosen = [] if spec.evaluation.mask_disliked else [item_id for item_id in seen if item_id not in own]
    if spec.item_sequences:
        chosen = _to_values(event.get(spec.item_sequences[0].name))
    found = recommend(
        load_recommender(places.recommender_dir),
        {feature.name: [_to_feature(record, feature)] for feature in features},
        k,
        exclude=[seen if spec.evaluation.masks else own],
    )
    return Recommended(
        query_id,
        [catalogue.title_of(item_id) for item_id in chosen],
        found.item_ids[0],
        [catalogue.title_of(item_id) for item_id in found.item_ids[0]],
        found.scores[0],
    )


def _find_event(interactions_dir: str, query_id: str | None) -> dict[str, Any]:
    """The last event of a query in the test split."""
    events = []
    for batch in examples.read_batches(examples.list_shards(interactions_dir, "test")):
        ids = [id_.decode("utf-8") for id_ in lists.flat(batch, "query_id", pa.large_binary())[0]]
        num_seen = lists.flat(batch, "seen_rows", pa.int64())[1]
        if query_id is None:
            query_id = next((id_ for id_, number in zip(ids, num_seen, strict=True) if number), None)
        events += [lists.record(batch, row) for row, id_ in enumerate(ids) if id_ == query_id]
    if not events:
        raise ValueError(f"the query must be in the test split. Received: {query_id!r}. Leave --query out for any.")
    return max(events, key=lambda event: event.get("timestamp_us") or [0])


def _to_feature(record: dict[str, Any], feature: Feature) -> list:
    values = record.get(feature.name)
    return values or [] if feature.is_content else _to_values(values)  # packed content is no text


def _to_values(values: list | None) -> list:
    return [value.decode("utf-8") if isinstance(value, bytes) else value for value in values or []]
