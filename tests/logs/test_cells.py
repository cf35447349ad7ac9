"""Cells of several values, whoever wrote them."""

import pyarrow as pa
import pytest

from recsys_ssl.logs.cells import find_broken_lists, split_cells


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
        ('[["a"], ["b"]]', "|", []),
        ("[{'id': 1, 'name': 'Drama'}]", ",", []),
        ("('x', 'y, z')", ",", ["x", "y, z"]),
        ("('x',)", None, ["x"]),
        ("{'x', 1.50}", "|", ["x", "1.50"]),
        ("(1, 2)", ",", ["(1", "2)"]),
        ("('x')", ",", ["('x')"]),
        ("{a, b}", ",", ["{a", "b}"]),
        ("(live), (demo)", ",", ["(live)", "(demo)"]),
        ("", ",", []),
        ("['i1' 'i2']", None, ["i1", "i2"]),
        ("['i1'\n \"i'2\" 'a\\'b']", "|", ["i1", "i'2", "a'b"]),
        ("[b'i1' b'i2']", None, ["i1", "i2"]),
        ("[u'i1', u'i2',]", None, ["i1", "i2"]),
        ("['a', None, 1.50, 'b, c']", "|", ["a", "1.50", "b, c"]),
        ("[ 1 20  -3.5e-01 nan]", ",", ["1", "20", "-3.5e-01", "nan"]),
        ("[0x10, 1_000]", ",", ["0x10", "1_000"]),
        ("[0x10, 1_000]", None, ["[0x10, 1_000]"]),
        ("['to ... be', '...']", ",", ["to ... be", "..."]),
        ("[1, 2, ...]", ",", []),
        ("['i1' 'i2', 'i3']", ",", []),
    ],
)
def test_a_text_of_several_values(text, separator, values):
    assert split([text], separator) == [values]
    # Whatever stands in the other records.
    assert split(["x", text, None, "[1]", text], separator) == [["x"], values, [], ["1"], values]


def test_the_values_of_a_list_stay_as_they_are():
    assert split([[" a, b ", "", None, "[1]"], None], ",") == [[" a, b ", "[1]"], []]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1, 2, ...]", "not complete"),
        ("['a' 'b' ... 'y' 'z']", "not complete"),
        ("[0.1 0.2 ...\n 0.8 0.9]", "not complete"),
        ("['i1' 'i2', 'i3']", "not a list that can be read"),
        ("['i1''i2']", "not a list that can be read"),
        ('["..."]', None),
        ("['a ... b' 'c']", None),
        ("[1 2 3]", None),
        ("[live] ... [demo]", None),
        *(
            (text, "not a list of values but of objects or lists")
            for text in (
                "[{'id': 1, 'name': 'Drama'}]",
                """[{'id': 18, 'name': "Ocean's"}, {'id': 35, 'name': 'a, [b]', 'parent': None}]""",
                '[{"id": 1, "name": "\\"Drama\\"", "ok": true, "tags": []}]',
                "{'id': 1, 'name': 'Drama'}",
                "{'id': 1}, {'id': 2}",
                "[{'id': 1} {'id': 2}]",
                "[[1,2],[3]]",
                "[[0.1 0.2]\n [0.3 0.4]]",
                "[('a', 1), ('b', 2)]",
                "(('a', 'b'), 1)",
                "[list(['a', 'b']) list(['c'])]",
                "array(['x'], dtype=object)",
                "np.array([1, 2])",
                "frozenset({'x', 'y'})",
                "[Decimal('1.5'), Decimal('2')]",
                "[datetime.date(2020, 1, 2)]",
                "[Row(id=1, name='Drama')]",
            )
        ),
        *((text, None) for text in ("[[live]]", "[(live)]", "(a) [b]", "{a: b}", "f(x)", "Say('hi')", "Live(1999)")),
        *((text, None) for text in ("[12:30, 13:45]", "('x', 'y')", "{'x'}", "(1, 2)", "[" * 50_000 + "]" * 50_000)),
        ("...", None),
        (None, None),
    ],
)
def test_a_list_that_cannot_be_read_is_told(text, why):
    faults = find_broken_lists(pa.chunked_array([pa.array(["['a']", text, "x"], pa.large_string())]))
    assert [(mask.tolist(), reason[: len(why or "")]) for mask, reason in faults] == (
        [([False, True, False], why)] if why else []
    )
