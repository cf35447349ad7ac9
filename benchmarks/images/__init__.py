"""IN images with labels, as IDX files. OUT trials: what each pre-training makes of them at equal cost."""
