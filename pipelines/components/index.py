"""The component that builds the index and the servable models."""

import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from pipelines.components.artifacts import Embeddings, ScannIndex
from pipelines.properties import from_json
from pipelines.stages.index import index_arm
from recsys_ssl import artifacts
from recsys_ssl.index.scann_index import IndexConfig
from recsys_ssl.spec import FeatureSpec


@component
def IndexItems(  # noqa: N802
    towers: InputArtifact[standard_artifacts.Model],
    embeddings: InputArtifact[Embeddings],
    index: OutputArtifact[ScannIndex],
    recommender: OutputArtifact[standard_artifacts.Model],
    brute_force_recommender: OutputArtifact[standard_artifacts.Model],
    config: Parameter[str],
    code: Parameter[str],
):
    """Embeddings -> ScaNN index and the servable SavedModels."""
    embedded = artifacts.read_manifest(embeddings.uri)
    inputs = {"towers": towers.uri, "embeddings": embeddings.uri}
    manifest = artifacts.derive_manifest("run", embedded.spec, json.loads(config), code, inputs)
    # Where Pusher looks for a SavedModel inside its artifact.
    scann_model, exact_model = map(path_utils.serving_model_dir, (recommender.uri, brute_force_recommender.uri))
    items, queries = os.path.join(embeddings.uri, "items"), os.path.join(embeddings.uri, "queries")
    settings, spec = from_json(IndexConfig, config), FeatureSpec.from_json(json.dumps(embedded.spec))
    index_arm(towers.uri, items, queries, index.uri, scann_model, exact_model, settings, spec)
    manifest.write(index.uri, scann_model, exact_model)
