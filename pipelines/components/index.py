"""The components that build the index and the servable models."""

import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from pipelines.components.artifacts import Embeddings, ScannIndex
from pipelines.properties import from_json
from pipelines.stages.index import Served, export_control, index_arm
from recsys_ssl import provenance
from recsys_ssl.index.scann_index import IndexConfig
from recsys_ssl.spec import FeatureSpec


@component
def IndexItems(  # noqa: N802
    towers: InputArtifact[standard_artifacts.Model],
    embeddings: InputArtifact[Embeddings],
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    index: OutputArtifact[ScannIndex],
    recommender: OutputArtifact[standard_artifacts.Model],
    inverted_lists_recommender: OutputArtifact[standard_artifacts.Model],
    brute_force_recommender: OutputArtifact[standard_artifacts.Model],
    spec: Parameter[str],
    config: Parameter[str],
    code: Parameter[str],
):
    """Embeddings -> ScaNN index and the servable SavedModels."""
    logged = {"interactions": interactions.uri, "catalogue": catalogue.uri}
    inputs = logged | {"towers": towers.uri, "embeddings": embeddings.uri}
    manifest = provenance.derive_manifest("run", spec, json.loads(config), code, inputs)
    # Where Pusher looks for a SavedModel inside its artifact.
    models = recommender.uri, inverted_lists_recommender.uri, brute_force_recommender.uri
    served = Served(index.uri, *map(path_utils.serving_model_dir, models))
    items, queries = os.path.join(embeddings.uri, "items"), os.path.join(embeddings.uri, "queries")
    index_arm(
        FeatureSpec.from_json(spec),
        towers.uri,
        items,
        queries,
        interactions.uri,
        catalogue.uri,
        served,
        from_json(IndexConfig, config),
    )
    manifest.write(*served)


@component
def ExportControl(  # noqa: N802
    towers: InputArtifact[standard_artifacts.Model],
    embeddings: InputArtifact[Embeddings],
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    recommender: OutputArtifact[standard_artifacts.Model],
    spec: Parameter[str],
    code: Parameter[str],
):
    """Towers and embeddings of the control -> a servable model of exact search."""
    logged = {"interactions": interactions.uri, "catalogue": catalogue.uri}
    inputs = logged | {"towers": towers.uri, "embeddings": embeddings.uri}
    manifest = provenance.derive_manifest("run", spec, {}, code, inputs)
    items, model = os.path.join(embeddings.uri, "items"), path_utils.serving_model_dir(recommender.uri)
    export_control(FeatureSpec.from_json(spec), towers.uri, items, interactions.uri, catalogue.uri, model)
    manifest.write(model)
