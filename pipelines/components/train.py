"""The component that trains one arm."""

import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from pipelines.components.artifacts import Correlations
from pipelines.properties import from_json
from pipelines.stages.train import train_arm
from recsys_ssl import artifacts, provenance
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs


@component
def TrainTowers(  # noqa: N802
    encoded_interactions: InputArtifact[standard_artifacts.Examples],
    encoded_catalogue: InputArtifact[standard_artifacts.Examples],
    query_transform: InputArtifact[standard_artifacts.TransformGraph],
    item_transform: InputArtifact[standard_artifacts.TransformGraph],
    correlations: InputArtifact[Correlations],
    towers: OutputArtifact[standard_artifacts.Model],
    run: OutputArtifact[standard_artifacts.ModelRun],
    spec: Parameter[str],
    config: Parameter[str],
    checkpoint_dir: Parameter[str],
    code: Parameter[str],
):
    """Encoded interactions and catalogue -> SavedModel of both towers; resumes from `checkpoint_dir`."""
    read = {
        "encoded-interactions": encoded_interactions.uri,
        "encoded-catalogue": encoded_catalogue.uri,
        "query-transform": query_transform.uri,
        "item-transform": item_transform.uri,
        "correlations": correlations.uri,
    }
    manifest = provenance.derive_manifest("run", spec, json.loads(config), code, read)
    inputs = TrainInputs(
        encoded_interactions.uri,
        encoded_catalogue.uri,
        query_transform.uri,
        item_transform.uri,
        os.path.join(correlations.uri, artifacts.CORRELATIONS_FILE),
    )
    train_config = from_json(TrainConfig, config)
    train_arm(FeatureSpec.from_json(spec), train_config, inputs, towers.uri, checkpoint_dir, run.uri)
    manifest.write(towers.uri)
