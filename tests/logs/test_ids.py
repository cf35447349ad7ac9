"""Ids: what is refused, and what is kept and counted since it looks as if it were no id."""

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.logs.ids import count_odd_ids, count_plain_ids, find_mixed_forms, find_twin, read_ids

MERGED = "query id is a float from 2^{} on, where ids merge"


def read(array):
    """The ids, and the reasons of each record."""
    ids, faults = read_ids(pa.chunked_array([array]), "query")
    return ids.to_pylist(), [[why for mask, why in faults if mask[row]] for row in range(len(ids))]


@pytest.mark.parametrize(
    ("kind", "bits"),
    [(pa.float16(), 11), (pa.float32(), 24), (pa.float64(), 53)],
    ids=["float16", "float32", "float64"],
)
def test_floats_are_ids_as_far_as_each_integer_is_one(kind, bits):
    values = np.array([12, 0.5, np.nan, 2**bits - 1, 2**bits, -(2**bits)], kind.to_pandas_dtype())
    ids, reasons = read(pa.array(values, kind))
    assert ids == ["12", "0.5", None, str(2**bits - 1), str(2**bits), str(-(2**bits))]
    assert reasons == [[], [], ["query id is empty"], [], [MERGED.format(bits)], [MERGED.format(bits)]]


def test_whole_floats_of_any_size_are_the_text_of_the_integer():
    assert read(pa.array([1e15, 123456789012345.0, None]))[0] == ["1000000000000000", "123456789012345", None]


def test_integers_of_any_size_are_kept():
    assert read(pa.array([2**62 + 1])) == ([str(2**62 + 1)], [[]])


def test_a_list_is_no_id():
    ids, reasons = read(pa.array([["a"], [], None]))
    assert ids == [None] * 3
    assert reasons[0] == ["query id is not one value", "query id is empty"]
    assert reasons[1] == reasons[2] == ["query id is empty"]


def test_words_for_nothing_and_integers_that_were_floats_are_counted():
    words = ["NULL", "nan", "nan", "None", "\\N", "annul", "Nancy", "u1"]
    numbers = ["12.0", "3.00", "12", "1.5", "1.0.0", "v1.0", "1.2E+15", "1e+18", "1.5E9", "12e4", "1e9", "e+", "10"]
    assert count_odd_ids(pa.array(words + numbers, pa.large_string()), "item") == {
        "word item id: NULL": 1,
        "word item id: nan": 2,
        "word item id: None": 1,
        "word item id: \\N": 1,
        "whole float item id": 2,
        "rounded item id": 3,
    }


def test_blanks_around_ids_are_counted():
    blanks = [" u1", "u2 ", "u\u00a0", "u\t", "\u3000u", "u 3", "u4"]
    assert count_odd_ids(pa.array(blanks, pa.large_string()), "item") == {"padded item id": 5}


def test_sound_ids_count_nothing():
    assert count_odd_ids(pa.array(["u1", "7"], pa.large_string()), "item") == {}
    assert count_odd_ids(pa.array([], pa.large_string()), "item") == {}


def test_ids_of_one_side_in_two_forms_are_found():
    for texts, numbers in (
        (["12", "12.0", "13.0"], [2]),
        (["u1", "u1 "], [1]),
        (["12", "12.0 "], [1]),
        (["12.0", "13.0"], []),
        ([" u1", "u2 "], []),
        (["u1", "1.0"], []),
        (["1.5", "12"], []),
    ):
        ids = pa.array(texts, pa.large_string())
        counts = count_odd_ids(ids, "item") | count_plain_ids(ids, "item")
        assert [number for number, _ in find_mixed_forms(counts, "item")] == numbers
        assert find_mixed_forms(counts, "query") == []


@pytest.mark.parametrize(
    ("log", "table"),
    [
        ("18", "00018"),
        ("00018", "18"),
        ("i18", "I18"),
        ("i18", "'i18'"),
        ('" I18"', "i18"),
        ("18.0", "18"),
        ("0", "00"),
    ],
)
def test_the_other_form_of_an_id_is_found(log, table):
    assert find_twin(["x", log], pa.array(["a", table], pa.large_string())) == (log, table)


def test_ids_that_differ_have_no_other_form():
    table = pa.array(["180", "i1", "10", ""], pa.large_string())
    assert find_twin(["18", "i10", "1"], table) is None
    assert find_twin([], table) is None
    assert find_twin(["18"], pa.array([], pa.large_string())) is None
