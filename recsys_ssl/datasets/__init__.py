"""IN the name of a public data set, or a seed. OUT the files that a shipped spec describes."""
