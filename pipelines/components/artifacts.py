"""The types of what components hand on, besides TFX's own."""

from collections.abc import Iterable

from tfx.types import Artifact, artifact_utils, standard_artifacts


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


class Tuned(Artifact):
    """What a search of settings found: best.txt, report.html and study.json."""

    TYPE_NAME = "recsys_ssl.Tuned"


def describe_examples(artifact: standard_artifacts.Examples, splits: Iterable[str]) -> None:
    """Says of example files what TFX's own components ask for."""
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    artifact.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    artifact.set_string_custom_property("file_format", "tfrecords_gzip")
