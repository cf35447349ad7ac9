"""How a text file is written, by its first lines."""

import codecs

import pytest

from recsys_ssl.guessing.dialect import guess_dialect, guess_encoding, split_rows, to_text

NAMED = ["user", "item", "time"]


def lines(delimiter, *rows):
    return "".join(delimiter.join(row) + "\n" for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "::", "||", "|~|", "\x01", " "])
def test_the_delimiter_is_found(delimiter):
    dialect = guess_dialect(lines(delimiter, NAMED, ["u1", "i1", "1"], ["u2", "i2", "2"]))
    assert (dialect.delimiter, dialect.header, dialect.names) == (delimiter, True, NAMED)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("u;i;p\n1;2;3,50\n2;2;4,50\n", ";"),
        ("id,title,genres\n1,Toy,a|b\n2,Heat,c|d\n", ","),
        ("1|Toy Story|01-Jan-1995||http://a/b|0|1\n2|Heat|01-Jan-1995||http://a/c|1|0\n", "|"),
        ("1::Mission: Impossible (1996)::Action|Drama\n2::Toy Story (1995)::Comedy\n", "::"),
        ('id,text\n1,"a; b; c"\n2,"d, e; f, g"\n', ","),
        ('id,text\n1,"two\nlines, here"\n2,plain\n', ","),
        ("user\titems\n1\t1,2,3\n2\t4,5,6\n", "\t"),
    ],
    ids=["decimal comma", "genres", "empty cell", "colon in a title", "quoted", "quoted lines", "lists"],
)
def test_marks_within_cells_are_no_delimiters(text, delimiter):
    assert guess_dialect(text).delimiter == delimiter


@pytest.mark.parametrize("text", ["about\nthis data\nset of ours, which\n", "0 1 2 3\n1 5\n2 6 7\n"])
def test_lines_of_different_lengths_are_no_table(text):
    assert guess_dialect(text) is None


@pytest.mark.parametrize(
    ("first", "rest", "header"),
    [
        (["userId", "rating"], [["1", "4"], ["2", "5"]], True),
        (["kunde", "anzahl"], [["1", "4"], ["2", "5"]], True),
        (["1", "4"], [["2", "5"]], False),
        (["Paris", "Rome"], [["Rome", "Paris"], ["Oslo", "Rome"]], False),
        (["xx", "yy"], [["1", "4"], ["2", "5"]], True),
        (["user_id:token", "item_id:token"], [["1", "4"]], True),
        (["", "user"], [["0", "a"], ["1", "b"]], True),
        (["a", "a"], [["b", "c"]], True),
        (["покупатель", "товар"], [["анна", "хлеб"], ["иван", "сыр"], ["анна", "чай"]], True),
        (["acheteur", "objet"], [["anna", "pain"], ["ivan", "sel"]], True),
        (["user", "item", ""], [["u1", "i1", ""]], True),
        (["foo", "bar", ""], [["anna", "pain", ""]], True),
        (["u1", "pain"], [["u2", "sel"], ["u13", "pain"]], False),
        (["anna", "2020-01-01"], [["ivan", "2020-01-02"]], False),
        (["a3f9", "x"], [["77b1", "y"], ["c0de", "z"]], False),
        (["smiles_1", "smiles_2"], [["c1ccccc1", "CC"], ["C1CCCCC1", "CO"]], True),
        (["user1", "pain"], [["user2", "sel"]], False),
        (["user", "item1"], [["anna", "pain"], ["ivan", "sel"]], True),
        (["foo", "bar"], [["anna", "pain"], ["foo", "bar"], ["ivan", "sel"]], True),
    ],
)
def test_the_header_is_told_from_values(first, rest, header):
    assert guess_dialect(lines(",", first, *rest)).header == header


def test_quotation_marks_enclose_cells_or_stand_for_themselves():
    assert guess_dialect('id,size\n1,"5"\n2,"6,5"\n').quoting == "minimal"
    assert guess_dialect('id\tsize\n1\t5" pipe\n2\t6" pipe\n').quoting == "none"


def test_comments_at_the_beginning():
    dialect = guess_dialect("# links\n# FORMAT: source target\n\na\tb\nb\tc\n")
    assert (dialect.comment, dialect.header) == ("#", False)
    assert split_rows("# x\na\tb\n", "\t", "none", "#") == [["a", "b"]]


def test_one_line_of_comment():
    dialect = guess_dialect("# exported by x\nuser,item\nu1,i1\nu2,i2\n")
    assert (dialect.comment, dialect.names) == ("#", ["user", "item"])
    assert guess_dialect("#user,item\nu1,i1\nu2,i2\n").comment is None


def test_lines_that_end_with_a_delimiter_below_the_header():
    dialect = guess_dialect("user,item\n" + "u1,i1,\n" * 30)
    assert (dialect.header, dialect.names) == (False, ["user", "item", "column_3"])
    assert guess_dialect("user,item\n" + "u1,i1,x\n" * 30) is None


@pytest.mark.parametrize(
    ("data", "name", "marked"),
    [
        (b"user,item\n", "utf-8", False),
        ("café".encode(), "utf-8", False),
        ("café".encode()[:-1], "utf-8", False),
        ("café,1".encode("latin-1"), "latin-1", False),
        ("5 €".encode("cp1252"), "cp1252", False),
        ("é\r\n".encode("cp1252"), "cp1252", False),
        (codecs.BOM_UTF8 + b"a", "utf-8", True),
        ("a,b".encode("utf-16"), "utf-16", True),
        ("user,item\n".encode("utf-16-le"), "utf-16-le", False),
    ],
)
def test_the_encoding_is_found(data, name, marked):
    found = guess_encoding(data)
    assert (found.name, found.marked) == (name, marked)


def test_text_has_no_byte_order_mark_and_newlines_only():
    data = codecs.BOM_UTF8 + b"a\r\nb\rc"
    assert to_text(data, guess_encoding(data)) == "a\nb\nc"
