"""IN frozen vectors with labels, of any encoder. OUT how well clusters agree with classes, beside a linear probe."""
