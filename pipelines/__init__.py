"""IN a spec and a data directory. OUT report, index, blessed SavedModel: the TFX pipeline and the command line."""

import recsys_ssl  # noqa: F401  (chooses Keras 2 before anything loads TensorFlow)
