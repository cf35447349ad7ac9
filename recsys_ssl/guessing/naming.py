"""Names for the columns of files that have none."""

from __future__ import annotations

from typing import Optional

from recsys_ssl.guessing.cells import find_several
from recsys_ssl.guessing.columns import Column
from recsys_ssl.guessing.matching import Match, Plan
from recsys_ssl.guessing.sample import Fact
from recsys_ssl.guessing.tables import Table


def name_columns(plan: Plan) -> Plan:
    """The plan with `user`, `item`, `time`, `rating`, `title` and the like for `column_1` and so on."""
    log, names, explode = plan.log, _names_of(plan), dict(plan.explode)
    query, item = names.get(plan.query.column, plan.query.column), names.get(plan.item.column, plan.item.column)
    label = plan.label
    if label is not None and label.column in names:
        name = names[label.column]
        keys = {key: name if value == label.column else value for key, value in label.keys.items()}
        label = label._replace(column=name, keys=keys)
    if explode:
        explode["column"] = names.get(str(explode["column"]), explode["column"])
    return plan._replace(
        explode=explode,
        log=_rename(log, names),
        query=plan.query._replace(column=query),
        item=plan.item._replace(column=item),
        time=plan.time and plan.time._replace(column=names.get(plan.time.column, plan.time.column)),
        label=label,
        items=_name_match(plan.items, "item"),
        queries=_name_match(plan.queries, "user"),
    )


def _names_of(plan: Plan) -> dict[str, str]:
    if plan.log.has_header:
        return {}
    if plan.same_as_items:
        names = {plan.query.column: "source", plan.item.column: "target"}
    elif plan.explode.get("into"):
        names = {plan.query.column: "user", str(plan.explode["column"]): "impressions"}
    else:
        names = {plan.query.column: "user", plan.item.column: "items" if plan.explode else "item"}
    if plan.time:
        names[plan.time.column] = "time"
    if plan.label and not plan.explode.get("into"):
        names[plan.label.column] = "rating" if "threshold" in plan.label.keys else "event_type"
    return names


def _name_match(match: Optional[Match], key: str) -> Optional[Match]:
    if match is None or match.table.has_header:
        return match
    names = {match.key: key}
    for name, column in match.table.columns.items():
        meaning = _meaning(column)
        if name not in names and meaning and meaning not in names.values():
            names[name] = meaning
    why = match.why.replace(repr(match.key), repr(key))
    return Match(_rename(match.table, names), key, why)


def _meaning(column: Column) -> str:
    if {value.lower() for value in column.known} <= {"m", "f", "male", "female", "o", "other"}:
        return "gender"
    several = find_several(column)
    if several is not None:
        return "categories" if several.kind == "categories" else ""
    return "title" if column.mean_words > 1.5 and not column.is_numeric and column.time is None else ""


def _rename(table: Table, names: dict[str, str]) -> Table:
    if not names:
        return table
    facts, sample = dict(table.sample.facts), table.sample
    listed = facts["columns"]
    facts["columns"] = Fact([names.get(name, name) for name in listed.value], listed.why)  # type: ignore[attr-defined]
    renamed = sample.table.rename_columns([names.get(name, name) for name in sample.table.column_names])
    columns = {
        names.get(name, name): Column(**{**_fields(column), "name": names.get(name, name)})
        for name, column in table.columns.items()
    }
    return table._replace(sample=sample._replace(facts=facts, table=renamed), columns=columns)


def _fields(column: Column) -> dict:
    return {field: getattr(column, field) for field in column.__dataclass_fields__}
