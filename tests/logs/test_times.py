"""Times as databases, programs and people write them, and what is told of those that are none."""

import time

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.logs import times
from recsys_ssl.spec import Timestamp

EIGHT = 8 * 3600 * 10**6  # o'clock, on the first day of 1970, in microseconds


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind or pa.large_string())])


def read_times(array, unit):
    found, faults = times.as_microseconds(array, Timestamp(column="t", unit=unit))
    return found.tolist(), np.any([mask for mask, _ in faults], 0).tolist()


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("s", "881250949", 881250949 * 10**6),
        ("s", " 881250949.5 ", 881250949 * 10**6 + 500_000),
        ("s", "8.8e8", 880_000_000 * 10**6),
        ("ms", "881250949123", 881250949123 * 10**3),
        ("us", "881250949123456", 881250949123456),
        ("ns", "881250949123456789", 881250949123456),
        ("ns", "1600000000123456499", 1600000000123456),  # 19 digits, more than a float has
        ("ns", "1600000000123456999.0", 1600000000123456),
        ("ns", "1600000000123456999.75", 1600000000123456),
        ("ns", "9999999999999999999", None),
        ("s", "0", 0),
        ("iso8601", "1970-01-02", 86_400 * 10**6),
        ("iso8601", "1970-01-01T00:00:01.5", 1_500_000),
        ("iso8601", "1970-01-01 02:00:00+02:00", 0),
        *(
            ("iso8601", text, EIGHT + after_us)
            for text, after_us in {
                "1970-01-01 08:00": 0,
                "1970-01-01 08:00:00 UTC": 0,
                "1970-01-01 08:00:00+00": 0,
                "1970-01-01T08:00:00z": 0,
                "19700101T080000Z": 0,
                "19700101080000": 0,
                "19700101": -EIGHT,
                "1970-01-01 08": 0,
                "1970-1-1 8:00": 0,
                "1970/01/01 08:00:00": 0,
                "1970-01-01 08:00:00,25": 250_000,
                "1970-01-01 08:00:00.123456789123": 123_456,
                "1970-01-01T10:00:00+02:00[Europe/Paris]": 0,
                "1970-01-01 04:00:00 -0400 EDT": 0,
                "1969-12-31T24:00:00": -EIGHT,
                "1969-12-31T24:00": -EIGHT,
                "19691231T240000.000Z": -EIGHT,
                "1970-01-01 8:00:00.5": 500_000,
            }.items()
        ),
        ("s", "", None),
        ("s", "NaN", None),
        ("s", "-1", None),
        ("s", "inf", None),
        ("s", "yesterday", None),
        ("s", "881250949123", None),  # milliseconds taken for seconds
        ("ns", "99999999999999999999999", None),
        ("iso8601", "", None),
        ("iso8601", "12", None),
        ("iso8601", "2020-13-01", None),
        ("iso8601", "2020-02-30", None),
        ("iso8601", "1970-01-0108", None),
        ("iso8601", "1970-01-01 08:60", None),
        ("iso8601", "1970-01-01T08:00[Europe/Paris]", None),
        ("iso8601", "1969-12-31", None),
        ("iso8601", "1970-01-01 10.30", None),  # half past ten, or 10.3 hours, but no fraction of a second
        ("iso8601", "1970-01-01T10.5", None),
        ("iso8601", "1970-01-01T10:30,5", None),
        ("iso8601", "1970-01-01T1030.5Z", None),
        ("iso8601", "1970-01-01T24:00:01", None),
        ("iso8601", "1970-01-01T24:00:00.5", None),
        ("iso8601", "1970-01-01T25:00:00", None),
        ("iso8601", "2020-W05-3", None),
        ("iso8601", "9999-01-01", None),
    ],
)
def test_microseconds_of_text(unit, text, expected):
    found, bad = read_times(column([text, None]), unit)
    assert bad == [expected is None, True]
    assert found[0] == (expected or 0)


@pytest.mark.parametrize(
    ("array", "unit"),
    [
        (pa.array([86_400]), "s"),
        (pa.array([86_400.0]), "s"),
        (pa.array([86_400 * 10**9], pa.timestamp("ns")), "s"),
        (pa.array([86_400], pa.timestamp("s", "Europe/Berlin")), "s"),
        (pa.array([1], pa.date32()), "iso8601"),
    ],
    ids=["int", "float", "timestamp", "zoned", "date"],
)
def test_microseconds_of_parquet_types(array, unit):
    assert read_times(pa.chunked_array([array]), unit) == ([86_400 * 10**6], [False])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_that_fit_in_no_microseconds_are_none(unit):
    extremes = pa.array([2**63 - 1, -(2**63), 2**62, None], pa.int64())
    kinds = [pa.timestamp(unit), pa.timestamp(unit, "UTC")]
    for array in [extremes, *(extremes.cast(kind) for kind in kinds)]:
        assert read_times(pa.chunked_array([array]), unit) == ([0] * 4, [True] * 4)  # 2^62 ns is in 2116
    for days in (pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32()), extremes.cast(pa.date64())):
        assert all(read_times(pa.chunked_array([days]), unit)[1])


def test_each_text_is_a_time_by_itself():
    texts = ["1970-01-01T00:00:01.5", "1970-01-01", "1970-01-01 00:00:02", "1970-01-01T01:00:00.25+01:00"]
    for start in range(len(texts)):
        order = texts[start:] + texts[:start]
        expected = [1_500_000, 0, 2_000_000, 250_000]
        assert read_times(column(order), "iso8601") == (expected[start:] + expected[:start], [False] * 4)


# --- A form of the spec's own ------------------------------------------------------------------------

