"""The component that codes features."""

import json

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from pipelines.components.artifacts import describe_examples
from pipelines.stages.transform import transform_features
from recsys_ssl import examples, provenance
from recsys_ssl.spec import FeatureSpec


@component
def TransformFeatures(  # noqa: N802
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    query_transform: OutputArtifact[standard_artifacts.TransformGraph],
    item_transform: OutputArtifact[standard_artifacts.TransformGraph],
    encoded_interactions: OutputArtifact[standard_artifacts.Examples],
    encoded_catalogue: OutputArtifact[standard_artifacts.Examples],
    spec: Parameter[str],
    beam_args: Parameter[str],
    code: Parameter[str],
):
    """Raw features -> integer codes, with the TensorFlow Transform graphs that code them."""
    manifest = provenance.derive_manifest(
        "run", spec, {}, code, {"interactions": interactions.uri, "catalogue": catalogue.uri}
    )
    feature_spec = FeatureSpec.from_json(spec)
    transform_features(
        feature_spec,
        interactions.uri,
        catalogue.uri,
        query_transform.uri,
        item_transform.uri,
        encoded_interactions.uri,
        encoded_catalogue.uri,
        json.loads(beam_args),
    )
    made = query_transform, item_transform, encoded_interactions, encoded_catalogue
    manifest.write(*(artifact.uri for artifact in made))
    describe_examples(encoded_interactions, feature_spec.split.names)
    describe_examples(encoded_catalogue, [examples.CATALOGUE_SPLIT])
