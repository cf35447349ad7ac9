"""Correlations: which features of the items tell of each other."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.progress import PROGRESS
from recsys_ssl.features import correlations
from recsys_ssl.spec import FeatureSpec


def correlate_features(
    spec: FeatureSpec, encoded_catalogue_dir: str, out_dir: str, beam_args: Sequence[str]
) -> correlations.Correlations:
    """Encoded catalogue -> mutual information between its features, and a heat map."""
    features = [feature.name for feature in spec.item_features if feature.is_coded]
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_args)))
    found = correlations.correlate(encoded_catalogue_dir, features, out_dir, pipeline)
    near_unique = ", ".join(found.near_unique) or "none"
    PROGRESS.info(f"{len(features)} features, near-unique: {near_unique}")
    return found
