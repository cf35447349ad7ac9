"""IN an exported recommender and a query. OUT the best items, with their titles."""
