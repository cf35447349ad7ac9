import gzip

import numpy as np
import pytest

from recsys_ssl.encoders.molecule.properties import read_properties
from recsys_ssl.encoders.molecule.smiles import Rejection, featurise

CSV = "id,mol,soluble,mass\n1,CCO,1,46\n2,c1ccccc1,0,\n3,[Na+],,22.99\n"
NAN = np.nan


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "molecules.csv"
    file.write_text(CSV)
    return file


def test_reads_graphs_and_targets(path):
    table = read_properties(path, "mol", ["mass", "soluble"])
    assert table.texts == ["CCO", "c1ccccc1", "[Na+]"]
    assert table.rows.tolist() == [0, 1, 2]
    assert table.names == ["mass", "soluble"]
    np.testing.assert_array_equal(table.targets, np.array([[46, 1], [NAN, 0], [22.99, NAN]], np.float32))
    assert table.targets.dtype == np.float32
    for graph, smiles in zip(table.contents, table.texts):
        np.testing.assert_array_equal(graph.atoms, featurise(smiles).atoms)
    assert table.rejections == []


def test_all_other_columns_are_targets_and_gzip_is_read(path, tmp_path):
    zipped = tmp_path / "molecules.csv.gz"
    zipped.write_bytes(gzip.compress(CSV.encode()))
    assert read_properties(zipped, "mol").names == ["id", "soluble", "mass"]


def test_rows_without_a_molecule_are_told(tmp_path):
    path = tmp_path / "molecules.csv"
    smiles = ["C" * n for n in range(1, 40)]
    path.write_text(
        "smiles,y\n" + "\n".join(f"{text},{i}" for i, text in enumerate([*smiles[:5], "C1CC", *smiles[5:]]))
    )
    table = read_properties(path, "smiles")
    assert table.rejections == [Rejection(5, "unparsable", "C1CC")]
    assert table.rows.tolist() == [row for row in range(40) if row != 5]
    assert table.targets[:, 0].tolist() == table.rows.tolist()
    assert table.texts == smiles


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (CSV, ("smiles", ["mass"]), "and smiles missing"),
        (CSV, ("mol", ["mass", "mass"]), "distinct columns of targets"),
        ("mol\nCCO\n", ("mol", None), "columns of targets"),
        ("mol,y\n", ("mol", None), "Received: 0 rows"),
        (CSV.replace("22.99", "heavy"), ("mol", ["mass"]), "Received: 'heavy' in row 2"),
        (CSV.replace("22.99", "inf"), ("mol", ["mass"]), "Received: 'inf' in row 2"),
        (CSV, ("id", ["mass"]), "3 unparsable of 3, the first in row 0: '1'. Is 'id' the column"),
        (CSV.replace("[Na+]", ""), ("mol", ["mass"]), "1 empty of 3"),
        ("", ("mol", ["mass"]), "Received: 0 rows, columns none, and mol, mass missing"),
        ("mol,y,y\nCCO,1,2\n", ("mol", ["y"]), "names of their own. Received: 'y' more than once in '.*molecules.csv'"),
        ("mol,mol,y\nCCO,CC,2\n", ("mol", None), "names of their own. Received: 'mol' more than once"),
        ("mol,y\nCCO,1,2\nCC,2,3\n", ("mol", ["y"]), "as many cells as its header. .*more cells than the 2"),
        ("mol,y\nCCO,1\nCC,2,3\n", ("mol", ["y"]), "as many cells as its header. .*Expected 2 fields in line 3, saw 3"),
        ("mol;y\nCCO;0,5\n", ("mol", ["y"]), "Received: '0,5' in row 0"),
        ("PK\x03\x04", ("mol", ["y"]), "a ZIP archive that cannot be read"),
        ("mol,y\n[C][O],1\n", ("mol", ["y"]), "SELFIES. Write its molecules as SMILES"),
    ],
    ids=[
        "column",
        "repeated",
        "no target",
        "no rows",
        "text",
        "infinite",
        "wrong column",
        "too many",
        "empty",
        "two targets of a name",
        "two columns of SMILES",
        "too many cells",
        "too many cells later",
        "decimal comma",
        "zip",
        "SELFIES",
    ],
)
def test_bad_tables(path, text, columns, message):
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_properties(path, *columns)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["commas", "semicolons", "tabs"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_tables_of_any_delimiter_and_encoding_are_read_alike(path, delimiter, encoding):
    text = f'"mol",name,Löslichkeit\nCCO,"ethyl{delimiter} alcohol",1\nCC,éthane,2.5\n'.replace(",", delimiter)
    path.write_bytes(text.encode(encoding))
    table = read_properties(path, "mol", ["Löslichkeit"])
    assert (table.texts, table.names) == (["CCO", "CC"], ["Löslichkeit"])
    assert table.targets.tolist() == [[1.0], [2.5]]


def test_columns_without_a_name_are_no_repetition(path):
    path.write_text(",mol,y,,\n0,CCO,1,,\n")
    assert read_properties(path, "mol", ["y"]).targets.tolist() == [[1.0]]


def test_comments_above_the_header_are_skipped(path):
    path.write_text("# one, two, three\n\n# c\nmol,y\nCCO,1\n")
    table = read_properties(path, "mol", ["y"])
    assert (table.rows.tolist(), table.texts, table.targets.tolist()) == ([0], ["CCO"], [[1.0]])


def test_what_follows_a_smiles_is_none_of_it(path):
    path.write_text("mol,y\nCCO |^1:0|,1\n CC ethane,2\n")
    table = read_properties(path, "mol", ["y"])
    assert table.texts == ["CCO", "CC"]
    np.testing.assert_array_equal(table.contents[0].atoms, featurise("CCO").atoms)


@pytest.mark.parametrize("header", ["mol, y", " mol ,y ", '"mol", "y"', '" mol "; " y"', "mol\t y"])
def test_blanks_around_names_do_not_count(path, header):
    delimiter = next(mark for mark in ",;\t" if mark in header)
    path.write_text(f'{header}\n"CCO"{delimiter} "1"\nCC{delimiter} 2\n')
    for target in ("y", " y"):
        table = read_properties(path, "mol", [target])
        assert (table.texts, table.names, table.targets.tolist()) == (["CCO", "CC"], ["y"], [[1.0], [2.0]])


def test_molecules_alone(path):
    path.write_text(CSV)
    table = read_properties(path, "mol", [])
    assert table.names == []
    assert table.targets.shape == (len(table.contents), 0)
    assert len(table.contents) > 0


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a CSV file"):
        read_properties(tmp_path / "nowhere.csv", "smiles")
