"""Embedding: the towers turn items and held-out queries into vectors."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from recsys_ssl.index.embed import embed_items, embed_queries
from recsys_ssl.spec import FeatureSpec


def embed_arm(
    spec: FeatureSpec,
    towers_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    items_dir: str,
    queries_dir: str,
    beam_args: Sequence[str],
) -> None:
    """Towers -> embeddings of the catalogue and of the test split's queries."""
    options = PipelineOptions(list(beam_args))
    embed_items(towers_dir, catalogue_dir, items_dir, beam.Pipeline(options=options))
    pipeline = beam.Pipeline(options=options)
    embed_queries(towers_dir, interactions_dir, catalogue_dir, "test", spec, queries_dir, pipeline)
