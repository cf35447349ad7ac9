"""Embedding: the towers turn items and held-out queries into vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from recsys_ssl import artifacts
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
    """Towers -> embeddings of the catalogue and of the test split's queries, with the settings of the towers.

    Raises:
        FileNotFoundError: the towers have no settings beside them, so nobody could say what the embeddings are of.
    """
    settings_path, copy_path = (os.path.join(at, artifacts.TRAIN_SETTINGS_FILE) for at in (towers_dir, items_dir))
    try:
        settings = artifacts.read_text(settings_path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"towers lie beside the settings of their training. There is no {settings_path}. Run the stage that writes "
            "it: train the arm again."
        ) from None
    artifacts.delete_file(copy_path)
    options = PipelineOptions(list(beam_args))
    embed_items(towers_dir, catalogue_dir, items_dir, beam.Pipeline(options=options))
    pipeline = beam.Pipeline(options=options)
    embed_queries(towers_dir, interactions_dir, catalogue_dir, "test", spec, queries_dir, pipeline)
    artifacts.write_text(copy_path, settings)
