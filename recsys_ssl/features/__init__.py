"""IN interactions and catalogue (raw example files); SMILES. OUT integer codes, masked views, correlations; graphs."""
