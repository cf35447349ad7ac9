"""Which of some tables is the log, and which describe its items and queries."""

import pytest

from recsys_ssl.guessing.matching import make_plan
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.roles import GUESS_ALL, Options
from tests.guessing.small_logs import ITEMS, TIMES, USERS, table_of

LOG = table_of("a.csv", user=USERS, item=ITEMS, ts=TIMES)
THINGS = table_of("b.csv", item=[f"p{n}" for n in range(40)], topic=["x", "y"] * 20)
PEOPLE = table_of("c.csv", user=[f"u{n}" for n in range(20)], plan=["x", "y"] * 10)
TOWNS = table_of("d.csv", town=["Rome", "Oslo"], people=["3", "1"])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_tables_are_told_by_their_ids(order):
    tables = [LOG, THINGS, PEOPLE, TOWNS]
    plan = make_plan([tables[place] for place in order], GUESS_ALL)
    assert plan.log is LOG
    assert (plan.items.table, plan.items.key) == (THINGS, "item")
    assert (plan.queries.table, plan.queries.key) == (PEOPLE, "user")
    assert list(plan.unused) == ["d.csv"]


def test_a_table_whose_ids_are_not_unique_is_not_used():
    twice = table_of("b.csv", item=[f"p{n // 2}" for n in range(80)], topic=["x", "y"] * 40)
    plan = make_plan([LOG, twice], GUESS_ALL)
    assert plan.items is None
    assert plan.unused == {"b.csv": "no column of unique ids that are those of the log"}


def test_integers_are_alike_unless_named_so():
    log = table_of("a.csv", user=[n % 20 for n in range(400)], item=[n * 7 % 40 for n in range(400)], ts=TIMES)
    named = table_of("b.csv", item=range(40), topic=["x", "y"] * 20)
    other = table_of("c.csv", shop=range(40), town=["x", "y"] * 20)
    assert make_plan([log, named], GUESS_ALL).items.table is named
    assert make_plan([log, other], GUESS_ALL).items is None


def test_a_column_that_a_person_names_decides():
    log = table_of("a.csv", user=USERS, item=ITEMS, ts=TIMES, session=[f"s{n // 4}" for n in range(400)])
    assert make_plan([log], GUESS_ALL).query.column == "user"
    assert make_plan([log], Options(query="session")).query.column == "session"
    with pytest.raises(GuessError, match="--query must name a column of a.csv"):
        make_plan([log], Options(query="none"))
