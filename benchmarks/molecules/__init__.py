"""IN MoleculeNet's CSV files OUT trials of fine-tuned encoders and fingerprints, and the tables that compare them."""

import recsys_ssl  # noqa: F401  (chooses Keras 2 before anything loads TensorFlow)
