"""What a sample of a log says of its people: repeats, how long they stay, and what belongs to an item or to them."""

from __future__ import annotations

import statistics
from typing import Optional

import pandas as pd

from recsys_ssl.guessing.tables import Table
from recsys_ssl.guessing.times import TimeForm, to_days

_LOOSE = {"price", "name", "title", "description", "desc", "category", "brand"}
"""Words of attributes that a log may write in several ways for one item."""


def to_frame(log: Table, time: Optional[str], form: Optional[TimeForm]) -> pd.DataFrame:
    """[num_records] the columns of the log as text, lists joined, and the days since 1970 in a column without name."""
    table = log.sample.table
    frame = pd.DataFrame({name: table[name].to_pylist() for name in log.columns})
    for name, column in log.columns.items():
        if column.is_list:
            frame[name] = [None if cell is None else "\n".join(map(str, cell)) for cell in frame[name]]
    days = [None] * len(frame) if time is None or form is None else to_days(frame[time].tolist(), form)
    return frame.assign(**{"": pd.Series(days, dtype="float64")})


def share_of_repeats(frame: pd.DataFrame, query: str, item: str) -> float:
    """Share of (query, item, day) triples whose pair was there on an earlier day; 0.0 without time."""
    triples = pd.DataFrame({"query": frame[query], "item": frame[item], "day": frame[""] // 1}).dropna()
    triples = triples.drop_duplicates()
    return float(triples.duplicated(["query", "item"]).mean()) if len(triples) else 0.0


def share_of_stay(frame: pd.DataFrame, query: str) -> float:
    """Median over queries of the time from their first to their last record, as a share of the log's; 1.0 without."""
    times = frame[[query, ""]].dropna()
    total = times[""].max() - times[""].min() if len(times) else 0.0
    groups = times.groupby(query)[""]
    stays = (groups.max() - groups.min())[groups.size() > 1]
    return statistics.median(stays) / total if total and len(stays) else 1.0


def depends_on(frame: pd.DataFrame, key: str, column: str, words: list[str]) -> bool:
    """Whether records with the same key mostly have the same value in a column that varies otherwise.

    Each key's records agree with its most frequent value in a share of cases; that the column is nearly constant
    must not be the reason.
    """
    pairs = frame[[key, column]].dropna()
    pairs = pairs[pairs[column] != ""]
    sizes = pairs.groupby(key)[column].transform("size")
    pairs = pairs[sizes > 1]
    if len(pairs) < 20:
        return False
    most = pairs.value_counts().groupby(level=0).max().sum() / len(pairs)
    always = pairs[column].value_counts().iloc[0] / len(pairs)
    least = 0.5 if set(words) & _LOOSE else 0.9
    return bool(most >= least and (1 - most) < 0.3 * (1 - always)) or bool(
        set(words) & _LOOSE and most >= least > always
    )
