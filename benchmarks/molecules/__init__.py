"""IN MoleculeNet's CSV files OUT trials of fine-tuned encoders and fingerprints, and the tables that compare them."""
