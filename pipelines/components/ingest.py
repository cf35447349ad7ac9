"""The component that reads logs."""

import json

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from pipelines.components.artifacts import Rejected, describe_examples
from pipelines.properties import from_json
from pipelines.stages.ingest import ingest_logs
from recsys_ssl import artifacts, examples, provenance
from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.transforms import IngestConfig
from recsys_ssl.spec import FeatureSpec


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
    feature_spec = FeatureSpec.from_json(spec)
    try:
        ingest_logs(
            feature_spec,
            data_dir,
            interactions.uri,
            catalogue.uri,
            rejected.uri,
            from_json(IngestConfig, config),
            json.loads(beam_args),
        )
    except LogError:
        artifacts.copy_dir(rejected.uri, rejected_copy)
        raise
    manifest = provenance.derive_manifest("run", spec, json.loads(config), code, {})
    manifest.inputs["data"] = provenance.digest(data_fingerprint)
    manifest.write(interactions.uri, catalogue.uri)
    describe_examples(interactions, feature_spec.split.names)
    describe_examples(catalogue, [examples.CATALOGUE_SPLIT])
