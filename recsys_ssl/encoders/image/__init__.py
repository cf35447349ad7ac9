"""IN images. OUT vectors of them, and a vision transformer (SiT) that an item tower trains on."""
