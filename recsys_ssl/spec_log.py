"""The log and the tables of a feature spec."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Literal, Optional

from pydantic import Field, model_validator

from recsys_ssl.spec_features import Feature, StrictModel
from recsys_ssl.spec_records import Files

_MAX_WEIGHT = 1e6


class Timestamp(StrictModel):
    column: str
    unit: Literal["s", "ms", "us", "ns", "iso8601"] = Field(
        default="s", description="Unit of a number since 1970, or ISO 8601 text (read as UTC when it names no zone)."
    )
    format: Optional[str] = Field(
        default=None,
        description="In place of a unit: how a text is read, as Python's strptime (UTC when it names no zone).",
    )

    @model_validator(mode="after")
    def _format_gives_a_date(self):
        if self.format is None:
            return self
        if self.unit != "s":
            raise ValueError("a format takes the place of the unit. Remove one of them.")
        moment = datetime(2011, 12, 21, 8, 26, 40, tzinfo=timezone.utc)
        try:
            read = datetime.strptime(moment.strftime(self.format), self.format)
        except (ValueError, re.error) as error:
            raise ValueError(f"{self.format!r} is no strptime format: {error}. Use e.g. '%d/%m/%y %H:%M'.") from error
        if read.date() != moment.date():
            raise ValueError(f"a format must read year, month and day. Received: {self.format!r}. Add what is missing.")
        return self


class Label(StrictModel):
    """Which events are positive. With neither column nor event_type every event is."""

    column: Optional[str] = Field(default=None, description="Numeric feedback, e.g. a rating.")
    threshold: Optional[float] = Field(default=None, description="Feedback >= threshold is positive.")
    event_type: Optional[str] = Field(default=None, description="Column that names the kind of event.")
    positive: Optional[dict[str, float]] = Field(
        default=None, description="Event type -> example weight of the positive events."
    )
    impressions: list[str] = Field(
        default=[], description="Event types that mean 'was shown': counted per item, never a positive."
    )

    @model_validator(mode="after")
    def _one_rule(self):
        if (self.column is None) != (self.threshold is None):
            raise ValueError("column and threshold belong together. Give both or neither.")
        if (self.event_type is None) != (self.positive is None):
            raise ValueError("event_type and positive belong together. Give both or neither.")
        if self.column is not None and self.event_type is not None:
            raise ValueError("a label is a threshold or a set of event types. Remove one of column and event_type.")
        if self.impressions and self.event_type is None:
            raise ValueError("impressions need event_type and positive. Name the column with event_type.")
        if self.positive is not None:
            if not self.positive or min(self.positive.values()) <= 0:
                raise ValueError("positive needs at least one event type and weights above 0.")
            if max(self.positive.values()) > _MAX_WEIGHT:
                raise ValueError(f"weights are at most {_MAX_WEIGHT:,.0f}. Divide them all by the same number.")
            both = sorted(set(self.positive) & set(self.impressions))
            if both:
                raise ValueError(f"an event type is positive or an impression. Received both for: {both}.")
        return self


class Events(Files):
    """The feedback log."""

    query_id: str = Field(description="Column that identifies who or what asks (user, page, app).")
    item_id: str = Field(description="Column that identifies the item of the event.")
    timestamp: Optional[Timestamp] = None
    label: Label = Label()
    weight: Optional[str] = Field(default=None, description="Column with an example weight >= 0.")
    features: list[Feature] = Field(default=[], description="Query features known at the event (its context).")
    deduplicate: Literal["event", "pair"] = Field(
        default="event",
        description="`event`: identical (query, item, time) once; `pair`: each (query, item) once, at its first time.",
    )


class Items(StrictModel):
    """The catalogue. Without `table` it holds every item id of the log, and no other feature unless `from_events`."""

    table: Optional[Files] = None
    from_events: bool = Field(
        default=False, description="The features' columns are of the log; the first record of an item counts."
    )
    id: str = Field(default="item_id", description="Column of the table that identifies the item.")
    title: Optional[str] = Field(default=None, description="Feature shown to people beside the id.")
    features: list[Feature] = Field(min_length=1)


class Queries(StrictModel):
    """Features of the query; `same_as_items` when queries are themselves items (page to page, app to app)."""

    same_as_items: bool = False
    table: Optional[Files] = None
    id: str = Field(default="query_id", description="Column of the table that identifies the query.")
    features: list[Feature] = Field(default=[])
