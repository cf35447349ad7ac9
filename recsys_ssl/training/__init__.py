"""IN encoded interactions and catalogue, correlations; SMILES. OUT SavedModels of both towers; molecule encoders."""
