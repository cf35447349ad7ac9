"""TFX components: thin wrappers over `pipelines.stages`, plus the gate on data anomalies.

Every component carries a `code` property, a hash of the sources it runs, because TFX's cache compares
properties and input artifacts but not code.
"""

import json
import os
import shutil

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import Artifact, artifact_utils, standard_artifacts
from tfx.utils import io_utils, path_utils

from pipelines import stages
from pipelines.config import from_json
from recsys_ssl import artifacts, examples
from recsys_ssl.evaluation.compare import EvaluationConfig
from recsys_ssl.features.schema import catalogue_schema, interactions_schema
from recsys_ssl.index.scann_index import IndexConfig
from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.transforms import IngestConfig
from recsys_ssl.serving.queries import Places
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs


class Rejected(Artifact):
    """JSON lines of the records that were not taken, with file, line and reason."""

    TYPE_NAME = "recsys_ssl.Rejected"


class Correlations(Artifact):
    """Mutual information between item features, with its heat map."""

    TYPE_NAME = "recsys_ssl.Correlations"


class Embeddings(Artifact):
    """Item and test-query embeddings of one arm, in the subdirectories `items` and `queries`."""

    TYPE_NAME = "recsys_ssl.Embeddings"


class ScannIndex(Artifact):
    """A ScaNN index and its measured recall."""

    TYPE_NAME = "recsys_ssl.ScannIndex"


class Report(Artifact):
    """report.html and report.json of an A/B evaluation."""

    TYPE_NAME = "recsys_ssl.Report"


class AnomalyError(ValueError):
    """The data break the schema that the spec implies."""


@component
def IngestLogs(  # noqa: N802  (components are named as classes)
    interactions: OutputArtifact[standard_artifacts.Examples],
    catalogue: OutputArtifact[standard_artifacts.Examples],
    rejected: OutputArtifact[Rejected],
    spec: Parameter[str],
    data_dir: Parameter[str],
    data_fingerprint: Parameter[str],
    rejected_copy: Parameter[str],
    config: Parameter[str],
    beam_args: Parameter[str],
    code: Parameter[str],
):
    """Logs and tables -> interactions, catalogue and rejected records.

    When ingestion fails, TFX deletes the outputs; `rejected_copy` keeps the rejected records all the same.
    """
    try:
        stages.ingest_logs(
            FeatureSpec.from_json(spec),
            data_dir,
            interactions.uri,
            catalogue.uri,
            rejected.uri,
            from_json(IngestConfig, config),
            json.loads(beam_args),
        )
    except LogError:
        _copy(rejected.uri, rejected_copy)
        raise
    _describe_examples(interactions, examples.INTERACTION_SPLITS)
    _describe_examples(catalogue, [examples.CATALOGUE_SPLIT])


@component
def DeriveSchemas(  # noqa: N802
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


@component
def StopOnAnomalies(  # noqa: N802
    interactions: InputArtifact[standard_artifacts.ExampleAnomalies],
    catalogue: InputArtifact[standard_artifacts.ExampleAnomalies],
):
    """Fails with a list of all anomalies when there is any."""
    found = []
    for name, artifact in (("interactions", interactions), ("catalogue", catalogue)):
        for split in artifact_utils.decode_split_names(artifact.split_names):
            path = os.path.join(artifact.uri, f"Split-{split}", "SchemaDiff.pb")
            anomalies = anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(path))
            for feature, info in sorted(anomalies.anomaly_info.items()):
                found.append(f"{name}, {split}, {feature}: {info.short_description}: {info.description}")
    if found:
        lines = "\n  ".join(found)
        raise AnomalyError(
            f"the data break the schema of the spec in {len(found)} places:\n  {lines}\nMend the data or the spec."
        )


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
    stages.transform_features(
        FeatureSpec.from_json(spec),
        interactions.uri,
        catalogue.uri,
        query_transform.uri,
        item_transform.uri,
        encoded_interactions.uri,
        encoded_catalogue.uri,
        json.loads(beam_args),
    )
    _describe_examples(encoded_interactions, examples.INTERACTION_SPLITS)
    _describe_examples(encoded_catalogue, [examples.CATALOGUE_SPLIT])


