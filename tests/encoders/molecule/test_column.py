"""SMILES of a table: packed graphs, what is missing, and what is rejected."""

import numpy as np
import pyarrow as pa

from recsys_ssl.encoders.molecule.column import read
from recsys_ssl.encoders.molecule.graph import from_bytes
from recsys_ssl.encoders.molecule.smiles import MAX_ATOMS, featurise


def as_lists(values):
    return pa.array(values, pa.large_list(pa.large_string()))


def test_a_smiles_becomes_its_graph_and_a_missing_one_nothing():
    graphs, reasons = read(as_lists([["CCO"], [], ["c1ccccc1"]]))
    assert graphs.type == pa.large_list(pa.large_binary())
    assert reasons == {}
    ethanol, missing, benzene = graphs.to_pylist()
    assert missing == []
    for (packed,), smiles in ((ethanol, "CCO"), (benzene, "c1ccccc1")):
        for found, expected in zip(from_bytes(packed), featurise(smiles)):
            np.testing.assert_array_equal(found, expected)


def test_each_reason_names_its_records():
    texts = [["C"], ["C1CC"], [" "], ["C" * (MAX_ATOMS + 1)], ["no molecule"], []]
    graphs, reasons = read(as_lists(texts))
    found = {reason: np.flatnonzero(mask).tolist() for reason, mask in reasons.items()}
    assert found == {"unparsable": [1, 4], "empty": [2], "too_large": [3]}
    assert [len(values) for values in graphs.to_pylist()] == [1, 0, 0, 0, 0, 0]


def test_no_record_gives_no_graph():
    graphs, reasons = read(as_lists([]))
    assert (len(graphs), graphs.type, reasons) == (0, pa.large_list(pa.large_binary()), {})
