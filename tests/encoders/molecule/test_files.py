"""Files of SMILES as they are found in the wild."""

import bz2
import gzip
import io
import lzma
import zipfile

import pytest

from recsys_ssl.encoders.molecule import text_files
from recsys_ssl.encoders.molecule.files import find_layout, read_header, read_smiles

NUM_CHAINS = 300
CHAINS = ["C" * (1 + row % 60) + "O" * (row % 2) for row in range(NUM_CHAINS)]


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


def read(tmp_path, text, column=None, encoding="utf-8"):
    (tmp_path / "a.txt").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return list(read_smiles(tmp_path / "a.txt", column))


# --- Columns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"smiles","name"\n"CCO","ethanol"\n"CCN","ethylamine"\n', ["CCO", "CCN"]),
        ('"ChEMBL ID";"Name";"Smiles"\n"CHEMBL545";"ETHANOL";"CCO"\n', ["CCO"]),
        ("id,smiles\n1,CCO\n2,CCN\n", ["CCO", "CCN"]),
        ("id\tcanonical_smiles\tname\n1\tCCO\tan alcohol\n", ["CCO"]),
        ("name,smiles\nCO,c1ccccc1\nNO,CCCCCC\nPBS,CCO\n", ["c1ccccc1", "CCCCCC", "CCO"]),
        ("smiles,name\nCO,NO\n", ["CO"]),
        ("smiles_1,smiles_2\nCCO,c1ccccc1\n", ["CCO"]),
        ("canonical_smiles,smiles\nCCO,c1ccccc1\n", ["c1ccccc1"]),
        ("Compound ID;IsomericSMILES\n1;CCO\n", ["CCO"]),
        ("molecule,structure\nwater,O\n", ["O"]),
        ("num,name,p_np,mol\n1,x,1,CCO\n", ["CCO"]),
        ("#SMILES ID\nCCO 1\n", ["CCO"]),
        ("smiles name\nCCO two words\nCC\n", ["CCO", "CC"]),
        ("Canonical SMILES\nCCO\n", ["CCO"]),
        ('"Canonical SMILES"\n"CCO"\n', ["CCO"]),
        ("\n\nid,smiles\n1,CCO\n\n2,CC\n", ["CCO", "", "CC"]),
        ('id,name,smiles\n1,"1,2-ethanediol",OCCO\n2,"two\nlines",CC\n', ["OCCO", "CC"]),
        ("id,smiles\n1,\n2,  CCO \n3\n", ["", "CCO", "3,"]),
        ("id,smiles\n1,2-ethanediol,OCCO\n2,CC\n", ["1,2-ethanediol,OCCO,", "CC"]),
        ("smiles,id\nCC,1,more\nCCO\n", ["CC", "CCO"]),
        ('id, " smiles "\n1, "CCO"\n', ["CCO"]),
    ],
    ids=[
        "quotes",
        "ChEMBL's export",
        "id first",
        "tabs",
        "names that are molecules",
        "the same columns turned",
        "two that name SMILES",
        "smiles goes first",
        "in one word",
        "structure before molecule",
        "mol",
        "blanks",
        "names of several words",
        "a header of two words",
        "the same in quotes",
        "empty lines",
        "delimiters and line ends in quotes",
        "no cell",
        "too many cells",
        "too many cells after the first",
        "blanks before quotes",
    ],
)
def test_a_header_names_the_column(tmp_path, text, expected, line_end):
    assert read(tmp_path, text.replace("\n", line_end)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ethanol,CCO\nethane,CC\nmethanol,CO\n", ["CCO", "CC", "CO"]),
        ('"CCO";"ethanol"\n"CC";"ethane"\n', ["CCO", "CC"]),
        ("1\tCCO\tx\n2\tCC\ty\n", ["CCO", "CC"]),
        ("CCO,1.5,ethanol\nC1CC,2,nothing\n", ["CCO", "C1CC"]),
        ("foo,bar\nbaz,qux\n", ["foo", "baz"]),
        ("CCO ethyl alcohol, pure\nCC ethane\n", ["CCO", "CC"]),
        ("CCO |$;;$,c:1|\nCC |$;$|\n", ["CCO", "CC"]),
        ("CCO\nid,smiles\n", ["CCO", "id"]),
        ("CCO structure\nCC mol\n", ["CCO", "CC"]),
    ],
    ids=[
        "name first",
        "semicolons",
        "tabs",
        "first",
        "no molecule",
        "names with commas",
        "ChemAxon's extension",
        "header later",
        "words that could be a header",
    ],
)
def test_without_a_header_the_column_that_gives_molecules_is_read(tmp_path, text, expected):
    assert read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [("CO,c1ccccc1\nNO,CCCC\n", "commas"), ("CO c1ccccc1\nNO CCCC\n", "blanks"), ("CO\tC\nCC\tx\n", "tabs")],
    ids=["commas", "blanks", "tabs"],
)
def test_two_columns_that_read_as_smiles_are_not_guessed_at(tmp_path, text, delimiter):
    with pytest.raises(
        ValueError, match=rf"columns 1 and 2 of .*a.txt', parted by {delimiter}, .*name smiles, or name"
    ):
        read(tmp_path, text)
    assert read(tmp_path, text, column="1") == [line.split(",")[0].split()[0] for line in text.splitlines()]
    if delimiter != "blanks":
        assert read(tmp_path, text, column="2")[0] == text.replace(",", "\t").split()[1]


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("smiles,product\nCCO,CC=O\n", "product", ["CC=O"]),
        ("a;b c;d\nx;CCO;y\n", "b c", ["CCO"]),
        ("a\tb\nx\tCCO\n", "b", ["CCO"]),
        ("drug id\nCCO 7\n", "drug", ["CCO"]),
        ("drug\nCCO 7\n", "drug", ["CCO"]),
        ("2,1\nCCO,CC\n", "1", ["CC"]),
        ("x,CCO\ny,CC\n", "2", ["CCO", "CC"]),
    ],
    ids=["not the likeliest", "semicolons", "tabs", "blanks", "alone", "a number is a name first", "number"],
)
def test_a_column_can_be_named(tmp_path, text, column, expected):
    assert read(tmp_path, text, column) == expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("id,smiles\n1,CCO\n", "smile", r"Received: 'smile'; the first line of .*a.txt' has 'id', 'smiles'. Name one"),
        ("id,smiles\n1,CCO\n", "2", "Received: '2'; the first line"),
        ("x,CCO\n", "3", "Received: '3'; the first line"),
        ("x,CCO\n", "0", "Received: '0'; the first line"),
        ("smiles,smiles\nC,CC\n", "smiles", "names of their own. Received: 'smiles' more than once in"),
        ("smiles,smiles\nC,CC\n", None, "names of their own. Received: 'smiles' more than once in"),
        (
            "name smiles\nwater O\n",
            None,
            "must be parted by commas, semicolons or tabs. Received: blanks, in the header",
        ),
        ("name smiles\nwater O\n", "smiles", "must be parted by commas, semicolons or tabs. Received: blanks, in the"),
        ('id,smiles\n1,"CCO\n2,CC\n', None, "whole quotes and short cells. Received: .*line 3: unexpected end of data"),
        ('id,smiles\n1,"CC"O\n', None, "whole quotes and short cells. Received: .*line 2: ',' expected after"),
        ('id,smiles\n1,"' + "C" * 200_000 + '"\n', None, "short cells. Received: .*field larger than field limit"),
    ],
    ids=["name", "number", "beyond", "zero", "twice", "twice unnamed", "blanks", "blanks named", "open", "in", "long"],
)
def test_what_cannot_be_read_is_an_error(tmp_path, text, column, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text, column)


