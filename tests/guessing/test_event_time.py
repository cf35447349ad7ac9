"""Which column says when."""

import pytest

from recsys_ssl.guessing.event_time import guess_time_column
from recsys_ssl.guessing.roles import GUESS_ALL, guess_ids
from tests.guessing.small_logs import HOURS, ITEMS, TIMES, USERS, table_of


@pytest.mark.parametrize("name", ["t", "epoch", "order_dt", "occurred", "acheté", "when_bought"])
@pytest.mark.parametrize("times", [TIMES, HOURS], ids=["seconds", "text"])
def test_the_only_column_of_times_is_the_time(name, times):
    log = table_of(user=USERS, item=ITEMS, **{name: times}, x=[number % 3 for number in range(400)])
    assert guess_ids(log, GUESS_ALL).query.column == "user"
    assert guess_time_column(log, ["user", "item"], None).column == name


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        *(("release_date", ITEMS), ("released", ITEMS), ("birth_date", USERS), ("registered_at", USERS)),
        ("published", ITEMS),
    ],
)
def test_a_time_of_the_item_or_the_query_is_not_that_of_the_event(name, owner):
    days = [f"2019-{1 + hash_of(one) % 12:02d}-{1 + hash_of(one) % 28:02d}" for one in owner]
    assert guess_time_column(table_of(user=USERS, item=ITEMS, **{name: days}), ["user", "item"], None) is None
    log = table_of(user=USERS, item=ITEMS, **{name: days}, t=TIMES)
    assert guess_time_column(log, ["user", "item"], None).column == "t"
    assert guess_time_column(log, ["user", "item"], name).column == name  # a person knows better


def test_a_name_of_an_event_is_believed():
    days = [f"2020-01-{1 + hash_of(user):02d}" for user in USERS]  # each user came once
    assert guess_time_column(table_of(user=USERS, item=ITEMS, event_date=days), ["user", "item"], None) is not None


@pytest.mark.parametrize("name", ["t_dat", "jour"])
def test_records_in_order_of_time_have_one_even_when_each_user_came_once(name):
    users, days = [f"u{n // 4}" for n in range(400)], [f"2020-01-{1 + n // 40:02d}" for n in range(400)]
    assert guess_time_column(table_of(user=users, item=ITEMS, **{name: days}), ["user", "item"], None).column == name


@pytest.mark.parametrize(
    ("first", "unit"), [(0, "s"), (10**6, "s"), (10**11, "ms"), (5 * 10**12, "us"), (-3, None), (10**20, None)]
)
def test_numbers_that_only_have_an_order(first, unit):
    log = table_of(user=USERS, item=ITEMS, time=[first + number for number in range(400)])
    time = guess_time_column(log, ["user", "item"], None)
    assert (time and time.form.unit) == unit


def test_of_two_columns_of_times_without_a_name_none_is_taken():
    log = table_of(user=USERS, item=ITEMS, t=TIMES, u=HOURS)
    assert guess_time_column(log, ["user", "item"], None) is None


def hash_of(name):
    return int(name[1:])
