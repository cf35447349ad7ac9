"""TensorFlow Metadata schemas derived from a spec: what a raw example file must look like."""

from __future__ import annotations

from collections.abc import Sequence

from tensorflow_metadata.proto.v0 import schema_pb2

from recsys_ssl.spec import Feature, FeatureSpec

_BYTES, _INT, _FLOAT = schema_pb2.BYTES, schema_pb2.INT, schema_pb2.FLOAT


def interactions_schema(spec: FeatureSpec) -> schema_pb2.Schema:
    """The schema of the interactions: bookkeeping columns and the raw query features."""
    columns = [("query_id", _BYTES), ("item_id", _BYTES), ("item_row", _INT), ("example_weight", _FLOAT)]
    if spec.events.timestamp is not None:
        columns.append(("timestamp_us", _INT))
    if spec.queries.same_as_items:
        columns.append(("query_row", _INT))
    schema = _schema(columns, spec.query_features)
    # Only held-out records carry what their query has seen.
    _add(schema, "seen_rows", _INT, most=None, min_presence=None)
    if spec.item_sequences:
        _add(schema, "sequence_position", _INT, most=1, min_presence=None)  # train records only
        _add(schema, "history_us", _INT, most=None, min_presence=None)  # held-out records only
    return schema


def catalogue_schema(spec: FeatureSpec) -> schema_pb2.Schema:
    """The schema of the catalogue: bookkeeping columns and the raw item features."""
    columns = [("item_id", _BYTES), ("item_row", _INT), ("train_count", _INT)]
    if spec.events.label.impressions:
        columns.append(("impression_count", _INT))
    return _schema(columns, spec.item_features)


def is_multi_valued(feature: Feature) -> bool:
    """Whether a raw record may hold several values of the feature."""
    return feature.is_list


def _schema(columns: Sequence[tuple[str, int]], features: Sequence[Feature]) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name, kind in columns:
        _add(schema, name, kind, most=1, min_presence=1.0)
    for feature in features:
        kind = _FLOAT if feature.is_number else _BYTES
        most = None if feature.is_list else 1
        _add(schema, feature.name, kind, most, getattr(feature, "min_presence", None))
    return schema


def _add(schema: schema_pb2.Schema, name: str, kind: int, most: int | None, min_presence: float | None) -> None:
    feature = schema.feature.add(name=name, type=kind)
    feature.value_count.min = 1 if min_presence == 1.0 and most == 1 else 0
    if most is not None:
        feature.value_count.max = most
    if min_presence is not None:
        feature.presence.min_fraction = min_presence
