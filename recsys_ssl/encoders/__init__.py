"""IN raw content (SMILES, ...). OUT vectors of it, and encoders that an item tower trains on; one folder a kind."""