def test_a_long_file_is_read_to_its_end(tmp_path):
    rows = [f"{row},{text},{'x' * 500}" for row, text in enumerate(CHAINS)]
    text = "\n".join(["id,smiles,note", *rows])
    assert len(text) > 2 * (1 << 16)
    assert read(tmp_path, text) == CHAINS
    assert read(tmp_path, gzip.compress(text.encode())) == CHAINS
    # Only the first lines tell what a file is.
    assert find_layout(tmp_path / "a.txt") == (",", 1, 3, True)
    assert read(tmp_path, "C" * (1 << 17)) == ["C" * (1 << 17)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# c\nname,smiles\nCO,CCO\nNO,CCN\n", ["CCO", "CCN"]),
        ('# smiles, by "hand, of\n\n# two; lines\nname;smiles\nCO;CCO\nNO;CCN\n', ["CCO", "CCN"]),
        ("# c\n#name,smiles\nCO,CCO\n", ["CCO"]),
        ("# c\nethanol,CCO\nethane,CC\n", ["", "CCO", "CC"]),
        ("#smiles\nCCO,1\nCC,2\n", ["CCO", "CC"]),
        ("#SMILES ID\nCCO 1,2-ethanediol\nCC 2\n", ["CCO", "CC"]),
        ("# c\nCCO\nCC\n", ["#", "CCO", "CC"]),
        ('# c\nname,smiles\n"two\nlines",CC\n', ["CC"]),
        ("# c\nsmiles name\nCC ethane\n", ["CC"]),
    ],
    ids=[
        "one",
        "several",
        "above a header with a mark",
        "no header",
        "header",
        "header of words",
        "no table",
        "lines in quotes",
        "blanks",
    ],
)
def test_comments_above_a_table_are_no_header(tmp_path, text, expected):
    assert read(tmp_path, text) == expected


