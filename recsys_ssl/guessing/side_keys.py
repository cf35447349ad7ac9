"""The keys of `items` and `queries`: tables, ids and features."""

from __future__ import annotations

from recsys_ssl.guessing.features import Guessed, cut, guess_feature, id_feature, id_name, make_unique, pick_title
from recsys_ssl.guessing.file_keys import columns_of, file_keys, keep_read
from recsys_ssl.guessing.matching import Match, Plan
from recsys_ssl.guessing.write import Entry


def item_keys(plan: Plan, of_items: list[Guessed]) -> list[Entry]:
    """The keys of `items`.

    Args:
        of_items: features of items that stand in the log; used where there is no table.
    """
    if plan.items is not None:
        table = plan.items.table
        key = id_feature(plan.items.key, id_name(table.columns[plan.items.key], "item"))
        features = keep_read(cut(make_unique([key, *table_features(plan.items)])), table)
        title = pick_title(features, table.columns[plan.items.key])
        entries = [
            Entry("table", file_keys(table, columns_of(features, table))),
            Entry("id", plan.items.key, plan.items.why),
        ]
    else:
        column = plan.item.column
        key = id_feature(column, id_name(plan.log.columns[column], "item"))
        features = cut(make_unique([key, *of_items]))
        title = pick_title(features, plan.log.columns[plan.item.column])
        entries = [Entry("id", column, "no item table was found")]
        if any(feature.used for feature in features[1:]):
            entries.insert(0, Entry("from_events", True, "no item table was found: what the log says of its items"))
            entries[1] = Entry("id", column)
        elif len(features) > 1:
            features = features[:1]
        title = title if title in [feature.keys["name"] for feature in features] else None
    if title is not None:
        entries.append(Entry("title", title, "shown to people"))
    return [*entries, Entry("features", features)]


def query_keys(plan: Plan) -> tuple[list[Entry], list[Guessed]]:
    """The keys of `queries`, and its features."""
    if plan.same_as_items:
        return [Entry("same_as_items", True, "ids of queries and items are the same things")], []
    history = Guessed({"name": "history", "kind": "item_sequence", "length": 20}, "the last items before the event")
    column = plan.log.columns[plan.query.column]
    if plan.queries is None:
        features = [id_feature(plan.query.column, id_name(column, "query"))]
        entries = [Entry("id", plan.query.column)]
    else:
        table = plan.queries.table
        key = id_feature(plan.queries.key, id_name(table.columns[plan.queries.key], "query"))
        features = [key, *(one for one in table_features(plan.queries) if one.kind != "molecule")]
        features = keep_read(cut(make_unique(features, {"history"})), table)
        entries = [
            Entry("table", file_keys(table, columns_of(features, table))),
            Entry("id", plan.queries.key, plan.queries.why),
        ]
    if plan.time is not None:
        features = [*features, history]
    return [*entries, Entry("features", features)], features


def table_features(match: Match) -> list[Guessed]:
    """What the columns of a table besides its ids make."""
    return [guess_feature(column) for name, column in match.table.columns.items() if name != match.key]
