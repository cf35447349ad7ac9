"""IN ChEMBL's activities and a pre-trained encoder OUT trials of item towers on new compounds, and their tables."""
