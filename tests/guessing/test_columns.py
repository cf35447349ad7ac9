"""What values of a column look like, the kind of feature they make, and cells with several values."""

import pyarrow as pa
import pytest

from recsys_ssl.guessing.cells import find_nested, find_several
from recsys_ssl.guessing.columns import describe, to_numbers
from recsys_ssl.guessing.features import guess_feature
from recsys_ssl.guessing.words import words_of
from recsys_ssl.logs.values import PLAIN, Marks

GENRES = ["Action|Drama", "Comedy", "Drama|Comedy|Action", "Action", "Drama", "Comedy|Drama"]
SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "c1ccc2ccccc2c1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"]


def column(values, name="x"):
    kind = pa.large_list(pa.large_string()) if isinstance(values[0], list) else pa.large_string()
    return describe(pa.table({name: pa.array(values, kind)}))[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CustomerID", ["customer", "id"]),
        ("customerid", ["customer", "id"]),
        ("user_id:token", ["user", "id"]),
        ("movieId", ["movie", "id"]),
        ("event.user.id", ["event", "user", "id"]),
        ("InvoiceDate", ["invoice", "date"]),
        ("t_dat", ["t", "dat"]),
        ("add_to_cart", ["add", "to", "cart"]),
    ],
)
def test_words_of_names(name, words):
    assert words_of(name) == words


@pytest.mark.parametrize(
    ("text", "marks", "number"),
    [
        ("1.5", PLAIN, 1.5),
        ("2,55", Marks(","), 2.55),
        ("1.234,5", Marks(",", "."), 1234.5),
        ("1,234.5", Marks(".", ","), 1234.5),
        ("€ 3", PLAIN, 3.0),
        ("12%", PLAIN, 12.0),
        ("1,5", PLAIN, None),
        ("Free", PLAIN, None),
        ("", PLAIN, None),
        ("nan", PLAIN, None),
        ("1e39", PLAIN, None),
    ],
)
def test_numbers(text, marks, number):
    assert to_numbers([text], marks) == [number]


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        (["1.5", "$2"], PLAIN),
        (["2,55", "3", "0,85"], Marks(",")),
        (["1,234", "0,850", "2,100"], Marks(",")),
        (["1,299.00", "5", "1,000.00"], Marks(".", ",")),
        (["12,345", "982", "1,100"], Marks(".", ",")),
        (["1.234,50", "999,90"], Marks(",", ".")),
        (["1.234.567", "12.345"], Marks(",", ".")),
        (["1\u00a0131", "850"], Marks(".", " ")),
        (["1\u202f131,50", "850"], Marks(",", " ")),
        (["1\u2019234.5", "1'000"], Marks(".", "'")),
    ],
)
def test_the_marks_of_numbers(values, marks):
    found = column(values)
    assert found.is_numeric
    assert len(found.numbers) == len(values)
    assert found.marks == marks


