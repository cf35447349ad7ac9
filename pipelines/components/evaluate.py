"""The component that compares both arms."""

import dataclasses
import json
import os
from collections.abc import Sequence

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from pipelines.components.artifacts import Embeddings, Report, ScannIndex
from pipelines.properties import from_json
from pipelines.stages.evaluate import ArmDirs, evaluate_run, read_settings
from pipelines.trainings import name_training
from recsys_ssl import provenance
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.spec import FeatureSpec


@component
def EvaluateArms(  # noqa: N802
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    control: InputArtifact[list[Embeddings]],
    treatment: InputArtifact[list[Embeddings]],
    index: InputArtifact[ScannIndex],
    recommender: InputArtifact[standard_artifacts.Model],
    report: OutputArtifact[Report],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    spec: Parameter[str],
    config: Parameter[str],
    code: Parameter[str],
):
    """Embeddings of both arms, of each training -> A/B report; it blesses the treatment's recommender or not."""
    controls, treatments = _list_dirs(control), _list_dirs(treatment)
    read = {"index": index.uri}
    for arm, trainings in (("control", controls), ("treatment", treatments)):
        read |= {name_training(arm, i): os.path.dirname(dirs.items_dir) for i, dirs in enumerate(trainings, 1)}
    manifest = provenance.derive_manifest("run", spec, json.loads(config), code, read)
    result = evaluate_run(
        FeatureSpec.from_json(spec),
        controls,
        [dataclasses.replace(treatments[0], index_dir=index.uri), *treatments[1:]],
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


def _list_dirs(trainings: Sequence[Embeddings]) -> list[ArmDirs]:
    """Where the trainings of an arm lie, by their seeds; the order of the artifacts is the store's."""
    dirs = [ArmDirs(os.path.join(each.uri, "items"), os.path.join(each.uri, "queries")) for each in trainings]
    return sorted(dirs, key=lambda each: read_settings(each)["seed"])
