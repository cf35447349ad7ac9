"""IN photon patterns of copies of a particle, a detector. OUT its 3-D intensity, and a rotation-invariant vector."""
