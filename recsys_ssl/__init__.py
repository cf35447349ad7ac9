"""Large-scale retrieval recommenders regularised by self-supervision.

The packages are the data flow: logs -> features -> models -> training -> index -> evaluation -> serving. What most
users need has a name here, loaded when it is first asked for:

    load_spec, run_pipeline            a feature spec, and the whole pipeline on it
    load_recommender, recommend        an exported recommender, and the best items for a query
    load_encoder, embed                a pre-trained encoder of content, and vectors from it
"""

import importlib
import os
import sys

from recsys_ssl.processor import name_kernels

if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise ImportError(
        "recsys_ssl needs Keras 2, but TensorFlow was imported before TF_USE_LEGACY_KERAS=1 was set. "
        "Import recsys_ssl before tensorflow, or export TF_USE_LEGACY_KERAS=1."
    )
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
if os.environ["TF_USE_LEGACY_KERAS"] != "1":
    raise ImportError(
        "recsys_ssl needs Keras 2. Received: "
        f"TF_USE_LEGACY_KERAS={os.environ['TF_USE_LEGACY_KERAS']!r}. Set it to 1 or unset it."
    )

name_kernels()

__version__ = "0.1.0"

# Name -> its module. The pipeline is named and not imported: the packages here do without it.
_FACE = {
    "load_spec": "recsys_ssl.spec_files",
    "run_pipeline": "pipelines.api",
    "load_recommender": "recsys_ssl.serving.recommender",
    "recommend": "recsys_ssl.serving.recommender",
    "load_encoder": "recsys_ssl.encoders.api",
    "embed": "recsys_ssl.encoders.api",
}
__all__ = list(_FACE)


def __getattr__(name: str):
    if name not in _FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_FACE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FACE})
