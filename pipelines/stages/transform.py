"""Transform: raw features become integer codes."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.progress import PROGRESS
from recsys_ssl.features import preprocessing
from recsys_ssl.features.encoding import EncodedFeature, read_encoding
from recsys_ssl.spec import FeatureSpec


def transform_features(
    spec: FeatureSpec,
    interactions_dir: str,
    catalogue_dir: str,
    query_transform_dir: str,
    item_transform_dir: str,
    encoded_interactions_dir: str,
    encoded_catalogue_dir: str,
    beam_args: Sequence[str],
) -> None:
    """Raw features -> integer codes, with the graphs that code them."""
    preprocessing.transform(
        spec,
        interactions_dir,
        catalogue_dir,
        query_transform_dir,
        item_transform_dir,
        encoded_interactions_dir,
        encoded_catalogue_dir,
        PipelineOptions(list(beam_args)),
    )
    encoding = read_encoding(item_transform_dir)
    PROGRESS.info(", ".join(map(_describe_encoding, encoding)))


def _describe_encoding(feature: EncodedFeature) -> str:
    return f"{feature.name} {feature.content}" if feature.content else f"{feature.name} {feature.size or feature.dim:,}"
