"""From files to the text of a first spec."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple, Optional

from recsys_ssl.guessing.evaluation_keys import evaluation_keys, split_keys, tolerance_keys, why_no_time
from recsys_ssl.guessing.event_keys import event_keys, log_columns, split_columns
from recsys_ssl.guessing.file_keys import file_keys
from recsys_ssl.guessing.habits import to_frame
from recsys_ssl.guessing.matching import Plan, make_plan
from recsys_ssl.guessing.naming import name_columns
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.roles import GUESS_ALL, Options
from recsys_ssl.guessing.sample import HEAD_RECORDS, MIDDLE_RECORDS
from recsys_ssl.guessing.side_keys import item_keys, query_keys
from recsys_ssl.guessing.tables import find_files, read_tables
from recsys_ssl.guessing.write import Entry, list_guesses, to_yaml

_HEADING = (
    "Guessed by `recsys-ssl new-spec` from at most the first "
    f"{HEAD_RECORDS:,} records of each table and {MIDDLE_RECORDS:,} of its middle.",
    "A comment says what a guess rests on: read each. All keys: docs/own_data/spec.md.",
)


class Draft(NamedTuple):
    """A first spec."""

    text: str
    name: str
    data_dir: str
    """Where the paths of the spec begin."""
    guesses: list[tuple[str, str, str]]
    """(key, value, why)"""
    unused: dict[str, str]
    """Files -> why they are not in the spec."""


def draft_spec(given: Sequence[str], options: Options = GUESS_ALL, name: Optional[str] = None) -> Draft:
    """Guesses a spec from bounded samples of files.

    Args:
        given: files, globs or directories of a log and its tables.
        name: of the data set; that of the data directory when None.

    Raises:
        GuessError: there is no such file, no file is a table, or a column that the spec needs cannot be told; the
            message names the option that tells it.
    """
    data_dir, sets = find_files(given)
    tables, unused = read_tables(sets, data_dir)
    if not tables:
        raise GuessError("\n".join(unused.values()))
    try:
        plan = name_columns(make_plan(tables, options))
    except GuessError as error:
        others = [f"Not used: {file}: {why}" for file, why in unused.items()]
        raise GuessError("\n".join([str(error), *others])) from error
    name = name or re.sub(r"[^a-z0-9]+", "-", os.path.basename(data_dir).lower()).strip("-") or "log"
    unused |= plan.unused
    entries = [Entry("version", 1), Entry("name", name), *_entries(plan)]
    heading = [*_HEADING, *(f"Not used: {file}: {why}" for file, why in unused.items())]
    return Draft(to_yaml(entries, heading), name, data_dir, list(list_guesses(entries)), unused)


def _entries(plan: Plan) -> list[Entry]:
    log, time = plan.log, plan.time
    frame = to_frame(log, time and time.column, time and time.form)
    of_items, context = split_columns(plan, frame)
    items = item_keys(plan, of_items)
    queries, query_features = query_keys(plan)
    read = log_columns(plan, context if plan.items else [*context, *of_items])
    given = log.shares if time is None else {}
    files = log._replace(patterns=[given["train"]], why_files="to train on, by its name") if given else log
    entries = [Entry("events", [*file_keys(files, read), *event_keys(plan, context)])]
    entries.append(Entry("items", items))
    if queries:
        entries.append(Entry("queries", queries))
    if given:
        entries.append(Entry("split", split_keys(given, plan)))
    elif time is None:
        entries.append(Entry("split", {"kind": "random"}, why_no_time(plan)))
    evaluation = evaluation_keys(plan, frame, query_features, context)
    if evaluation:
        entries.append(Entry("evaluation", evaluation))
    return [*entries, *tolerance_keys(plan, frame)]
