"""Files of patterns in every format, and files that are none."""

import struct

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.diffraction.patterns import Patterns, read_patterns, write_patterns

COUNTS = np.array([[0, 1, 3, 0], [0, 0, 0, 0], [2, 0, 1, 1]], np.int32)
SPARSE = [f"npz, sparse {form}" for form in ("csr", "csc", "coo")]


def emc_bytes(kind=0, num_patterns=3, num_pixels=4, body=None):
    """A file of COUNTS, number by number."""
    header = [num_patterns, num_pixels, kind, *[0] * 253]
    ones, many = [1, 0, 2], [1, 0, 1]
    places_of_ones, places_of_many, counts_of_many = [1, 2, 3], [2, 0], [3, 2]
    if body is None:
        body = struct.pack("<14i", *ones, *many, *places_of_ones, *places_of_many, *counts_of_many, 0)[:-4]
    return struct.pack("<256i", *header) + body


def write_hdf5(path, **changes):
    ragged = h5py.vlen_dtype(np.int32)
    columns = {
        "place_ones": [[1], [], [2, 3]],
        "place_multi": [[2], [], [0]],
        "count_multi": [[3], [], [2]],
    } | changes
    with h5py.File(path, "w") as file:
        file["num_pix"] = [4]
        for name, rows in columns.items():
            if rows is not None:
                data = file.create_dataset(name, (len(rows),), ragged)
                for place, row in enumerate(rows):
                    data[place] = np.array(row, np.int32)


def write_kind(kind, path):
    if kind == "emc":
        path.write_bytes(emc_bytes())
    elif kind == "emc, dense":
        path.write_bytes(emc_bytes(1, body=COUNTS.astype("<i4").tobytes()))
    elif kind == "emc, dense doubles":
        path.write_bytes(emc_bytes(2, body=COUNTS.astype("<f8").tobytes()))
    elif kind == "hdf5":
        write_hdf5(path)
    elif kind.startswith("npz, sparse csr"):
        with path.open("wb") as file:
            sp.save_npz(file, sp.csr_matrix(COUNTS).asformat(kind.split()[-1]))
    else:
        with path.open("wb") as file:
            np.savez(file, patterns=COUNTS.reshape(3, 2, 2))


@pytest.mark.parametrize("kind", ["emc", "emc, dense", "emc, dense doubles", "hdf5", *SPARSE, "npz, dense"])
def test_every_format_is_known_by_its_content(kind, tmp_path):
    write_kind(kind, tmp_path / "any.name")
    found = read_patterns(tmp_path / "any.name")
    np.testing.assert_array_equal(found.counts.toarray(), COUNTS)
    assert found.quaternions is None


@pytest.mark.parametrize("name", ["p.emc", "p.npz"])
def test_what_is_written_is_read(name, tmp_path):
    quaternions, fluence = np.random.default_rng(0).random((3, 4)), np.array([0.5, 1.0, 1.5])
    write_patterns(tmp_path / name, Patterns(sp.csr_matrix(COUNTS), quaternions, fluence))
    found = read_patterns(tmp_path / name)
    np.testing.assert_array_equal(found.counts.toarray(), COUNTS)
    if name == "p.npz":
        np.testing.assert_array_equal(found.quaternions, quaternions)
        np.testing.assert_array_equal(found.fluence, fluence)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_emc_file_is_written_number_by_number(tmp_path):
    write_patterns(tmp_path / "p.emc", Patterns(sp.csr_matrix(COUNTS)))
    assert (tmp_path / "p.emc").read_bytes() == emc_bytes()
    with pytest.raises(ValueError, match="a .emc file holds whole photons"):
        write_patterns(tmp_path / "q.emc", Patterns(sp.csr_matrix(COUNTS * 0.5)))


@pytest.mark.parametrize("kind", ["emc", "emc, dense", "hdf5", "npz, sparse csr", "npz, dense"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_truncated_file_is_an_error(kind, share, tmp_path):
    path = tmp_path / "patterns"
    write_kind(kind, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedError, match="patterns is damaged, or not whole. Received: .*Give a file of photons"):
        read_patterns(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pixel,count\n" * 200, "a header of .* patterns"),
        (emc_bytes(kind=3), "type 3"),
        (emc_bytes(num_patterns=0), "a header of 0 patterns"),
        (emc_bytes() + b"more", "in place of 1,076"),
        (emc_bytes(num_pixels=3), "photons outside of its 3 pixels"),
    ],
    ids=["text", "kind", "empty", "longer", "place"],
)
def test_a_file_of_something_else_is_an_error(content, message, tmp_path):
    (tmp_path / "p.emc").write_bytes(content)
    with pytest.raises(DamagedError, match=message):
        read_patterns(tmp_path / "p.emc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"place_ones": None}, "no place_ones in it"),
        ({"count_multi": [[3], [1], [2]]}, "places and counts of different lengths"),
        ({"place_ones": [[4], [], []]}, "photons outside of its 4 pixels"),
    ],
)
def test_hdf5_of_something_else_is_an_error(changes, message, tmp_path):
    write_hdf5(tmp_path / "p.h5", **changes)
    with pytest.raises(DamagedError, match=message):
        read_patterns(tmp_path / "p.h5")


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([[1.0, np.nan], [1.0, 2.0]], "finite, not negative. Received: 1 others, the first in pattern 0"),
        ([[1.0, 0.0], [-1.0, np.inf]], "finite, not negative. Received: 2 others, the first in pattern 1"),
        ([[0.0, 0.0]], "must hold photons. Received: 1 patterns without any"),
        (np.zeros((0, 2)), "must have patterns. Received: none"),
    ],
    ids=["nan", "negative", "no photons", "no patterns"],
)
def test_what_is_no_count_is_an_error(patterns, message, tmp_path):
    np.savez(tmp_path / "p.npz", patterns=np.array(patterns))
    with pytest.raises(ValueError, match=message):
        read_patterns(tmp_path / "p.npz")


def test_an_archive_of_something_else_is_an_error(tmp_path):
    np.savez(tmp_path / "p.npz", images=COUNTS)
    with pytest.raises(DamagedError, match="neither `patterns` nor a sparse matrix in it, but images"):
        read_patterns(tmp_path / "p.npz")


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_patterns(tmp_path / "none.emc")


def test_a_directory_is_read_in_the_order_of_names(tmp_path):
    parts = [sp.csr_matrix([[0, number], [3, 0]]) for number in (1, 2)]
    for name, part in zip(("b.npz", "a.npz"), parts, strict=True):
        write_patterns(tmp_path / name, Patterns(part, quaternions=np.eye(4)[:2]))
    (tmp_path / "rejected.csv").write_text("file,frame\n")
    found = read_patterns(tmp_path)
    assert found.counts.toarray().tolist() == [[0, 2], [3, 0], [0, 1], [3, 0]]
    assert found.quaternions.shape == (4, 4)
    assert found.fluence is None
    write_patterns(tmp_path / "c.npz", Patterns(sp.csr_matrix([[1, 2, 3]])))
    with pytest.raises(ValueError, match="must be of one detector. Received: of .2, 3. pixels"):
        read_patterns(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no .npz in"):
        read_patterns(tmp_path / "empty")
