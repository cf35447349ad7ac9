"""Cells of several values, whoever wrote them."""

import pyarrow as pa
import pytest

from recsys_ssl.logs.cells import split_cells


def split(values, separator=None):
    kind = pa.large_list(pa.large_string()) if any(isinstance(value, list) for value in values) else pa.large_string()
    texts, lengths = split_cells(pa.chunked_array([pa.array(values, kind)]), separator)
    texts, found = texts.to_pylist(), []
    for length in lengths.tolist():
        found.append(texts[:length])
        texts = texts[length:]
    return found


@pytest.mark.parametrize(
    ("text", "separator", "values"),
    [
        ("a, b ,c", ",", ["a", "b", "c"]),
        (" a | | b|", "|", ["a", "b"]),
        ("a b", None, ["a b"]),
        ("[1, 2, 3]", ",", ["1", "2", "3"]),
        ("[1, 2.50, null]", "|", ["1", "2.50"]),
        ('["a, b", "c"]', ",", ["a, b", "c"]),
        ('["a", "b"]', None, ["a", "b"]),
        ("['a', \"b's\"]", None, ["a", "b's"]),
        (" [ ] ", ",", []),
        ("[a, b]", ",", ["a", "b"]),
        ("[1. 2.]", " ", ["1.", "2."]),
        ("[live]|[demo]", "|", ["[live]", "[demo]"]),
        ("[live]", "|", ["[live]"]),
        ('[["a"], ["b"]]', "|", ['[["a"], ["b"]]']),
        ("", ",", []),
    ],
)
def test_a_text_of_several_values(text, separator, values):
    assert split([text], separator) == [values]
    # Whatever stands in the other records.
    assert split(["x", text, None, "[1]", text], separator) == [["x"], values, [], ["1"], values]


def test_the_values_of_a_list_stay_as_they_are():
    assert split([[" a, b ", "", None, "[1]"], None], ",") == [[" a, b ", "[1]"], []]
