"""Where training keeps its checkpoints."""

from __future__ import annotations

import os

from pipelines.source_code import source_hash
from recsys_ssl import kinds
from recsys_ssl.spec import FeatureSpec


def checkpoints_dir(workdir: str, spec: FeatureSpec) -> str:
    """A directory for the code that decides the weights, so that a change of the model starts runs of its own."""
    parts = kinds.sources(spec.content_kinds, "encoder", "settings")
    code = source_hash("recsys_ssl.training.train", *parts)
    return os.path.join(workdir, "checkpoints", code)
