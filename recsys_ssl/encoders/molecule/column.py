"""SMILES of an item table become packed graphs, once: no later stage, and no server, needs RDKit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recsys_ssl import lists
from recsys_ssl.encoders.molecule.graph import to_bytes
from recsys_ssl.encoders.molecule.smiles import MoleculeError, featurise


def read(
    smiles: pa.LargeListArray, config: None = None, data_dir: str = "."
) -> tuple[pa.LargeListArray, dict[str, np.ndarray]]:
    """The graphs of a column of SMILES; about 0.4 ms and 1 kB for a drug-like molecule.

    Args:
        smiles: [num_records] lists of at most one text; an empty list is a missing molecule.
        config, data_dir: of no use to a SMILES, see `contract.ColumnModule`.

    Returns:
        [num_records] lists of at most one graph packed by `to_bytes`, as large_binary; and reason (see
        `MoleculeError`) -> [num_records] bool, the records whose SMILES gives no molecule.
    """
    graphs: list[bytes] = []
    reasons: dict[str, np.ndarray] = {}
    texts, lengths = lists.flatten(smiles, pa.large_string())
    kept = lengths.copy()
    for row, text in zip(lists.owners(lengths), texts.to_pylist()):
        try:
            graphs.append(to_bytes(featurise(text)))
        except MoleculeError as error:
            kept[row] = 0
            reasons.setdefault(error.reason, np.zeros(len(smiles), bool))[row] = True
    return lists.from_flat(pa.array(graphs, pa.large_binary()), kept), reasons
