"""The component that embeds one arm's items and queries."""

import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from pipelines.components.artifacts import Embeddings
from pipelines.stages.embed import embed_arm
from recsys_ssl import provenance
from recsys_ssl.spec import FeatureSpec


@component
def EmbedArm(  # noqa: N802
    towers: InputArtifact[standard_artifacts.Model],
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    embeddings: OutputArtifact[Embeddings],
    spec: Parameter[str],
    beam_args: Parameter[str],
    code: Parameter[str],
):
    """Towers -> embeddings of the catalogue and of the test split's queries."""
    inputs = {"interactions": interactions.uri, "catalogue": catalogue.uri, "towers": towers.uri}
    manifest = provenance.derive_manifest("run", spec, {}, code, inputs)
    embed_arm(
        FeatureSpec.from_json(spec),
        towers.uri,
        interactions.uri,
        catalogue.uri,
        os.path.join(embeddings.uri, "items"),
        os.path.join(embeddings.uri, "queries"),
        json.loads(beam_args),
    )
    manifest.write(embeddings.uri)