@pytest.mark.parametrize(
    ("name", "values", "keys"),
    [
        ("price", ["1.5", "2.5", "3", "4", "5", "unknown"], {"kind": "numeric"}),
        ("genres", GENRES, {"kind": "categorical", "multi_valued": True, "separator": "|"}),
        ("tags", [["a", "b"], ["a"], []], {"kind": "categorical", "multi_valued": True}),
        ("tags", ['["a", "b"]', '["b"]', "[]"], {"kind": "categorical", "multi_valued": True}),
        ("vector", ["0.1 0.2 0.3 0.4", "0.5 0.6 0.7 0.8"], {"kind": "dense", "dim": 4}),
        ("vector", [["0.1", "2.5", "3", "4"], ["0.1", "2.5", "3", "4"]], {"kind": "dense", "dim": 4}),
        ("structure", SMILES, {"kind": "molecule"}),
        ("smiles", ["CCO", "CCN", "CCCl"], {"kind": "molecule"}),
        ("zip", ["02138", "85711", "94043", "85711"], {"kind": "categorical"}),
        ("year", ["1995", "1996", "1995", "1996"], {"kind": "categorical"}),
        ("age", ["1", "18", "25", "18"], {"kind": "numeric"}),
        ("title", ["Toy Story", "The Matrix", "Heat And Dust", "Up In Arms"], {"kind": "text"}),
        ("colour", ["red", "blue", "red", "blue"], {"kind": "categorical"}),
    ],
)
def test_the_kind_of_a_feature(name, values, keys):
    feature = guess_feature(column(values, name))
    assert {key: value for key, value in feature.keys.items() if key not in ("name", "min_count")} == keys
    assert feature.used


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("url", [f"http://a/{number}" for number in range(50)]),
        ("kind", ["a", "a", "a"]),
        ("note", [None, "", None]),
        ("released", ["01-Jan-1995", "02-Jan-1995"]),
    ],
    ids=["nearly unique", "constant", "empty", "time"],
)
def test_what_helps_nobody_is_a_comment(name, values):
    assert not guess_feature(column(values, name)).used


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["[{'id': 1, 'name': 'Drama'}]", "[]", "[{'id': 2, 'name': 'Horror'}]"], "objects"),
        (['[{"id": 1, "name": "Drama"}]', '[{"id": 2, "name": "Horror"}, {"id": 1}]'], "objects"),
        (['{"id": 1, "name": "Drama"}', "{'id': 2}", "{}", "{}", "{}"], "objects"),
        (["[[1, 'Drama'], [2, 'Horror']]", "[(1, 'Drama')]"], "lists of lists"),
        (["[[0.5 1.5]\n [2.5 3.5]]", "[[0.5 1.5]]"], "lists of lists"),
        (["('Drama', 'Horror')", "('Drama',)", "()"], "tuples"),
        (["(1, 2)", "(0.5, -1)"], "tuples"),
        (["{'Drama', 'Horror'}", "{'Drama'}", "set()"], "sets"),
        (["{Drama,Horror}", "{Drama,Comedy}"], "sets"),
        (["['Drama', 'Horror']", '["Drama"]', "[]"], ""),
        (["Drama, Horror", "{unknown, other}", "Drama"], ""),
        (["(500) Days", "Alien (1979)", "(red, S)"], ""),
        (["{3f25-04e0}", "{9a0c-0305}"], ""),
        (["[O-][N+](=O)c1ccccc1", "[2H]C([2H])([2H])O"], ""),
        (["[]", "{}"], ""),
        ([None], ""),
    ],
)
def test_objects_in_a_cell_are_no_feature(values, found):
    one = column(values)
    assert find_nested(one).partition(" in a cell: write ")[0] == found
    if found:
        feature = guess_feature(one)
        assert (feature.used, feature.why) == (False, find_nested(one))
        assert find_several(one) is None


def test_words_of_a_text_are_not_several_values():
    texts = [f"the film number {number} of a long night" for number in range(40)]
    assert find_several(column(texts)) is None
    assert guess_feature(column(texts)).kind == "text"


def test_impressions_in_one_cell():
    several = find_several(column(["i24-1 i3-0", "i5-0 i3-0 i7-1"]))
    assert (several.kind, several.separator, several.part_separator) == ("marked", " ", "-")


@pytest.mark.parametrize(
    ("column_name", "name"),
    [
        ("item_id", "item"),
        ("UnitPrice", "UnitPrice"),
        ("user.age", "user_age"),
        ("a [b] genre", "a_b_genre"),
        ("2nd", "column_2nd"),
    ],
)
def test_names_of_features_are_those_that_a_spec_allows(column_name, name):
    assert guess_feature(column(["a", "b", "a"], column_name)).keys["name"] == name


def test_columns_without_a_name_are_left_out():
    names = ["", " ", "Unnamed: 0", "us\ufffder", "user"]
    assert list(describe(pa.table([pa.array(["a"], pa.large_string())] * 5, names))) == ["user"]
