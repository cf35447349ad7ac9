"""IN interactions and catalogue (raw example files). OUT integer codes, masked views, correlations."""
