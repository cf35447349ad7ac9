"""IN item and query embeddings of two arms. OUT exact metrics, paired statistics, a decision and a report."""