def test_smiles_beside_selfies_are_read(tmp_path):
    assert read(tmp_path, "selfies,smiles\n[C][O],CO\n") == ["CO"]
    assert read(tmp_path, "[C][O],CO\n[C][C],CC\n") == ["CO", "CC"]


def test_the_header_of_a_table(tmp_path):
    for delimiter in (",", ";", "\t"):
        (tmp_path / "a.csv").write_text(f'id{delimiter}"y, of {delimiter}"{delimiter}mol\n1{delimiter}2{delimiter}C\n')
        assert read_header(tmp_path / "a.csv", "mol") == (delimiter, ["id", f"y, of {delimiter}".strip(), "mol"])
    (tmp_path / "a.csv").write_text("# c\nid,mol\n1,C\n")
    assert read_header(tmp_path / "a.csv", "mol") == (",", ["id", "mol"])
    (tmp_path / "a.csv").write_text("")
    assert read_header(tmp_path / "a.csv", "mol") == (",", [])


# --- Text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["CCO\nCC\n", "id,smiles\n1,CCO\n2,CC\n", "smiles;Löslichkeit\nCCO;1\nCC;2"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_encodings(tmp_path, text, encoding):
    assert read(tmp_path, text, encoding=encoding) == ["CCO", "CC"]
    assert read(tmp_path, gzip.compress(text.encode(encoding))) == ["CCO", "CC"]


def test_big_endian_with_a_mark(tmp_path):
    assert read(tmp_path, b"\xfe\xff" + "CCO\nCC\n".encode("utf-16-be")) == ["CCO", "CC"]


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_a_mark_tells_utf16_whatever_the_script(tmp_path, mark, encoding):
    text = f"smiles,備考\nCCO,{'乙醇' * 50}\nCC,{'乙烷' * 50}\n"
    assert text.encode(encoding).count(0) < 0.1 * len(text.encode(encoding))
    assert read(tmp_path, mark + text.encode(encoding)) == ["CCO", "CC"]


def test_a_column_can_have_a_name_in_latin1(tmp_path):
    assert read(tmp_path, "id,molécule\n1,CCO\n", column="molécule", encoding="latin-1") == ["CCO"]
    assert read(tmp_path, "id,molécule\n1,CCO\n", column="molécule") == ["CCO"]


def test_bytes_that_are_no_text_do_not_end_the_stream(tmp_path):
    (tmp_path / "a.smi").write_bytes(b"\xff\xfe\nCC\n")
    assert list(read_smiles(tmp_path / "a.smi"))[1:] == ["CC"]


@pytest.mark.parametrize("name", ["a.smi.GZ", "a.smi", "a"])
def test_gzip_is_told_by_its_bytes(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"CC\nCN\n"))
    assert list(read_smiles(tmp_path / name)) == ["CC", "CN"]


def test_text_may_be_called_gzip(tmp_path):
    (tmp_path / "a.smi.gz").write_bytes(b"CC\nCN\n")
    assert list(read_smiles(tmp_path / "a.smi.gz")) == ["CC", "CN"]


SDF = """
  RDKit          2D

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0
M  END
$$$$
"""


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "an old Excel workbook. Save the sheet as CSV"),
        (b"PAR1\x15\x04\x15", "a Parquet file. Write it as CSV"),
        (b"\x28\xb5\x2f\xfd\x00", "a Zstandard file"),
        (b"x" * 257 + b"ustar\x00", "a tar archive. Unpack it"),
        (b"%PDF-1.7", "a PDF document"),
        (b"  \n<!DOCTYPE html>\n<html>", "an HTML or XML page. A download may have failed"),
        (b"<?xml version='1.0'?>", "an HTML or XML page"),
        (b'[{"smiles": "CCO"}]', "a JSON file. Write it as CSV"),
        (b'{"PC_Compounds": []}', "a JSON file"),
        (SDF.encode(), "an SD or MOL file. Write its molecules as SMILES, e.g. by RDKit"),
        (SDF.replace("\n", "\r\n").encode(), "an SD or MOL file"),
        (("1\n\n\n" + SDF[SDF.index("  3  2") :].split("\nM  END")[0]).encode(), "an SD or MOL file"),
        (b"# made by hand\n@<TRIPOS>MOLECULE\n", "a MOL2 file"),
        (b"3\nwater, made by hand\nO 0.0 0.0 0.0\nH 0.76 -0.59 1e0\n", "an XYZ file. Write its molecules as SMILES"),
        (b" 12\r\n\r\n  Cl   -1.5 .25 1.0e-05\r\n", "an XYZ file"),
        (b"[C][C][O]\n[C][C]\n", "SELFIES. Write its molecules as SMILES, e.g. by `decoder`"),
        (b"selfies\n[C][=C][Branch1][C][O][C]\n[C][NH1][C]\n[C][C][C]\n", "SELFIES"),
        (b"name,selfies\nCO,[C][=O]\nNO,[C][Ring1]\nwater,[O][C]\n", "SELFIES"),
        (b"smiles,y\n[C][C][O],1\n", "SELFIES"),
        (b"CC\x00\x01\x02\x00\x00\nCC\n", "a binary file"),
    ],
)
def test_other_files_are_named_and_said_what_to_do_with(tmp_path, content, message, packed):
    content = gzip.compress(content) if packed else content
    with pytest.raises(ValueError, match=rf"must be text, one a line, or CSV. Received: '.*a.txt', {message}"):
        read(tmp_path, content)


