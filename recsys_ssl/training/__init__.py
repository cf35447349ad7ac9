"""IN encoded interactions and catalogue, correlations. OUT checkpoints and a SavedModel of both towers."""
