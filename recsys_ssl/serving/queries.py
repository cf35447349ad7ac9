"""Asking a finished run's recommender for a query, by its id alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys_ssl import examples, lists
from recsys_ssl.examples import DISLIKED_SPLIT
from recsys_ssl.serving.catalogue import read_catalogue
from recsys_ssl.serving.places import Places
from recsys_ssl.serving.recommender import list_features, load_recommender, recommend
from recsys_ssl.spec import TIME_INPUTS, VOCABULARY_FEATURES, ColumnFeature, Feature, FeatureSpec


@dataclass(frozen=True)
class Recommended:
    """Recommendations for one query, best first."""

    query_id: str
    chosen_titles: list[str]
    """What the query had chosen before, newest last where the spec has an item sequence."""
    item_ids: list[str]
    titles: list[str]
    scores: list[float]
    num_items: int
    """Of the catalogue; no more can be recommended."""
    is_known: bool = True
    """Whether the log has the query; of another nothing is known, or only that it is an item."""


class _Asked(NamedTuple):
    """What is known of a query when it is asked for."""

    query_id: str
    record: dict[str, list]
    """Feature -> raw values; a feature that is missing here is missing in the query."""
    seen_rows: list[int]
    """Catalogue rows of what the spec leaves out, without order."""
    chosen: list[str] | None
    """Ids of what it had chosen, newest last; None where only the rows are known."""
    is_known: bool = True


def recommend_to_query(spec: FeatureSpec, places: Places, query_id: str | None, k: int) -> Recommended:
    """The k best items for a query, by its id alone.

    A query of the test split is asked for as at its last held-out event, which the model must foretell. Another one of
    the log is asked for as after its last event. Of a query that the log does not have nothing is known, unless queries
    are items: then the catalogue may have its features.

    Args:
        query_id: as in the log; None takes the first query of the test split that has chosen something before, or the
            first of all.
        k: at most; the whole catalogue when that is smaller.
    """
    catalogue = read_catalogue(spec, places.catalogue_dir)
    key = _choose_query(spec, places.interactions_dir) if query_id is None else query_id.encode("utf-8", "replace")
    asked = _look_up(spec, places.interactions_dir, key)
    features: tuple[Feature, ...] = spec.query_features
    own, record = [], asked.record
    if spec.queries.same_as_items:
        features, own, row = spec.item_features, [asked.query_id], catalogue.find(asked.query_id)
        record = {} if row is None else catalogue.record(row)
    seen = [catalogue.item_ids[row] for row in asked.seen_rows]
    chosen = asked.chosen
    if chosen is None:  # what was rated low is among the seen, and was not chosen
        chosen = [] if spec.evaluation.mask_disliked else seen
    model = load_recommender(places.recommender_dir)
    given = {feature.name: [_to_feature(record, feature)] for feature in features}
    given |= {name: [record.get(name, [])] for name in TIME_INPUTS if name in list_features(model)}
    found = recommend(
        model,
        given,
        min(k, len(catalogue.item_ids)),
        exclude=[list(dict.fromkeys([*own, *seen])) if spec.evaluation.masks else own],
    )
    return Recommended(
        asked.query_id,
        [catalogue.title_of(item_id) for item_id in chosen if item_id not in own],
        found.item_ids[0],
        [catalogue.title_of(item_id) for item_id in found.item_ids[0]],
        found.scores[0],
        len(catalogue.item_ids),
        asked.is_known,
    )


def _choose_query(spec: FeatureSpec, interactions_dir: str) -> bytes:
    """The first query of the test split that has a past; the first of all where none has."""
    first = None
    for batch in examples.read_batches(examples.list_shards(interactions_dir, "test")):
        ids, _ = lists.flat(batch, "query_id", pa.large_binary())
        has_past = lists.flat(batch, "seen_rows", pa.int64())[1] > 0
        for sequence in spec.item_sequences:
            has_past |= lists.flat(batch, sequence.name, pa.large_binary())[1] > 0
        if has_past.any():
            return ids[has_past.argmax()]
        first = ids[0] if first is None else first
    if first is None:
        raise ValueError(f"the test split must have a query. Received none in {interactions_dir}. Ingest again.")
    return first


def _look_up(spec: FeatureSpec, interactions_dir: str, key: bytes) -> _Asked:
    """Everything that the log says of a query; the splits before the test are read only when that has no such query."""
    query_id, sequences = key.decode("utf-8"), spec.item_sequences
    held_out = _read_events(interactions_dir, "test", key)
    if held_out:
        event = max(held_out, key=_place_of)
        chosen = _to_values(event.get(sequences[0].name)) if sequences else None
        return _Asked(query_id, event, event.get("seen_rows", []), chosen)
    before = (_read_events(interactions_dir, split, key) for split in spec.split.names[:-1])
    events = [event for of_split in before for event in sorted(of_split, key=_place_of)]
    if not events:
        of_id = {f.name: [key] for f in spec.query_features if isinstance(f, ColumnFeature) and _is_id(spec, f)}
        return _Asked(query_id, of_id, [], [], is_known=False)
    item_ids = [event["item_id"][0] for event in events]
    record = events[-1] | {sequence.name: item_ids[-sequence.length :] for sequence in sequences}
    if sequences:  # asked for now, whenever that is
        longest = max(sequence.length for sequence in sequences)
        record |= {"history_us": [_time_of(event) for event in events][-longest:], "timestamp_us": []}
    seen = [event["item_row"][0] for event in events] if spec.evaluation.mask_seen else []
    if spec.evaluation.mask_disliked:
        seen += [row for each in _read_events(interactions_dir, DISLIKED_SPLIT, key) for row in each["item_row"]]
    return _Asked(query_id, record, seen, _to_values(item_ids))


def _read_events(interactions_dir: str, split: str, key: bytes) -> list[dict[str, Any]]:
    """The events of one query in a split; nothing may have been rated low."""
    events: list[dict[str, Any]] = []
    if split == DISLIKED_SPLIT and not Path(examples.split_dir(interactions_dir, split)).exists():
        return events
    for batch in examples.read_batches(examples.list_shards(interactions_dir, split)):
        ids, _ = lists.flat(batch, "query_id", pa.large_binary())
        events += [lists.record(batch, row) for row in np.flatnonzero(ids == key).tolist()]
    return events


def _place_of(event: dict[str, Any]) -> tuple[int, int]:
    """When it was, and its place among those of one time: records to train on are not in the order of the log."""
    return _time_of(event), event.get("sequence_position", [0])[0]


def _time_of(event: dict[str, Any]) -> int:
    return (event.get("timestamp_us") or [0])[0]


def _is_id(spec: FeatureSpec, feature: ColumnFeature) -> bool:
    """Whether a feature is the query's own id, which ingestion knows without a table."""
    return isinstance(feature, VOCABULARY_FEATURES) and feature.source_column == spec.queries.id


def _to_feature(record: dict[str, Any], feature: Feature) -> list:
    values = record.get(feature.name)
    return values or [] if feature.is_content else _to_values(values)  # packed content is no text


def _to_values(values: list | None) -> list:
    return [value.decode("utf-8") if isinstance(value, bytes) else value for value in values or []]