def pack_zip(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return packed.getvalue()


ZIPPED = pack_zip(**{"folder/": "", "folder/all.smi": "CC\nCN\n", "__MACOSX/folder/._all.smi": "x"})


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b"CC\nCN\n"), bz2.compress(b"CC\nCN\n"), lzma.compress(b"CC\nCN\n"), ZIPPED],
    ids=["gzip", "bzip2", "xz", "zip"],
)
def test_what_is_packed_is_read_and_what_is_cut_off_is_told(tmp_path, packed):
    assert read(tmp_path, packed) == ["CC", "CN"]
    with pytest.raises(ValueError, match="a packed file must be whole|a ZIP archive that cannot be read"):
        read(tmp_path, packed[:-5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "a ZIP archive that cannot be read .*. Unpack it"),
        (pack_zip(**{"[Content_Types].xml": "", "xl/workbook.xml": ""}), "an Excel workbook. Save the sheet as CSV"),
        (pack_zip(a="CC", b="CN"), r"a ZIP archive of 2 files: \['a', 'b'\]. Unpack the one that is meant"),
        (pack_zip(), "an empty ZIP archive"),
        (gzip.compress(gzip.compress(b"CC")), "a packed file within a packed one. Unpack it"),
        (gzip.compress(ZIPPED), "a ZIP archive or an Excel workbook. Unpack the archive"),
    ],
    ids=["cut", "workbook", "two files", "no file", "twice", "zip within gzip"],
)
def test_archives_that_are_not_one_text_are_told(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"must be text, one a line, or CSV. Received: '.*a.txt', {message}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "text",
    [
        "[Na+].[Cl-]\n",
        "PAR1,CCO\nBZhx,CC\n",
        "[2H]C\n",
        "[C]\n",
        "[2H][2H]\n",
        "[Cl][CH2][OH]\n",
        "[C][C]\nCC\nCO\n",
        "1\nCCO 0.5 0.5 0.5\n",
    ],
)
def test_what_begins_like_another_file_is_read(tmp_path, text):
    assert len(read(tmp_path, text)) == text.count("\n")


def test_a_gzip_file_that_is_cut_off_is_an_error_that_says_where(tmp_path):
    packed = gzip.compress("\n".join(f"{'C' * (row % 40)}N{row % 7}" for row in range(40_000)).encode())
    (tmp_path / "a.smi.gz").write_bytes(packed[: len(packed) // 2])
    rows = read_smiles(tmp_path / "a.smi.gz")
    assert next(rows) == "N0"
    with pytest.raises(
        ValueError, match=r"must be whole. Received: '.*a.smi.gz', cut off or damaged after line [\d,]+ "
    ):
        list(rows)
    (tmp_path / "a.smi.gz").write_bytes(packed[:5] + b"\xff" * 30 + packed[35:])
    with pytest.raises(ValueError, match="must be whole"):
        list(read_smiles(tmp_path / "a.smi.gz"))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="a file of SMILES must exist"):
        list(read_smiles(tmp_path / "no.smi"))
    with pytest.raises(FileNotFoundError, match="Received: the directory .* Name a file in it"):
        list(read_smiles(tmp_path))


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_LINE", 50)
    (tmp_path / "a.smi").write_text("\n".join(["C" * 49, "C" * 49, "C" * 51, "C"]))
    rows = read_smiles(tmp_path / "a.smi")
    assert [next(rows), next(rows)] == ["C" * 49] * 2
    with pytest.raises(ValueError, match="line 3 with more than 50 characters. Write one molecule a line"):
        list(rows)
