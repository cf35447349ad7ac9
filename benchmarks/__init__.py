"""Measurements: each a command, whose figures stand in `results/` and from there in the pages of docs/."""

import recsys_ssl  # noqa: F401  (chooses Keras 2, and NumPy's kernels, before either is loaded)
