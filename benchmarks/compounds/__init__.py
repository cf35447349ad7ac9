"""IN ChEMBL's activities and a pre-trained encoder OUT trials of item towers on new compounds, and their tables."""

import recsys_ssl  # noqa: F401  (chooses Keras 2 before anything loads TensorFlow)
