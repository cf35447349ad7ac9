"""The component that correlates features."""

import json

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from pipelines.components.artifacts import Correlations
from pipelines.stages.correlate import correlate_features
from recsys_ssl import provenance
from recsys_ssl.spec import FeatureSpec


@component
def CorrelateFeatures(  # noqa: N802
    encoded_catalogue: InputArtifact[standard_artifacts.Examples],
    correlations: OutputArtifact[Correlations],
    spec: Parameter[str],
    beam_args: Parameter[str],
    code: Parameter[str],
):
    """Encoded catalogue -> mutual information between its features."""
    manifest = provenance.derive_manifest("run", spec, {}, code, {"encoded-catalogue": encoded_catalogue.uri})
    feature_spec = FeatureSpec.from_json(spec)
    correlate_features(feature_spec, encoded_catalogue.uri, correlations.uri, json.loads(beam_args))
    manifest.write(correlations.uri)
