"""The component that says what examples must look like."""

import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from recsys_ssl.features.schema import catalogue_schema, interactions_schema
from recsys_ssl.spec import FeatureSpec


@component
def DeriveSchemas(  # noqa: N802  (components are named as classes)
    interactions: OutputArtifact[standard_artifacts.Schema],
    catalogue: OutputArtifact[standard_artifacts.Schema],
    spec: Parameter[str],
    code: Parameter[str],
):
    """Spec -> the schemas that the examples must satisfy."""
    feature_spec = FeatureSpec.from_json(spec)
    for artifact, schema in (
        (interactions, interactions_schema(feature_spec)),
        (catalogue, catalogue_schema(feature_spec)),
    ):
        io_utils.write_pbtxt_file(os.path.join(artifact.uri, "schema.pbtxt"), schema)
