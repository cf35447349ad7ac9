"""From logs to what training reads: the stages that `ingest`, `transform`, `correlate` and searches have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_ssl.spec import FeatureSpec

if TYPE_CHECKING:  # their modules load Beam and TensorFlow
    from recsys_ssl.logs.summary import IngestSummary
    from recsys_ssl.logs.transforms import IngestConfig
    from recsys_ssl.training.train import TrainInputs

At = Callable[..., str]
"""Names a place in the working directory, see `session.stage`."""


def make_interactions(
    at: At, spec: FeatureSpec, data: Path, config: IngestConfig, beam: Sequence[str]
) -> IngestSummary:
    """Ingests."""
    from pipelines.manifests import INGEST, making
    from pipelines.stages.ingest import ingest_logs
    from recsys_ssl.logs.readers import LogError

    with making(INGEST, at, spec, config, facts=_facts(spec, data), shown_after=(LogError,)) as made:
        interactions, catalogue, rejected = made
        return ingest_logs(spec, str(data), interactions, catalogue, rejected, config, beam)


def has_interactions(at: At, spec: FeatureSpec, data: Path, config: IngestConfig) -> bool:
    """Whether they are there, of the same data, settings and code."""
    from pipelines.manifests import INGEST, is_current

    return is_current(INGEST, at, spec, config, _facts(spec, data))


def _facts(spec: FeatureSpec, data: Path) -> dict[str, str]:
    from pipelines.stages.ingest import data_fingerprint
    from recsys_ssl.provenance import digest

    return {"data": digest(data_fingerprint(spec, str(data)))}


def make_codes(at: At, spec: FeatureSpec, beam: Sequence[str]) -> None:
    """Transforms."""
    from pipelines.manifests import TRANSFORM, making
    from pipelines.stages.transform import transform_features

    with making(TRANSFORM, at, spec, {}) as (query_transform, item_transform, interactions, catalogue):
        transforms = query_transform, item_transform
        transform_features(spec, at("interactions"), at("catalogue"), *transforms, interactions, catalogue, beam)


def make_correlations(at: At, spec: FeatureSpec, beam: Sequence[str]) -> None:
    """Correlates."""
    from pipelines.manifests import CORRELATE, making
    from pipelines.stages.correlate import correlate_features

    with making(CORRELATE, at, spec, {}) as (correlations,):
        correlate_features(spec, at("encoded-catalogue"), correlations, beam)


def name_inputs(at: At) -> TrainInputs:
    """What training reads of the working directory."""
    from recsys_ssl.artifacts import CORRELATIONS_FILE
    from recsys_ssl.training.train import TrainInputs

    return TrainInputs(
        at("encoded-interactions"),
        at("encoded-catalogue"),
        at("query-transform"),
        at("item-transform"),
        at("correlations", CORRELATIONS_FILE),
    )
