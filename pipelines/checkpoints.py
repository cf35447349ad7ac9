"""Where training keeps its checkpoints."""

from __future__ import annotations

import os

from pipelines.source_code import source_hash


def checkpoints_dir(workdir: str) -> str:
    """A directory for the code that decides the weights, so that a change of the model starts runs of its own."""
    return os.path.join(workdir, "checkpoints", source_hash("recsys_ssl.training.train"))
