"""Which columns say who chose what, and when."""

import pandas as pd
import pyarrow as pa
import pytest

from recsys_ssl.guessing.columns import describe
from recsys_ssl.guessing.roles import GUESS_ALL, find_items, guess_ids, guess_time_column
from recsys_ssl.guessing.sample import Sample
from recsys_ssl.guessing.tables import Table
from tests.guessing.small_logs import HOURS, ITEMS, TIMES, USERS


def table_of(**columns):
    frame = pd.DataFrame(columns).astype(str)
    table = pa.table({name: pa.array(frame[name], pa.large_string()) for name in frame})
    return Table(["log.csv"], ["log.csv"], Sample({}, table, {}, True), describe(table), [])


@pytest.mark.parametrize(
    ("names", "query", "item"),
    [
        (["user", "item", "x", "y"], "user", "item"),
        (["order_id", "product_id", "add_to_cart_order", "reordered"], "order_id", "product_id"),
        (["InvoiceNo", "StockCode", "order_status", "y"], "InvoiceNo", "StockCode"),
        (["basket", "sku", "basket_total", "y"], "basket", "sku"),
        (["order_id", "product_id", "x", "customer_id"], "customer_id", "product_id"),
    ],
)
def test_query_and_item_by_name(names, query, item):
    values = [USERS, ITEMS, [number % 3 for number in range(400)], [number % 2 for number in range(400)]]
    ids = guess_ids(table_of(**dict(zip(names, values))), GUESS_ALL)
    assert (ids.query.column, ids.item.column) == (query, item)


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


def test_of_two_columns_of_times_without_a_name_none_is_taken():
    log = table_of(user=USERS, item=ITEMS, t=TIMES, u=HOURS)
    assert guess_time_column(log, ["user", "item"], None) is None


def hash_of(name):
    return int(name[1:])


@pytest.mark.parametrize(
    ("name", "values", "separator"),
    [
        ("item", [f"cat{n % 5}/prod{n % 9}" for n in range(90)], None),
        ("page", [f"https://x.org/{'abc'[n % 3]}/{n % 9}" for n in range(90)], None),
        ("item", [f"{('red', 'blue')[n % 2]}|{'sml'[n % 3]}|{n % 5}" for n in range(90)], None),
        ("item", [f"A{n % 5},B{n % 7}" for n in range(90)], None),
        ("item", [f"p{n % 5},p{(n * 7 + 1) % 6}" for n in range(90)], ","),
        ("items", [f"A{n % 5}|B{n % 7}" for n in range(90)], "|"),
        ("items", [f"{n % 50},{n * 7 % 50}" for n in range(90)], ","),
        ("item", [f"{n % 50},{n * 7 % 50}" for n in range(90)], None),
        ("product_ids", [f"A{n % 5};B{n % 7}" for n in range(90)], ";"),
        ("item", [f"p{n % 5} p{(n * 7 + 1) % 6}" for n in range(90)], " "),
        ("history", [f"N{n} N{n + 200}" for n in range(90)], " "),
    ],
)
def test_ids_of_several_parts_are_no_lists(name, values, separator):
    several = find_items(table_of(**{name: values}).columns[name])
    assert (several and several.separator) == separator
