"""Names to words, and words to stems."""

import pytest

from recsys_ssl.guessing.words import IMPRESSION_STEMS, NEGATIVE_STEMS, POSITIVE_STEMS, stems_of


@pytest.mark.parametrize(
    "name",
    [
        *(
            "clicks",
            "carts",
            "orders",
            "views",
            "plays",
            "listens",
            "likes",
            "Product Added",
            "ADD_TO_CART",
            "purchased",
        ),
        *("Order Completed", "productViewed", "bookmarking", "replies", "pageview", "saves"),
    ],
)
def test_choices(name):
    assert stems_of(name) & POSITIVE_STEMS
    assert not stems_of(name) & (NEGATIVE_STEMS | IMPRESSION_STEMS)


@pytest.mark.parametrize(
    "name",
    ["un-like", "un_like", "unliked", "dis-like", "dislikes", "skips", "skipped", "cancelled", "Removed from cart"],
)
def test_what_takes_back_wins(name):
    assert stems_of(name) & NEGATIVE_STEMS


@pytest.mark.parametrize("name", ["impressions", "shows", "shown", "displayed", "exposing"])
def test_what_was_only_shown(name):
    assert stems_of(name) & IMPRESSION_STEMS


@pytest.mark.parametrize("name", ["red", "blue", "ads", "thing", "news", "premium", "research", "", "buyer"])
def test_other_words(name):
    assert not stems_of(name) & (POSITIVE_STEMS | NEGATIVE_STEMS | IMPRESSION_STEMS)
