"""IN encoded features. OUT query and item embeddings, losses."""
