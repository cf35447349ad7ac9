"""The table of right outcomes: `expectations.yaml`, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Union

import yaml
from pydantic import BaseModel, ConfigDict, Field

PATH = Path(__file__).with_name("expectations.yaml")


class Checks(BaseModel):
    """What must hold of a command's outcome and of what it wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: int = 0
    says: list[str] = []
    """Regular expressions that the output, its white space collapsed, must hold."""
    never: list[str] = []
    traces: bool = False
    """A trace is right: the caller's own script does not catch the error that is asked for."""
    summary: dict[str, Union[int, dict[str, int]]] = {}
    """Dotted name in the ingestion's summary -> number; of counts by reason their sum."""
    catalogue: dict[str, dict[str, list[Any]]] = {}
    """Item -> feature -> its values."""
    known: dict[str, int] = {}
    """Feature -> number of items that have a value."""
    report: dict[str, Any] = {}
    """Dotted name in report.json -> value."""
    tables: dict[str, dict[str, list[Any]]] = {}
    """Parquet file -> column -> values."""
    finite: list[str] = []
    """Parquet files whose vectors must be finite."""


class Run(Checks):
    """One way to run a case."""

    commands: list[str] = []
    """The last is judged; none: that of the case. `{stem}` is the end of the case's name, `{cmd}` its own command."""
    spec: dict[str, Any] = {}
    """Dotted key of spec.yaml -> value."""
    either: list[Checks] = []
    """Each of these is right, in place of the checks of the run itself."""
    keep: bool = False
    """Goes on in the directory of the run before."""
    seconds: float = 600
    """A command that takes longer is killed: it hangs."""


class Entry(BaseModel):
    """Cases with one right outcome."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    cases: list[str]
    right: str
    runs: list[Run]
    folder: Optional[str] = None
    """Where its files are, when that is not the folder of its name."""
    extra: list[str] = Field(default=[], alias="with")
    """Files of other cases that are copied beside them."""
    write: dict[str, str] = {}
    """File -> text, written beside them."""
    needs: Optional[str] = None
    newest: bool = False
    """Needs another environment, with the newest TensorFlow."""


class Table(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    facts: list[dict[str, Any]] = []
    """Anchors."""
    renamed: dict[str, str] = {}
    """Words in the commands and scripts of cases -> what they are called today."""
    cases: list[Entry]


def load(path: Path = PATH) -> Table:
    """The table.

    Raises:
        ValueError: a case is there twice.
    """
    table = Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    names = [name for entry in table.cases for name in entry.cases]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{path.name} must hold each case once. Received twice: {', '.join(repeated)}. Remove one.")
    return table
