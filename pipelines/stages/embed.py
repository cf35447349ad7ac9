"""Embedding: the towers turn items and held-out queries into vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from recsys_ssl import artifacts
from recsys_ssl.index.embed import embed_items, embed_queries
from recsys_ssl.spec import FeatureSpec

_HANDED_ON = artifacts.TRAIN_SETTINGS_FILE, artifacts.TRAIN_CAUTIONS_FILE


def embed_arm(
    spec: FeatureSpec,
    towers_dir: str,
    interactions_dir: str,
    catalogue_dir: str,
    items_dir: str,
    queries_dir: str,
    beam_args: Sequence[str],
) -> None:
    """Towers -> embeddings of the catalogue and of the test queries, with the settings and cautions of the towers.

    Raises:
        FileNotFoundError: the towers have no settings beside them, so nobody could say what the embeddings are of.
    """
    try:
        facts = {name: artifacts.read_text(os.path.join(towers_dir, name)) for name in _HANDED_ON}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"towers lie beside the settings of their training. There is no {error.filename}. Run the stage that "
            "writes it: train the arm again."
        ) from None
    for name in _HANDED_ON:
        artifacts.delete_file(os.path.join(items_dir, name))
    options = PipelineOptions(list(beam_args))
    embed_items(towers_dir, catalogue_dir, items_dir, beam.Pipeline(options=options))
    pipeline = beam.Pipeline(options=options)
    embed_queries(towers_dir, interactions_dir, catalogue_dir, "test", spec, queries_dir, pipeline)
    for name in reversed(_HANDED_ON):  # what has settings is whole
        artifacts.write_text(os.path.join(items_dir, name), facts[name])
