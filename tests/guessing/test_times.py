"""Units and formats of times."""

import pytest

from recsys_ssl.guessing.times import guess_time, to_days


@pytest.mark.parametrize(
    ("values", "unit", "form"),
    [
        (["881250949", "891717742"], "s", None),
        (["881250949.5"], "s", None),
        (["1600000000123"], "ms", None),
        (["1600000000123456"], "us", None),
        (["1600000000123456789"], "ns", None),
        (["2011-12-01 08:26:00", "2011-12-01T09:00Z", "2011-12-02"], "iso8601", None),
        (["2011-12-01 08:26:00 UTC", "2011-12-01 08:26:00+00"], "iso8601", None),
        (["20111201", "20111231"], "iso8601", None),
        (["12/1/10 8:26", "12/13/10 9:02"], None, "%m/%d/%y %H:%M"),
        (["01/12/2010", "13/12/2010"], None, "%d/%m/%Y"),
        (["01.12.2010 08:26"], None, "%d.%m.%Y %H:%M"),
        (["11/11/2019 9:05:58 AM", "11/13/2019 9:05:58 PM"], None, "%m/%d/%Y %I:%M:%S %p"),
        (["01-Jan-1995"], None, "%d-%b-%Y"),
        (["09 13, 2009"], None, "%m %d, %Y"),
        (["12/Nov/2019:06:00:01 +0000"], None, "%d/%b/%Y:%H:%M:%S %z"),
        (["20/01/01", "20/01/02", "20/01/31", "20/02/01"], None, "%y/%m/%d"),
        (["20-03-30", "20-01-02", "20-02-11", "20-01-30"], None, "%y-%m-%d"),
        (["2020010100", "2020010119"], None, "%Y%m%d%H"),
        (["202001010000", "202001011930"], None, "%Y%m%d%H%M"),
        (["20200101000059", "20200101193000"], None, "%Y%m%d%H%M%S"),
        (["Tue Apr 03 18:00:09 +0000 2012"], None, "%a %b %d %H:%M:%S %z %Y"),
    ],
)
def test_a_time_is_known_by_its_form(values, unit, form):
    found = guess_time(values)
    assert (found.unit, found.format) == (unit, form)


@pytest.mark.parametrize(
    "values", [["1", "2"], ["17850", "13047"], ["u1"], [], ["1995"], ["12.5"], ["a b, c"], ["85123A"]]
)
def test_other_values_are_no_times(values):
    assert guess_time(values) is None


def test_day_and_month_go_by_the_order_of_the_log_and_are_told():
    found = guess_time(["05/06/2010", "06/06/2010", "07/06/2010", "01/07/2010"])
    assert found.format == "%d/%m/%Y"
    assert "%m/%d/%Y would also do" in found.why


def test_a_day_beyond_12_decides_however_late():
    days = [
        f"{day:02d}/{month:02d}/{year}"
        for year in (2008, 2009, 2010, 2011)
        for month in range(1, 13)
        for day in range(1, 13)
    ]
    found = guess_time([*days, "25/01/2012"])
    assert (found.format, found.why) == ("%d/%m/%Y", "as 01/01/2008")


@pytest.mark.parametrize("sentinel", ["9999999999999", "9223372036854775807", "ts"])
def test_the_year_is_that_of_a_value_inside_of_the_range(sentinel):
    found = guess_time([sentinel, *(str(1_600_000_000 + number) for number in range(99))])
    assert (found.unit, found.why) == ("s", "1600000000 is then in 2020")


def test_a_time_far_beyond_is_none():
    assert to_days(["9999999999999"], guess_time(["1600000000"])) == [None]
    assert to_days(["9999-12-31"], guess_time(["2020-01-01"])) == [None]
    assert to_days(["864000000", "864000000", "400"], guess_time(["1600000000"])) == [10_000.0, 10_000.0, None]
    assert to_days(["86400", "172800"], guess_time(["1600000000"])) == [1.0, 2.0]  # a beginning of their own


def test_days_since_1970():
    days = to_days(["86400000", None, "x"], guess_time(["1600000000123"]))
    assert days == [1.0, None, None]
