"""IN short texts. OUT a vector of their characters: the least that a kind of content can be."""
