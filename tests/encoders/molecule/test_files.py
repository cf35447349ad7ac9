"""Files of SMILES as they are found in the wild."""

import gzip

import pytest

from recsys_ssl.encoders.molecule.files import read_smiles


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CCO\nCC\n", ["CCO", "CC"]),
        ("CCO ethanol\nCC\tethane\r\nC", ["CCO", "CC", "C"]),
        ("smiles\nCC\n", ["CC"]),
        ("SMILES,SPLIT\nCC,train\n", ["CC"]),
        ("CC\nsmiles\n", ["CC", "smiles"]),
        ("CC\n\n  \nC\n", ["CC", "", "", "C"]),
        ("", []),
    ],
    ids=["plain", "names", "header", "csv", "header only first", "empty lines", "empty file"],
)
def test_first_column(tmp_path, text, expected):
    (tmp_path / "a.smi").write_bytes(text.encode())
    (tmp_path / "a.smi.gz").write_bytes(gzip.compress(text.encode()))
    assert list(read_smiles(tmp_path / "a.smi")) == expected
    assert list(read_smiles(str(tmp_path / "a.smi.gz"))) == expected


def test_bytes_that_are_no_text_do_not_end_the_stream(tmp_path):
    (tmp_path / "a.smi").write_bytes(b"\xff\xfe\nCC\n")
    assert list(read_smiles(tmp_path / "a.smi"))[1:] == ["CC"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="a file of SMILES must exist"):
        list(read_smiles(tmp_path / "no.smi"))
