"""IN directories of the stages before. OUT directories of this one: each stage of a run as a plain function."""
