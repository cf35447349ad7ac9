"""The component that puts results where people look for them."""

import os

from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from pipelines.components.artifacts import Correlations, Rejected, Report, ScannIndex
from recsys_ssl.artifacts import copy_dir
from recsys_ssl.serving.queries import Places

MODELS = "recommender", "recommender-inverted-lists", "recommender-brute-force", "recommender-control"
PUBLISHED = ("report", "index", "correlations", *MODELS, "rejected")
"""Directories of the working directory that hold copies."""


@component
def PublishResults(  # noqa: N802
    report: InputArtifact[Report],
    index: InputArtifact[ScannIndex],
    correlations: InputArtifact[Correlations],
    recommender: InputArtifact[standard_artifacts.Model],
    inverted_lists_recommender: InputArtifact[standard_artifacts.Model],
    brute_force_recommender: InputArtifact[standard_artifacts.Model],
    control_recommender: InputArtifact[standard_artifacts.Model],
    rejected: InputArtifact[Rejected],
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    workdir: Parameter[str],
    run_id: Parameter[str],
):
    """Copies what people look for from the artifact store to fixed places in the working directory.

    `run_id` changes with every run, so that the copies are made even when everything else came from the cache.
    """
    models = recommender, inverted_lists_recommender, brute_force_recommender, control_recommender
    served = [path_utils.serving_model_dir(model.uri) for model in models]
    sources = report.uri, index.uri, correlations.uri, *served, rejected.uri
    for name, source in zip(PUBLISHED, sources, strict=True):
        copy_dir(source, os.path.join(workdir, name))
    Places(interactions.uri, catalogue.uri, os.path.join(workdir, "recommender")).write(workdir)
