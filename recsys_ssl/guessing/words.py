"""Names that columns, files and event types have in public logs, and what they mean."""

from __future__ import annotations

import itertools
import re

# In order: the earlier one is the better guess.
QUERIES = (
    *("user", "userid", "uid", "customer", "client", "visitor", "member", "shopper", "buyer", "household", "reader"),
    *("player", "listener", "viewer", "subscriber", "consumer", "reviewer", "person", "people", "patient", "account"),
    *(
        "profile",
        "cust",
        "hshd",
        "kunde",
        "nutzer",
        "benutzer",
        "usuario",
        "cliente",
        "utilisateur",
        "device",
        "cookie",
    ),
    *("session", "sid", "query", "author", "playlist", "basket", "cart", "order", "invoice", "receipt", "ticket"),
    *("transaction", "trip", "target", "page", "source", "from"),
)
ORDERS = ("basket", "cart", "order", "invoice", "receipt", "ticket", "transaction", "trip")
"""Queries only as `order_id` or `order`: `add_to_cart_order` and `order_status` are others."""
ITEMS = (
    *("item", "iid", "product", "article", "movie", "film", "book", "isbn", "asin", "sku", "stock", "song", "track"),
    *("music", "artist", "album", "video", "anime", "show", "news", "story", "game", "app", "business", "restaurant"),
    *("hotel", "venue", "poi", "place", "location", "recipe", "course", "job", "ad", "creative", "photo", "post"),
    *("doc", "document", "compound", "molecule", "drug", "gene", "material", "pin", "beer", "wine", "repo", "package"),
    *("artikel", "produkt", "produit", "producto", "content", "good", "merchant", "coupon", "listing", "target", "to"),
)
OWNERS = ("owner", "seller", "creator", "author", "brand", "vendor", "supplier", "publisher", "maker", "manufacturer")
"""Whose the items are: `product_owner_id` is no id of a product."""
TIMES = (
    *("timestamp", "time", "datetime", "ts", "date", "created", "unixtime", "when", "at", "dat", "eventtime", "utc"),
    *("added", "played", "watched", "viewed", "purchased", "zeit", "datum", "fecha", "unix", "day", "step"),
)
BIRTHS = ("birth", "born", "dob", "birthday", "birthdate")
"""Words of times that are never those of an event."""
BEGINNINGS = (
    *("release", "released", "publish", "published", "publication", "launch", "launched", "available", "registered"),
    *("registration", "register", "signup", "joined", "join", "enrolled", "member", "since", "expiry", "expires"),
)
"""Words of times that belong to an item or a person, when the values say so too."""
LABELS = (
    *("rating", "ratings", "stars", "star", "overall", "score", "rate", "grade", "vote", "like", "liked", "click"),
    *("clicked", "clk", "label", "feedback", "reward", "preference", "bewertung", "quantity", "qty", "menge"),
)
QUANTITIES = ("quantity", "qty", "menge", "amount")
EVENT_TYPES = ("event", "action", "behavior", "behaviour", "type", "interaction", "activity", "feedback", "op", "verb")
WEIGHTS = ("weight", "weights")
COUNTS = ("count", "cnt", "plays", "playcount", "listens", "freq", "frequency", "views", "times")
NAMES = ("title", "name", "headline", "caption")
TITLES = (*NAMES, "description", "desc", "label", "summary", "type")
IDS = ("id", "ids", "code", "key", "no", "number", "uuid", "guid", "token", "sku", "asin", "isbn")
NUMBERS = (
    *("price", "age", "count", "size", "length", "duration", "weight", "height", "cost", "popularity", "score"),
    *("rating", "stars", "amount", "downloads", "views", "runtime", "minutes", "seconds", "income", "distance"),
)
CODES = ("zip", "postcode", "postal", "year", "month", "week", "weekday", "hour", "code", "type", "class", "category")
CONTEXTS = (
    *("device", "country", "city", "region", "state", "os", "browser", "platform", "weekday", "isweekend", "weekend"),
    *("daytime", "weather", "season", "channel", "language", "locale", "hour", "homework", "daypart", "referrer"),
)
SEQUENCES = ("history", "items", "impressions", "clicks", "products", "sequence", "articles", "movies", "tracks")
ATTRIBUTES = ("type", "category", "price", "count", "age", "gender", "description", "group", "class", "url", "date")
"""Words that make `item_price` and `user_age` no ids."""

LOG_FILES = (
    *("event", "log", "rating", "click", "interaction", "inter", "transaction", "view", "purchase", "order", "review"),
    *("behavior", "behaviour", "activity", "activities", "train", "history", "play", "listen", "checkin", "link"),
    *("impression", "session", "sale", "usage", "feedback", "data", "clicks", "buy", "order", "purchase"),
)
QUERY_FILES = (*QUERIES[:16], "demographic", "profile")
ITEM_FILES = (*ITEMS, "catalog", "catalogue", "meta", "metadata", "movies")

