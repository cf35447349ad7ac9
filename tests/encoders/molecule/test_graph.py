import numpy as np
import pytest

from recsys_ssl.encoders.molecule.graph import batch_molecules, from_bytes, pad_to, to_bytes
from recsys_ssl.encoders.molecule.smiles import featurise

MOLECULES = {
    "methane": "C",
    "salt": "[Na+].[Cl-]",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "penicillin": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "chain": "C" * 150,
}


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
        assert a.shape == b.shape


# --- Batches -----------------------------------------------------------------------------------------


def test_buckets_hold_their_rows_and_are_few():
    assert [pad_to(n) for n in (0, 1, 64, 65, 69, 125, 129, 137, 1000, 1025)] == (
        [64, 64, 64, 68, 72, 128, 136, 144, 1024, 1088]
    )
    sizes = range(64, 5000)
    assert all(n <= pad_to(n) < n + n / 16 + 1 for n in sizes)
    assert len({pad_to(n) for n in sizes}) < 110
    assert all(pad_to(pad_to(n)) == pad_to(n) for n in sizes)


def test_a_batch_of_two_molecules_by_hand():
    ethanol, methane = featurise("CCO"), featurise("C")
    batch = batch_molecules([ethanol, methane])
    assert [array.dtype for array in batch] == [np.uint8, np.float32, np.uint8, *[np.int32] * 4]
    assert [array.shape for array in batch] == [(64, 18), (64,), (32, 4), (64,), (64,), (64,), ()]
    assert batch.num_molecules == 2
    np.testing.assert_array_equal(batch.atoms[:4], np.concatenate([ethanol.atoms, methane.atoms]))
    np.testing.assert_array_equal(batch.masses[:4], np.concatenate([ethanol.masses, methane.masses]))
    np.testing.assert_array_equal(batch.bonds[:2], ethanol.bonds)
    assert not batch.atoms[4:].any()
    assert not batch.masses[4:].any()
    assert not batch.bonds[2:].any()
    assert batch.molecules.tolist() == [0, 0, 0, 1] + [2] * 60
    assert batch.sources.tolist() == [0, 1, 1, 2] + [63] * 60
    assert batch.targets.tolist() == [1, 0, 2, 1] + [63] * 60


def test_a_batch_holds_its_molecules_and_edges_come_in_pairs():
    graphs = [featurise(smiles) for smiles in MOLECULES.values()]
    batch = batch_molecules(graphs)
    np.testing.assert_array_equal(batch.sources[::2], batch.targets[1::2])
    np.testing.assert_array_equal(batch.targets[::2], batch.sources[1::2])
    np.testing.assert_array_equal(batch.molecules[batch.sources], batch.molecules[batch.targets])
    for index, graph in enumerate(graphs):
        rows = np.flatnonzero(batch.molecules == index)
        of_molecule = batch.molecules[batch.sources] == index
        edges = np.stack([batch.sources, batch.targets], axis=1)[of_molecule][::2] - rows[0]
        again = (batch.atoms[rows], batch.masses[rows], batch.bonds[of_molecule[::2]], edges.astype(np.int32))
        assert_same(again, graph)


@pytest.mark.parametrize(("length", "num_atoms", "num_edges"), [(63, 64, 124), (64, 68, 128), (33, 64, 64)])
def test_a_padding_atom_is_always_there_and_padding_edges_where_they_must(length, num_atoms, num_edges):
    # A chain of n atoms has 2 (n - 1) edges.
    batch = batch_molecules([featurise("C" * length)])
    assert (len(batch.atoms), len(batch.sources)) == (num_atoms, num_edges)
    assert (batch.molecules == 1).sum() == num_atoms - length
    assert (batch.sources == num_atoms - 1).sum() == num_edges - 2 * (length - 1)


def test_a_batch_of_none_is_padding():
    batch = batch_molecules([])
    assert (batch.num_molecules, len(batch.atoms), len(batch.sources)) == (0, 64, 64)
    assert set(batch.molecules.tolist()) == {0}


# --- Bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smiles", MOLECULES.values(), ids=MOLECULES)
def test_packing_keeps_everything(smiles):
    graph = featurise(smiles)
    packed = to_bytes(graph)
    assert_same(from_bytes(packed), graph)
    assert len(packed) == 8 + 22 * len(graph.atoms) + 12 * len(graph.bonds)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:7], lambda b: b"\xff" * len(b)])
def test_a_damaged_buffer_is_refused(change):
    with pytest.raises(ValueError, match="must have the length that its header tells"):
        from_bytes(change(to_bytes(featurise("CCO"))))
