"""IN interactions, or raw content. OUT rankings and predictions of models without towers."""
