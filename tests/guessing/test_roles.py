"""Which columns say who chose what."""

import pytest

from recsys_ssl.guessing.roles import GUESS_ALL, find_items, guess_ids
from tests.guessing.small_logs import ITEMS, USERS, table_of


@pytest.mark.parametrize(
    ("names", "query", "item"),
    [
        (["user", "item", "x", "y"], "user", "item"),
        (["order_id", "product_id", "add_to_cart_order", "reordered"], "order_id", "product_id"),
        (["InvoiceNo", "StockCode", "order_status", "y"], "InvoiceNo", "StockCode"),
        (["basket", "sku", "basket_total", "y"], "basket", "sku"),
        (["order_id", "product_id", "x", "customer_id"], "customer_id", "product_id"),
        (["user_id", "listing_id", "product_owner_id", "y"], "user_id", "listing_id"),
        (["user_id", "seller_product_id", "product_seller_id", "y"], "user_id", "seller_product_id"),
        (["user", "seller_sku", "item_brand", "y"], "user", "seller_sku"),
        (["reader", "book_key", "book_author", "bookAuthorId"], "reader", "book_key"),
        (["user", "thing", "brand_id", "video_creator"], "user", "thing"),
    ],
)
def test_query_and_item_by_name(names, query, item):
    values = [USERS, ITEMS, [number % 3 for number in range(400)], [number % 2 for number in range(400)]]
    ids = guess_ids(table_of(**dict(zip(names, values))), GUESS_ALL)
    assert (ids.query.column, ids.item.column) == (query, item)


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
        ("items", [f"p{n}, p{n + 200}, p{n + 9}" for n in range(90)], ","),
        ("items", [f"p{n}" if n % 3 else f"p{n},p{n + 200}" for n in range(90)], ","),
        ("item", [", ".join(f"p{n * 7 + k}" for k in range(n % 5 + 1)) for n in range(90)], ","),
        ("items", [f"[{{'id': {n % 5}}}, {{'id': {n % 7}}}]" for n in range(90)], None),
        ("items", [f"('p{n % 5}', 'p{n % 7}')" for n in range(90)], None),
        ("movies", [f"The film {n}, {n} of {n}" for n in range(90)], None),
    ],
)
def test_ids_of_several_parts_are_no_lists(name, values, separator):
    several = find_items(table_of(**{name: values}).columns[name])
    assert (several and several.separator) == separator


@pytest.mark.parametrize("others", [["x"], ["x", "tags"]])
def test_items_without_a_name_are_the_only_lists(others):
    lists = [f"p{n},p{(n * 7 + 1) % 60}" for n in range(60)]
    ids = guess_ids(table_of(user=USERS[:60], **dict.fromkeys(others, lists)), GUESS_ALL)
    assert (ids.item and ids.item.column) == ("x" if len(others) == 1 else None)


def test_an_owner_is_the_item_where_nothing_else_is():
    ids = guess_ids(table_of(user=USERS, brand=ITEMS), GUESS_ALL)
    assert (ids.query.column, ids.item.column) == ("user", "brand")