SECONDS = np.datetime64("2010-12-01T08:26:00").astype(int).item()


@pytest.mark.parametrize(
    ("form", "text", "expected_s"),
    [
        ("%m/%d/%y %H:%M", "12/1/10 8:26", SECONDS),
        ("%d.%m.%Y", "01.12.2010", SECONDS - 8 * 3600 - 26 * 60),
        ("%d/%b/%Y:%H:%M:%S %z", "01/Dec/2010:10:26:00 +0200", SECONDS),
        ("%m/%d/%Y %I:%M %p", "12/01/2010 08:26 AM", SECONDS),
        ("%Y-%m-%d", "2010-12", None),
        ("%Y-%m-%d", "now", None),
        ("%Y-%m-%d", "9999-12-31", None),
        ("%Y-%m-%d", "0001-01-01", None),
        ("%c", "Wed Dec  1 08:26:00 2010", SECONDS),  # which pandas does not know
        ("%Y%m%d", "20101201", SECONDS - 8 * 3600 - 26 * 60),
        ("%Y%m%d", "201012", None),  # not the 2nd of January
        ("%Y%m%d%H%M", "2010120108", None),
        ("%Y%m%d %H:%M", "20101201 8:26", SECONDS),
        ("%y%m%d%H%M%S%f", "1012010826005", SECONDS + 0.5),
        ("%d%b%Y", "1Dec2010", SECONDS - 8 * 3600 - 26 * 60),
        ("%G-W%V-%u", "2010-W48-3", SECONDS - 8 * 3600 - 26 * 60),
        ("%Y-%j", "2010-335", SECONDS - 8 * 3600 - 26 * 60),
        ("%Y-%m-%d %H:%M %Z", "2010-12-01 08:26 UTC", SECONDS),
        ("%Y-%m-%d %H:%M %Z", "2010-12-01 08:26 gmt", SECONDS),
        ("%Y-%m-%d %H:%M %Z", "2010-12-01 08:26 EST", None),
    ],
)
def test_a_format_reads_each_text_by_itself(form, text, expected_s):
    odd = ["", "1/2", None]
    for texts in ([text, *odd], [*odd, text]):
        found, faults = times.as_microseconds(column(texts), Timestamp(column="t", format=form))
        bad = np.any([mask for mask, _ in faults], 0)
        at = texts.index(text)
        assert (bad.sum(), bad[at]) == (3 + (expected_s is None), expected_s is None)
        assert found[at] == (expected_s or 0) * 10**6


@pytest.mark.parametrize("zone", ["UTC", "EST5EDT"])
def test_a_named_zone_is_read_alike_on_every_machine(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        texts = column([f"2010-12-01 08:26 {name}" for name in ("GMT", "EST", "EDT")])
        found, faults = times.as_microseconds(texts, Timestamp(column="t", format="%Y-%m-%d %H:%M %Z"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.tolist() == [SECONDS * 10**6, 0, 0]
    assert "a zone other than UTC and GMT" in next(why for mask, why in faults if mask[1])


# --- Reasons -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"unit": "iso8601"}, "13/09/2020 12:26", "is not ISO 8601 (2011-12-01T08:26:00Z); set timestamp.format"),
        ({"unit": "iso8601"}, "1600000000", "but a number; set timestamp.unit"),
        ({"unit": "iso8601"}, "1931-12-01", "no time between 1970 and 2100"),
        ({"unit": "iso8601"}, "", "timestamp is empty"),
        ({}, "2020-09-13 12:26", "but ISO 8601; set timestamp.unit: iso8601"),
        ({}, "Sep 13", "not a number (s since 1970); set timestamp.unit or timestamp.format"),
        ({}, "1600000000000", "no time between 1970 and 2100 in s, but one in ms"),
        ({}, "1600000000000000000", "no time between 1970 and 2100 in s, but one in ns"),
        ({}, "true", "not a number"),
        ({}, "-5", "no time between 1970 and 2100"),
        ({"format": "%d/%m/%y"}, "2020-09-13", "does not have timestamp.format '%d/%m/%y'"),
    ],
)
def test_the_reason_names_the_form_or_the_range(fields, text, reason):
    _, faults = times.as_microseconds(column([text]), Timestamp(column="t", **fields))
    assert reason in next(why for mask, why in faults if mask[0])


def test_parquet_without_a_time():
    _, faults = times.as_microseconds(column([None, -1], pa.timestamp("s")), Timestamp(column="t"))
    assert [next(why for mask, why in faults if mask[row]) for row in range(2)] == [
        "timestamp is empty",
        "timestamp is no time between 1970 and 2100",
    ]


@pytest.mark.parametrize(("width", "bits"), [(np.float16, 11), (np.float32, 24)])
def test_times_of_floats_that_merge_are_refused(width, bits):
    array = pa.array(np.array([2**bits - 1, 2**bits, 2**bits + 1, np.nan], width))
    found, faults = times.as_microseconds(array, Timestamp(column="t", unit="s"))
    assert found.tolist() == [(2**bits - 1) * 10**6, 0, 0, 0]
    mask, why = faults[0]
    assert why == f"timestamp is a float from 2^{bits} on, where times merge; write int64 or float64"
    assert mask.tolist() == [False, True, True, False]
    assert read_times(pa.array([1600000001.0, 1600000060.0]), "s")[0] == [1600000001 * 10**6, 1600000060 * 10**6]


def test_a_list_is_no_time():
    _, faults = times.as_microseconds(column([["1"], []], pa.large_list(pa.large_string())), Timestamp(column="t"))
    assert [next(why for mask, why in faults if mask[row]) for row in range(2)] == [
        "timestamp is not one value",
        "timestamp is empty",
    ]
