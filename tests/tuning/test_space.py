"""Spaces of settings: what cannot be searched is refused, and every value can be given back by `--set`."""

import math

import pytest

from recsys_ssl.settings import parse
from recsys_ssl.tuning.space import (
    Choice,
    Ladder,
    LogUniform,
    Steps,
    Uniform,
    check_space,
    describe,
    from_raw,
    to_unit,
    write_lines,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1.0, 1.0), "low must be less than high"),
        (lambda: Uniform(0.0, math.inf), "both finite"),
        (lambda: Uniform(math.nan, 1.0), "both finite"),
        (lambda: LogUniform(0.0, 1.0), "must begin above 0"),
        (lambda: Steps(0, 10, 3), "must reach from low to high"),
        (lambda: Steps(0, 10, 0), "must reach from low to high"),
        (lambda: Ladder((1,)), "two values or more"),
        (lambda: Choice(("a", "b", "a")), "all different"),
    ],
    ids=["point", "infinite", "nan", "log of 0", "steps beside high", "no step", "one value", "twice"],
)
def test_what_cannot_be_searched_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_space_without_settings_is_refused():
    with pytest.raises(ValueError, match="must have a setting"):
        check_space({})


def test_only_what_has_values_is_searched_by_place():
    assert from_raw(Ladder((128, 256, 512)), 1) == 256
    assert from_raw(Choice(("item", "both")), 1) == "both"
    assert from_raw(Steps(0, 10, 5), 5) == 5
    assert from_raw(Uniform(0.0, 1.0), 0.25) == 0.25


@pytest.mark.parametrize(
    ("dimension", "value", "place"),
    [
        (Uniform(2.0, 4.0), 2.5, (2.5 - 2.0) / (4.0 - 2.0)),
        (LogUniform(1e-4, 1.0), 1e-3, 1 / 4),
        (Steps(10, 30, 10), 20, 1 / 2),
        (Ladder((1, 2, 100, 1000)), 100, 2 / 3),
        (Choice(("a", "b")), "b", 1.0),
    ],
)
def test_places_go_from_0_to_1(dimension, value, place):
    assert to_unit(dimension, value) == pytest.approx(place)


@pytest.mark.parametrize(
    ("dimension", "text"),
    [
        (Uniform(0, 0.5), "0 to 0.5"),
        (LogUniform(0.01, 1), "0.01 to 1 (log)"),
        (Steps(2, 8, 2), "2 to 8 by 2"),
        (Ladder((128, 256)), "128, 256"),
        (Choice(("item", "both")), "item or both"),
    ],
)
def test_dimensions_for_people(dimension, text):
    assert describe(dimension) == text


@pytest.mark.parametrize(
    "value",
    [
        1e-05,
        1.5e-05,
        -2e-07,
        1e22,
        0.1 + 0.2,
        3,
        0,
        True,
        None,
        "factors",
        "off",
        "yes",
        "12",
        "a b",
        "",
        [128, 64],
        [],
    ],
    ids=repr,
)
def test_a_value_comes_back_from_its_line(value):
    (line,) = write_lines("train", {"ssl.weight": value})
    assert line.startswith("train.ssl.weight=")
    found = parse([line], ["train"])["train"]["ssl"]["weight"]
    assert (found, type(found)) == (value, type(value))
