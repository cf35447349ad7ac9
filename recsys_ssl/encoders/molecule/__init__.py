"""IN SMILES. OUT graphs, GROVER's encoder of them, and what it learns without labels."""