IMPRESSIONS = (
    *("impression", "impressions", "imp", "show", "shown", "display", "displayed", "expose", "exposure"),
    *("exposed", "served", "seen", "render", "rendered"),
)
POSITIVES = (
    *("purchase", "purchased", "buy", "bought", "transaction", "order", "ordered", "sale", "conversion", "checkout"),
    *("cart", "addtocart", "add", "basket", "fav", "favorite", "favourite", "like", "liked", "save", "saved", "wish"),
    *("wishlist", "bookmark", "collect", "follow", "share", "star", "click", "clicked", "clk", "view", "viewed"),
    *("detail", "pv", "pageview", "watch", "watched", "play", "played", "listen", "read", "open", "download"),
    *("rate", "visit", "install", "use", "reply", "comment", "repin", "retweet", "1", "true", "yes"),
)
REJECTED = (
    *("dislike", "unlike", "remove", "removed", "skip", "skipped", "delete", "deleted", "return", "returned", "refund"),
    *("cancel", "cancelled", "canceled", "hide", "block", "unfollow", "ignore", "no", "not", "non", "never"),
)
NEGATIVES = (*REJECTED, "report", "close", "scroll", "hover", "search", "login", "logout", "0", "false")
"""Words that win over the others: `remove_from_cart`."""
CHOSEN = (
    *("purchase", "buy", "bought", "order", "convert", "conversion", "like", "click", "clk", "save", "favorite"),
    *("favourite", "bookmark", "watch", "play", "listen", "install", "download", "accept", "apply", "recommend"),
)
"""Words of columns that are true, or 1, for what was chosen; those of `REJECTED` for what was not."""
FLAGS = (
    *(("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("down", "up"), ("thumbs_down", "thumbs_up")),
    *(("negative", "positive"), ("neg", "pos")),
)
"""(false, true) as columns write them."""
NULLS = (
    "NULL",
    "null",
    "Null",
    "\\N",
    "None",
    "none",
    "nan",
    "NaN",
    "NAN",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "<NA>",
    "?",
    "-",
)
REPEATED = ("invoice", "basket", "quantity", "qty", "artist", "track", "song", "listen", "plays", "household", "order")
"""Words of logs where the same thing is chosen again: shopping baskets, music."""

ALL_WORDS = frozenset(
    {*QUERIES, *ITEMS, *TIMES, *LABELS, *EVENT_TYPES, *WEIGHTS, *COUNTS, *TITLES, *IDS, *NUMBERS, *CODES, *CONTEXTS}
    | {"gender", "sex", "genre", "genres", "tags", "brand", "occupation", "smiles", "relation", "invoice", "maker"}
) - {"to", "from", "at", "no", "when", "good", "class", "state", "number", "token", "day", "star"}

_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SUFFIXES = (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("e", ""), ("s", ""))
_SUFFIX = re.compile(r"(?<=[a-z]{3})(id|ids|no|code)$")


def words_of(name: str) -> list[str]:
    """The lower-case words of a name: `CustomerID`, `customer_id`, `customerid` and `customer_id:token` are alike."""
    words = []
    for word in _SPLIT.findall(name.split(":")[0]):
        word = word.lower()
        stem = _SUFFIX.sub("", word)
        if stem != word and _known(stem):
            words += [_singular(stem), word[len(stem) :]]
        else:
            words.append(word if word in _ANY else _singular(word))
    return words


def stems_of(name: str) -> set[str]:
    """The stems of a name's words: `clicks`, `clicked` and `Click` are alike, `un-like` and `unliked` too."""
    words = [word.lower() for word in _SPLIT.findall(name)]
    joined = [first + second for first, second in itertools.pairwise(words) if first in ("un", "dis")]
    return {_stem(word) for word in (*words, *joined, name.strip().lower())}


def _stem(word: str) -> str:
    for suffix, rest in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word.removesuffix(suffix) + rest
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _known(word: str) -> bool:
    return word in _STEMS or _singular(word) in _STEMS


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y" if word != "movies" else "movie"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


_STEMS = frozenset({*QUERIES, *ITEMS, "transaction", "order", "invoice", "category", "event", "brand", "store", "shop"})
_ANY = frozenset({*ALL_WORDS, *SEQUENCES, *QUERIES, *ITEMS, *TIMES, *EVENT_TYPES, *POSITIVES, *IMPRESSIONS, *NEGATIVES})
IMPRESSION_STEMS, POSITIVE_STEMS, NEGATIVE_STEMS, CHOSEN_STEMS, REJECTED_STEMS = (
    frozenset(map(_stem, known)) for known in (IMPRESSIONS, POSITIVES, NEGATIVES, CHOSEN, REJECTED)
)
"""Event types and columns of flags are matched by these."""
