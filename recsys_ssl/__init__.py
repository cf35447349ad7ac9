"""Large-scale retrieval recommenders regularised by self-supervision.

The packages are the data flow: logs -> features -> models -> training -> index -> evaluation.
"""

import os
import sys

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

__version__ = "0.1.0"
