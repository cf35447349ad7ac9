"""IN feedback logs, item and query tables, as a FeatureSpec names them. OUT examples, catalogue, rejected records."""
