"""What is known of some records of the files of one side."""

from __future__ import annotations

from typing import NamedTuple, Optional

import pyarrow as pa

HEAD_RECORDS = 50_000
MIDDLE_RECORDS = 10_000
ELEMENT = "element of "
"""Own type of a column that is a field of the objects in a list, before the list's name."""


class Fact(NamedTuple):
    """A key of `Files` in the spec, its value, and what was seen."""

    value: object
    why: str


class Sample(NamedTuple):
    """What was read of the files of a side."""

    facts: dict[str, Fact]
    table: pa.Table
    """[num_records] large_string, or large_list of it."""
    own_types: dict[str, str]
    """Column -> `time`, `number`, `bool`, or `element of LIST`, where the file says it."""
    is_whole: bool
    """Whether these are all records."""


def as_text(value: object) -> Optional[str]:
    """A value of JSON or Parquet as text; None stays."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).encode("utf-8", "replace").decode("utf-8")  # half a character is no text