@component
def CorrelateFeatures(  # noqa: N802
    encoded_catalogue: InputArtifact[standard_artifacts.Examples],
    correlations: OutputArtifact[Correlations],
    spec: Parameter[str],
    beam_args: Parameter[str],
    code: Parameter[str],
):
    """Encoded catalogue -> mutual information between its features."""
    feature_spec = FeatureSpec.from_json(spec)
    stages.correlate_features(feature_spec, encoded_catalogue.uri, correlations.uri, json.loads(beam_args))


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
    inputs = TrainInputs(
        encoded_interactions.uri,
        encoded_catalogue.uri,
        query_transform.uri,
        item_transform.uri,
        os.path.join(correlations.uri, artifacts.CORRELATIONS_FILE),
    )
    train_config = from_json(TrainConfig, config)
    stages.train_arm(FeatureSpec.from_json(spec), train_config, inputs, towers.uri, checkpoint_dir, run.uri)


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
    stages.embed_arm(
        FeatureSpec.from_json(spec),
        towers.uri,
        interactions.uri,
        catalogue.uri,
        os.path.join(embeddings.uri, "items"),
        os.path.join(embeddings.uri, "queries"),
        json.loads(beam_args),
    )


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
    stages.index_arm(
        towers.uri,
        os.path.join(embeddings.uri, "items"),
        os.path.join(embeddings.uri, "queries"),
        index.uri,
        # Where Pusher looks for a SavedModel inside its artifact.
        path_utils.serving_model_dir(recommender.uri),
        path_utils.serving_model_dir(brute_force_recommender.uri),
        from_json(IndexConfig, config),
    )


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
    control_config: Parameter[str],
    treatment_config: Parameter[str],
    config: Parameter[str],
    code: Parameter[str],
):
    """Embeddings of both arms -> A/B report; its decision blesses the treatment's recommender or not."""
    result = stages.evaluate_run(
        FeatureSpec.from_json(spec),
        stages.ArmDirs(os.path.join(control.uri, "items"), os.path.join(control.uri, "queries")),
        stages.ArmDirs(os.path.join(treatment.uri, "items"), os.path.join(treatment.uri, "queries"), index.uri),
        from_json(TrainConfig, control_config),
        from_json(TrainConfig, treatment_config),
        interactions.uri,
        catalogue.uri,
        report.uri,
        from_json(EvaluationConfig, config),
    )
    blessed = bool(result["verdict"]["blessed"])
    # What Pusher and the resolver of the latest blessed model read.
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property("current_model", recommender.uri)
    blessing.set_int_custom_property("current_model_id", recommender.id)
    io_utils.write_string_file(os.path.join(blessing.uri, "BLESSED" if blessed else "NOT_BLESSED"), "")


@component
def PublishResults(  # noqa: N802
    report: InputArtifact[Report],
    index: InputArtifact[ScannIndex],
    correlations: InputArtifact[Correlations],
    recommender: InputArtifact[standard_artifacts.Model],
    brute_force_recommender: InputArtifact[standard_artifacts.Model],
    rejected: InputArtifact[Rejected],
    interactions: InputArtifact[standard_artifacts.Examples],
    catalogue: InputArtifact[standard_artifacts.Examples],
    workdir: Parameter[str],
    run_id: Parameter[str],
):
    """Copies what people look for from the artifact store to fixed places in the working directory.

    `run_id` changes with every run, so that the copies are made even when everything else came from the cache.
    """
    published = {
        "report": report.uri,
        "index": index.uri,
        "correlations": correlations.uri,
        "recommender": path_utils.serving_model_dir(recommender.uri),
        "recommender-brute-force": path_utils.serving_model_dir(brute_force_recommender.uri),
        "rejected": rejected.uri,
    }
    for name, source in published.items():
        _copy(source, os.path.join(workdir, name))
    Places(interactions.uri, catalogue.uri, os.path.join(workdir, "recommender")).write(workdir)


def _copy(source: str, target: str) -> None:
    """Replaces a directory by a copy of another, never leaving half of one."""
    if not os.path.isdir(source):
        return
    with artifacts.whole_directory(target) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)


def _describe_examples(artifact: standard_artifacts.Examples, splits) -> None:
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    artifact.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    artifact.set_string_custom_property("file_format", "tfrecords_gzip")
