"""IN towers, catalogue, held-out queries; OUT embeddings, an index with its measured recall, a recommender to serve."""
