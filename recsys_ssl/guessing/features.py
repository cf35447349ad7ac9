"""Kinds of features of a table's columns."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple, Optional

from recsys_ssl import kinds
from recsys_ssl.guessing import words
from recsys_ssl.guessing.cells import find_nested, find_several
from recsys_ssl.guessing.columns import Column
from recsys_ssl.spec import RESERVED_NAMES

MOST_FEATURES = 12
"""Of a side; the others are written as comments."""


class Guessed(NamedTuple):
    """A line of a list of features; with `used` False a comment."""

    keys: dict[str, object]
    why: str
    used: bool = True

    @property
    def kind(self) -> object:
        return self.keys["kind"]

    @property
    def column(self) -> str:
        return str(self.keys.get("column", self.keys["name"]))


def guess_feature(column: Column) -> Guessed:
    """The feature that a column of a table makes."""
    name = feature_name(column)
    keys: dict[str, object] = {"name": name}
    if name != column.name:
        keys["column"] = column.name
    kind, more, why, used = _guess_kind(column)
    return Guessed({**keys, "kind": kind, **more}, why, used)


def id_feature(column: str, name: str) -> Guessed:
    keys: dict[str, object] = {"name": name, **({"column": column} if name != column else {}), "kind": "id"}
    return Guessed(keys, "")


def _guess_kind(column: Column) -> tuple[str, dict[str, object], str, bool]:
    """kind, other keys, why, whether it is of use."""
    if not column.known:
        return "categorical", {}, "no value was seen", False
    nested = find_nested(column)
    if nested:
        return "categorical", {"multi_valued": True}, nested, False
    content = _find_content(column) if column.num_distinct > 1 else None
    if content is not None:
        kind, why = content
        return kind, {}, why, True
    title = any(word in words.TITLES for word in column.words)
    several = find_several(column)
    if several is not None and not (title and several.separator in (" ", ",", ", ", "/")):
        separator = {} if several.separator is None else {"separator": several.separator}
        if several.kind == "numbers":
            given = {} if several.separator in (None, " ") else separator
            return "dense", {"dim": several.dim, **given}, several.why, True
        return "categorical", {"multi_valued": True, **separator}, several.why, True
    if column.num_distinct < 2:
        return "categorical", {}, f"always {column.known[0]}"[:60], False
    if column.time is not None:
        return "categorical", {}, f"a time, {column.time.why}", False
    if column.is_numeric:
        return _guess_number(column)
    if (column.mean_words >= 3 and column.num_distinct > 30) or (
        title and column.share_distinct > 0.3 and column.mean_words > 1.2
    ):
        return "text", {}, f"{column.mean_words:.1f} words on average", True
    if column.share_distinct > 0.8 and column.num_present > 20:
        if column.mean_words > 1.5 or title:
            return "text", {}, "hardly a value twice", True
        return "categorical", {}, "hardly a value twice", False
    rare: dict[str, object] = {"min_count": 2} if column.share_distinct > 0.3 else {}
    return "categorical", rare, f"{column.num_distinct:,} values", True


def _guess_number(column: Column) -> tuple[str, dict[str, object], str, bool]:
    spelt = set(column.words)
    is_code = bool(spelt & {*words.CODES, *words.CONTEXTS, *words.IDS}) and not spelt & set(words.NUMBERS)
    is_code |= any(re.match(r"0\d", value) for value in column.known)  # a number does not begin so
    low, high = min(column.numbers), max(column.numbers)
    if column.is_whole and (is_code or (column.num_distinct <= 20 and not spelt & set(words.NUMBERS))):
        if column.is_unique:
            return "categorical", {}, "hardly a value twice", False
        rare: dict[str, object] = {"min_count": 2} if column.share_distinct > 0.3 else {}
        return "categorical", rare, f"{column.num_distinct:,} codes", True
    return "numeric", {}, f"{low:g} to {high:g}", True


def _find_content(column: Column) -> Optional[tuple[str, str]]:
    """The kind of content whose cells the values look like, and why."""
    if column.is_list or column.is_numeric:
        return None
    for kind in kinds.KINDS:
        guess = kinds.find(kind, "guess")
        why = guess.tell(column.known, column.words) if guess is not None else None
        if why is not None:
            return kind, why
    return None


# --- Names -----------------------------------------------------------------------------------------------


def feature_name(column: Column) -> str:
    """A name that a spec allows: `item_id:token` -> `item`, `UnitPrice` -> `unit_price`."""
    name = column.name.split(":")[0] if ":" in column.name else column.name
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and name == column.name and name not in RESERVED_NAMES:
        return name
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    plain = re.sub(r"\W+", "_", spaced, flags=re.ASCII).strip("_").lower()
    if plain in RESERVED_NAMES:
        plain = plain.removesuffix("_id") if plain.endswith("_id") else f"{plain}_value"
    return plain if re.match(r"[a-z]", plain) else f"column_{plain}".rstrip("_")


def id_name(column: Column, default: str) -> str:
    """The name of an id feature: `movieId` -> `movie`."""
    name = re.sub(r"_?(id|code|key|no)$", "", feature_name(column))
    return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and name not in RESERVED_NAMES else default


def make_unique(features: list[Guessed], taken: Collection[str] = ()) -> list[Guessed]:
    """The features with a number after a name that another has."""
    seen, unique = set(taken), []
    for feature in features:
        name, number = str(feature.keys["name"]), 2
        while name in seen:
            name, number = f"{feature.keys['name']}_{number}", number + 1
        seen.add(name)
        column = feature.keys.get("column", feature.keys["name"])
        named = {"name": name, **({"column": column} if column != name else {})}
        unique.append(feature._replace(keys={**named, **{k: v for k, v in feature.keys.items() if k not in named}}))
    return unique


def cut(features: list[Guessed]) -> list[Guessed]:
    """The features of which only the first of use stay so."""
    kept: list[Guessed] = []
    for feature in features:
        full = sum(one.used for one in kept) >= MOST_FEATURES
        kept.append(feature._replace(used=False) if full and feature.used else feature)
    return kept


def pick_title(features: list[Guessed], key: Column) -> Optional[str]:
    """The feature that people recognise an item by.

    Args:
        features: the id of the item is the first.
        key: column of the id, which may be a name itself.
    """
    usable = [feature for feature in features[1:] if feature.used and not feature.keys.get("multi_valued")]
    usable.sort(key=lambda feature: feature.kind != "text")
    named: dict[str, str] = {}
    for feature in usable:
        if feature.kind in ("text", "categorical"):
            name = str(feature.keys["name"])
            named = {**dict.fromkeys(words.words_of(feature.column), name), **named}
    texts = [str(feature.keys["name"]) for feature in usable if feature.kind == "text"]
    is_name = bool(key.known) and sum(any(map(str.isdigit, value)) for value in key.known) < 0.5 * len(key.known)
    found = [named[word] for word in words.NAMES if word in named]
    found += [str(features[0].keys["name"])] if is_name else []
    found += [named[word] for word in words.TITLES if word in named] + texts
    return found[0] if found else None
