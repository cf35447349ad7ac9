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


def test_days_since_1970():
    days = to_days(["86400000", None, "x"], guess_time(["1600000000123"]))
    assert days == [1.0, None, None]
