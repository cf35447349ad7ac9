"""The component that compares both arms."""

import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from pipelines.components.artifacts import Embeddings, Report, ScannIndex
from pipelines.properties import from_json
from pipelines.stages.evaluate import ArmDirs, evaluate_run
from recsys_ssl import artifacts
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.spec import FeatureSpec


@component
def EvaluateArms(  # noqa: N802
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    control: InputArtifact[Embeddings],
    treatment: InputArtifact[Embeddings],
    index: InputArtifact[ScannIndex],
    recommender: InputArtifact[standard_artifacts.Model],
    report: OutputArtifact[Report],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    spec: Parameter[str],
    config: Parameter[str],
    code: Parameter[str],
):
    """Embeddings of both arms -> A/B report; its decision blesses the treatment's recommender or not."""
    read = {"control": control.uri, "treatment": treatment.uri, "index": index.uri}
    manifest = artifacts.derive_manifest("run", spec, json.loads(config), code, read)
    result = evaluate_run(
        FeatureSpec.from_json(spec),
        ArmDirs(os.path.join(control.uri, "items"), os.path.join(control.uri, "queries")),
        ArmDirs(os.path.join(treatment.uri, "items"), os.path.join(treatment.uri, "queries"), index.uri),
        interactions.uri,
        catalogue.uri,
        report.uri,
        from_json(EvaluationConfig, config),
    )
    manifest.write(report.uri)
    blessed = bool(result["verdict"]["blessed"])
    # What Pusher and the resolver of the latest blessed model read.
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property("current_model", recommender.uri)
    blessing.set_int_custom_property("current_model_id", recommender.id)
    io_utils.write_string_file(os.path.join(blessing.uri, "BLESSED" if blessed else "NOT_BLESSED"), "")
