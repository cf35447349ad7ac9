"""Indexing: embeddings become an approximate index and servable models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.progress import PROGRESS
from recsys_ssl import provenance
from recsys_ssl.index import export, raw_inputs, scann_index
from recsys_ssl.index.warmup import write_warmup
from recsys_ssl.serving import requests
from recsys_ssl.serving.logged_queries import read_queries
from recsys_ssl.serving.lookup import Lookup
from recsys_ssl.serving.lookup_writer import write_lookup
from recsys_ssl.spec import FeatureSpec

_SAMPLES = 20


class Served(NamedTuple):
    """The directories that indexing makes: the index alone, and the SavedModels."""

    ann_index: str
    scann: str
    inverted_lists: str
    brute_force: str

    @property
    def models(self) -> tuple[str, ...]:
        return self[1:]


def index_arm(
    spec: FeatureSpec,
    towers_dir: str,
    items_dir: str,
    queries_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    served: Served,
    config: scann_index.IndexConfig,
) -> scann_index.IndexReport:
    """Embeddings -> ScaNN index with its measured recall, and the servable SavedModels with what lies beside them."""
    report = scann_index.index_items(items_dir, queries_dir, served.ann_index, config)
    export.export_scann(towers_dir, served.ann_index, served.scann, spec)
    export.export_inverted_lists(towers_dir, items_dir, queries_dir, served.inverted_lists, spec)
    export.export_brute_force(towers_dir, items_dir, served.brute_force, spec)
    _complete(spec, interactions_dir, catalogue_dir, served.models)
    recall = ", ".join(f"recall@{k} {value:.3f}" for k, value in report.recall.items())
    PROGRESS.info(f"{report.config.method}, {report.num_items:,} items, {recall}, p50 {report.latency_p50_ms:.2f} ms")
    return report


def export_control(
    spec: FeatureSpec, towers_dir: str, items_dir: str, interactions_dir: str, catalogue_dir: str, model_dir: str
) -> None:
    """The control as a servable model of exact search, to be looked at beside the treatment."""
    export.export_brute_force(towers_dir, items_dir, model_dir, spec)
    _complete(spec, interactions_dir, catalogue_dir, [model_dir])


def _complete(spec: FeatureSpec, interactions_dir: str, catalogue_dir: str, models: Sequence[str]) -> None:
    """Puts beside each model what the log knows, and into it the first held-out queries, with its answers."""
    write_lookup(spec, interactions_dir, catalogue_dir, models)
    queries = list(itertools.islice(read_queries(interactions_dir, Lookup(models[-1])), _SAMPLES))
    for model_dir in models:
        model = provenance.load_saved_model(model_dir)  # ScaNN's op is loaded with `export`
        records = requests.to_batch(queries, raw_inputs.input_specs(model, "embed_query"))
        write_warmup(model, model_dir, records, spec.name)
