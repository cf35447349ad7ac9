"""IN images with labels, as IDX files. OUT trials: what each pre-training makes of them at equal cost."""

import recsys_ssl  # noqa: F401  (chooses Keras 2 before anything loads TensorFlow)
