"""IN interactions and catalogue (raw example files). OUT integer-coded features, masked views, correlations."""
