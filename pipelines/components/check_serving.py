"""The component that asks the models for logged queries before one is pushed, as TFX's InfraValidator does."""

import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from pipelines.components.artifacts import Embeddings
from pipelines.stages.check_serving import check_serving


@component
def CheckServing(  # noqa: N802
    recommender: InputArtifact[standard_artifacts.Model],
    brute_force_recommender: InputArtifact[standard_artifacts.Model],
    embeddings: InputArtifact[Embeddings],
    interactions: InputArtifact[standard_artifacts.Examples],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    code: Parameter[str],
):
    """Fails unless served answers of logged queries equal the pipeline's."""
    items, queries = os.path.join(embeddings.uri, "items"), os.path.join(embeddings.uri, "queries")
    for model, is_exact in ((recommender, False), (brute_force_recommender, True)):
        check_serving(path_utils.serving_model_dir(model.uri), is_exact, items, queries, interactions.uri)
    # What Pusher reads.
    blessing.set_int_custom_property("blessed", 1)
    io_utils.write_string_file(os.path.join(blessing.uri, "INFRA_BLESSED"), "")
