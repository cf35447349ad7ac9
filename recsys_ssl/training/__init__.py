"""IN encoded interactions and catalogue, correlations, encoders of content. OUT SavedModels of both towers."""
