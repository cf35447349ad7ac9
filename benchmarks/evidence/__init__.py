"""IN real logs OUT trials of every regulariser and baseline, and the tables that compare them."""

import recsys_ssl  # noqa: F401  (chooses Keras 2 before anything loads TensorFlow)
