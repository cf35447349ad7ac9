"""A page on which people look at a model: queries of the log, what is recommended to them, and the nearest items.

    GET  /explore            the page
    GET  /explore/model      what a model takes, and which others there are
    GET  /explore/queries    ids of queries that begin with some text
    GET  /explore/query      what the log knows of a query
    POST /explore/items      items as people read them
    GET  /explore/nearest    the items whose vectors are the most alike

The page asks `POST /recommend`, as every client does. Without the key of the server it is empty.
"""

from __future__ import annotations

import base64
import enum
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
from fastapi import FastAPI, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from recsys_ssl.kinds import find
from recsys_ssl.serving.errors import not_found
from recsys_ssl.serving.recommender import Recommender
from recsys_ssl.serving.versions import Models
from recsys_ssl.spec import ContentFeature, IdFeature

_LOG = logging.getLogger("recsys_ssl.serving")
PAGE_PATH = "/explore"
_PAGE = Path(__file__).with_name("explorer.html")
_SECURITY = (
    "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
_MAX_ITEMS, _MAX_VALUES = 1000, 50
"""Of an answer, and of a feature."""
_PICTURES = 512
"""That are kept."""
_TAG: list[str | enum.Enum] = ["Explorer"]
_ModelName = Annotated[Optional[str], Query(description="Needed where several models are served.")]


class Described(BaseModel):
    """A model, for the page."""

    model: str
    version: int
    models: list[str] = Field(description="All that are served.")
    num_items: int
    features: list[str] = Field(description="What it takes of a query.")


class QueryIds(BaseModel):
    query_ids: list[str]


class Shown(BaseModel):
    """A picture of content, as the encoder reads it."""

    media_type: str
    base64: str


class Card(BaseModel):
    """An item as people read it."""

    id: str
    title: str
    features: dict[str, list[str]] = Field(description="As in the log; what is missing is not there.")
    pictures: dict[str, Shown] = Field(description="Of content that this server can draw.")


class Near(BaseModel):
    """An item and how alike it is."""

    card: Card
    cosine: float


class Known(BaseModel):
    """What the log knows of a query after its last event."""

    query_id: str
    features: dict[str, list[str]]
    history: list[Card] = Field(description="Items that it chose, the last first.")


class Nearest(BaseModel):
    items: list[Near]


class Named(BaseModel):
    """Items by their ids."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["1"]}]})

    ids: list[StrictStr] = Field(max_length=_MAX_ITEMS)
    model: Optional[StrictStr] = None


class Cards(BaseModel):
    items: list[Card] = Field(description="Of the ids that the catalogue has, in their order.")


def add_routes(app: FastAPI, models: Models) -> None:
    """Adds the page, and what it asks besides recommendations, to an application."""
    page = _PAGE.read_bytes()

    @app.get(PAGE_PATH, tags=_TAG, summary="A page to look at a model", responses={200: {"content": {"text/html": {}}}})
    async def explore() -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": _SECURITY})

    @app.get("/explore/model", tags=_TAG, summary="What a model takes", response_model=Described)
    def describe(model: _ModelName = None) -> Described:
        # The page asks before anybody could say which.
        served = models.get(models.names[0]) if model is None and len(models.names) > 1 else models.get_default(model)
        features, num_items = served.recommender.features, served.num_items
        return Described(
            model=served.name, version=served.version, models=models.names, num_items=num_items, features=features
        )

    @app.get("/explore/queries", tags=_TAG, summary="Queries of the log", response_model=QueryIds)
    def list_queries(
        start: str = "", limit: Annotated[int, Query(ge=1, le=100)] = 20, model: _ModelName = None
    ) -> QueryIds:
        lookup = models.get_default(model).recommender.lookup
        return QueryIds(query_ids=lookup.list_queries(_encodable(start), limit))

    @app.get("/explore/query", tags=_TAG, summary="What the log knows of a query", response_model=Known)
    def find_query(id: str, model: _ModelName = None) -> Known:
        recommender = models.get_default(model).recommender
        found = recommender.lookup.find_queries([_encodable(id)]).get(id)
        if found is None:
            raise not_found(f"the log has no query {id[:80]!r}. GET /explore/queries lists some.")
        last = dict.fromkeys(reversed(recommender.item_ids(found.history)))
        return Known(query_id=id, features=_to_texts(found.record), history=make_cards(recommender, list(last)))

    @app.post("/explore/items", tags=_TAG, summary="Items as people read them", response_model=Cards)
    def find_items(named: Named) -> Cards:
        recommender = models.get_default(named.model).recommender
        return Cards(items=make_cards(recommender, [_encodable(item_id) for item_id in named.ids]))

    @app.get("/explore/nearest", tags=_TAG, summary="The items most like one", response_model=Nearest)
    def find_nearest(id: str, k: Annotated[int, Query(ge=1, le=_MAX_ITEMS)] = 10, model: _ModelName = None) -> Nearest:
        recommender = models.get_default(model).recommender
        ids, cosines = recommender.find_nearest(_encodable(id), k)
        if not ids:
            raise not_found(f"the model has no item {id[:80]!r}, or none beside it.")
        cards = {card.id: card for card in make_cards(recommender, ids)}
        pairs = zip(ids, cosines, strict=True)
        return Nearest(items=[Near(card=cards[i], cosine=cosine) for i, cosine in pairs if i in cards])


def make_cards(recommender: Recommender, item_ids: Sequence[str]) -> list[Card]:
    """Cards of the items that there are, in the order of their ids."""
    spec, found = recommender.spec, recommender.find_items(item_ids)
    kinds = {feature.name: feature.kind for feature in spec.item_features if isinstance(feature, ContentFeature)}
    own = {feature.name for feature in spec.item_features if isinstance(feature, IdFeature)}
    cards = []
    for item_id in dict.fromkeys(item_ids):
        if item_id not in found:
            continue
        record = found[item_id]
        texts = _to_texts({name: values for name, values in record.items() if name not in kinds})
        title = texts.get(spec.items.title or "", [item_id])[0]
        shown = {name: values for name, values in texts.items() if name not in own and name != spec.items.title}
        drawn = {name: _draw(kind, record[name][0]) for name, kind in kinds.items() if record.get(name)}
        pictures = {name: picture for name, picture in drawn.items() if picture}
        cards.append(Card(id=item_id, title=title, features=shown, pictures=pictures))
    return cards


@functools.cache
def _find_drawing(kind: str) -> Optional[Callable[[bytes], Any]]:
    """Draws content of a kind; None where the kind does without, or needs a library that is not installed."""
    try:
        module = find(kind, "picture")
    except ModuleNotFoundError as error:
        _LOG.info("no pictures of kind %s: %s is not installed", kind, error.name)
        return None
    return None if module is None else module.draw


@functools.lru_cache(maxsize=_PICTURES)
def _draw(kind: str, packed: bytes) -> Optional[Shown]:
    """A picture, kept: the same items are shown again and again; None where the kind cannot be drawn here."""
    draw = _find_drawing(kind)
    if draw is None:
        return None
    picture = draw(packed)
    return Shown(media_type=picture.media_type, base64=base64.b64encode(picture.data).decode("ascii"))


def _to_texts(record: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """Raw values as people read them, the first of many; of vectors nothing."""
    return {
        name: [_to_text(value) for value in values[:_MAX_VALUES]]
        for name, values in record.items()
        if values and not (isinstance(values[0], float) and len(values) > 1)
    }


def _to_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return f"{value:g}" if isinstance(value, float) and np.isfinite(value) else str(value)


def _encodable(text: str) -> str:
    """Half of a pair of surrogates is no text that a file could hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
