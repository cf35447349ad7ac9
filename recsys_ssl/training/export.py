"""The towers as a SavedModel: raw features in, embedding out."""

from __future__ import annotations

import tensorflow as tf

from recsys_ssl.features.batch import batch_from_sparse
from recsys_ssl.features.preprocessing import QueryEncoder, load_item_encoder, raw_to_sparse, serving_signature
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.spec import FeatureSpec

_TRAIN_COUNT = "train_count"


class _Towers(tf.Module):
    """Holds what the signatures read, so that it is saved with them."""

    def __init__(self, model: TwoTower, spec: FeatureSpec, query_transform_dir: str, item_transform_dir: str):
        super().__init__()
        self.model = model
        self.encode_items = load_item_encoder(item_transform_dir)
        self.encode_queries = self.encode_items
        if not spec.queries.same_as_items:
            self.encode_queries = QueryEncoder(spec, query_transform_dir, item_transform_dir)
        query_features = spec.item_features if spec.queries.same_as_items else spec.query_features
        query_signature, item_signature = serving_signature(query_features), serving_signature(spec.item_features)
        if model.prior.weight:
            item_signature[_TRAIN_COUNT] = tf.TensorSpec([None], tf.float32, _TRAIN_COUNT)

        @tf.function(input_signature=[query_signature], autograph=False)
        def embed_query(raw):
            batch = _encode(model.query_layout, self.encode_queries, raw)
            return {"embedding": model.vectorize_queries(batch)}

        @tf.function(input_signature=[item_signature], autograph=False)
        def embed_item(raw):
            raw = dict(raw)
            train_counts = raw.pop(_TRAIN_COUNT, None)
            batch = _encode(model.item_layout, self.encode_items, raw)
            return {"embedding": model.vectorize_items(batch, train_counts)}

        self.embed_query, self.embed_item = embed_query, embed_item


def export_towers(
    model: TwoTower, spec: FeatureSpec, query_transform_dir: str, item_transform_dir: str, export_dir: str
) -> None:
    """Writes a SavedModel with the signatures `embed_query` and `embed_item`.

    Both take the dense tensors of `serving_signature` by feature name and return {"embedding": [batch_size,
    vector_dim] float32}: rows of length 1, and beside them the coordinate of a popularity prior. With a prior
    `embed_item` also takes `train_count`, [batch_size] float32 train positives; NaN for an item that is new.
    """
    towers = _Towers(model, spec, query_transform_dir, item_transform_dir)
    signatures = {"embed_query": towers.embed_query, "embed_item": towers.embed_item}
    tf.saved_model.save(towers, export_dir, signatures=signatures)


def _encode(layout, encode, raw: dict[str, tf.Tensor]):
    num_records = tf.shape(next(iter(raw.values())), tf.int64)[0]
    return batch_from_sparse(layout, encode(raw_to_sparse(raw)), num_records)
