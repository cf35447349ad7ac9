"""IN frozen vectors with labels, of any encoder. OUT how well clusters agree with classes, beside a linear probe."""

import recsys_ssl  # noqa: F401  (chooses Keras 2 before anything loads TensorFlow)
