"""The component that lets nothing pass that breaks the schemas."""

import os

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils


class AnomalyError(ValueError):
    """The data break the schema that the spec implies."""


@component
def StopOnAnomalies(  # noqa: N802
    interactions: InputArtifact[standard_artifacts.ExampleAnomalies],
    catalogue: InputArtifact[standard_artifacts.ExampleAnomalies],
    code: Parameter[str],
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
