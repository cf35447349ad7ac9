"""FeatureSpec: the one contract that every stage reads.

A spec states the facts of one data set (files, columns, feature kinds, label rule, split) and nothing
about the model. It is strict: an unknown key, a wrong type or a contradiction is an error, which
`spec_files` finds in the YAML file.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Optional

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from recsys_ssl.spec_features import VOCABULARY_FEATURES as VOCABULARY_FEATURES
from recsys_ssl.spec_features import CategoricalFeature as CategoricalFeature
from recsys_ssl.spec_features import ColumnFeature as ColumnFeature
from recsys_ssl.spec_features import ContentFeature as ContentFeature
from recsys_ssl.spec_features import DenseFeature as DenseFeature
from recsys_ssl.spec_features import Feature as Feature
from recsys_ssl.spec_features import IdFeature as IdFeature
from recsys_ssl.spec_features import ItemSequenceFeature as ItemSequenceFeature
from recsys_ssl.spec_features import NumericFeature as NumericFeature
from recsys_ssl.spec_features import PlacedError as PlacedError
from recsys_ssl.spec_features import StrictModel
from recsys_ssl.spec_features import TableFeature as TableFeature
from recsys_ssl.spec_features import TextFeature as TextFeature
from recsys_ssl.spec_log import Events, Items
from recsys_ssl.spec_log import Queries as Queries
from recsys_ssl.spec_log import Timestamp as Timestamp
from recsys_ssl.spec_records import Explode as Explode
from recsys_ssl.spec_records import Files as Files
from recsys_ssl.spec_records import Paths

SPEC_VERSION: Final = 1

# Columns that ingestion itself writes into the examples; a feature may not take their names.
RESERVED_NAMES = frozenset(
    {
        "query_id",
        "item_id",
        "item_row",
        "query_row",
        "timestamp_us",
        "example_weight",
        "seen_rows",
        "sequence_position",
        "history_us",
        "train_count",
        "impression_count",
    }
)

# Inputs of a query tower that reads gaps in time: when the items of the history were chosen, and when the query asks.
TIME_INPUTS: Final = ("history_us", "timestamp_us")

# Names that the exported `recommend` gives its own inputs, and what Python's calls take for themselves.
INPUTS_OF_RECOMMEND = frozenset({"k", "exclude", "self"})

_Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _is_whole(number: object) -> object:
    if isinstance(number, (bool, float)):  # true and 1.0 are equal to 1
        raise ValueError("this must be a whole number. Write it as one")
    return number


# --- Split, evaluation ----------------------------------------------------------------------------


class Split(StrictModel):
    """What is held out of the positive events: shares by one global time line, by a hash, or files of their own."""

    kind: Literal["time", "random", "item_group", "given"] = Field(
        default="time",
        description="`random`: each (query, item) by a hash; `item_group`: all events of the items of a group by a "
        "hash of the group, so that each test item is new. The shares are then those of the groups. `given`: by files, "
        "events.paths being those of training.",
    )
    validation: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        default=0.1,
        description="Of a `given` split a share of the training events, each (query, item) by the hash; there 0 holds "
        "none out, and training keeps its last step.",
    )
    test: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    validation_paths: Optional[Paths] = Field(
        default=None, description="Files of the validation events, in place of a share (`given` only)."
    )
    test_paths: Optional[Paths] = Field(
        default=None, description="Files of the test events, read as those of events.paths (`given` only)."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the hash.")
    column: Optional[str] = Field(
        default=None,
        description="Column of items.table that names the item's group (`item_group` only). Items without a value are "
        "one group.",
    )

    @property
    def has_validation(self) -> bool:
        return self.validation > 0.0 or self.validation_paths is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The splits of the interactions, in order: `train`, `eval` where there is a validation, `test`."""
        return ("train", "eval", "test") if self.has_validation else ("train", "test")

    @model_validator(mode="after")
    def _keys_go_with_kind(self):
        if (self.kind == "item_group") != (self.column is not None):
            raise ValueError("column and kind: item_group belong together. Give both or neither.")
        if (self.kind == "given") != (self.test_paths is not None):
            raise PlacedError(["kind"], "test_paths and kind: given belong together. Give both or neither.")
        if self.kind != "given":
            if self.validation_paths is not None:
                raise PlacedError(["validation_paths"], "only a given split has files. Set kind: given or remove them.")
            if not self.validation:
                raise PlacedError(["validation"], "only a given split may hold out nothing for validation. Raise it.")
            return self
        # A share that files take the place of is in the way only where somebody asked for it.
        if "test" in self.model_fields_set:
            raise PlacedError(["test"], "test_paths take the place of a share. Remove one of test and test_paths.")
        if self.validation_paths is not None and "validation" in self.model_fields_set:
            message = "validation_paths take the place of a share. Remove one of validation and validation_paths."
            raise PlacedError(["validation"], message)
        return self

    @model_serializer(mode="wrap")
    def _leave_out_shares(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without files that are not given, and without shares that files take the place of: nobody asked for these."""
        written = write(self)
        for share in ("validation", "test"):
            paths = f"{share}_paths"
            del written[paths if written[paths] is None else share]
        return written


class Evaluation(StrictModel):
    mask_seen: bool = Field(
        default=True,
        description="Leave the query's earlier positives out of its ranking, and held-out repeats of them out of the "
        "figures (not for repeat consumption).",
    )
    mask_disliked: bool = Field(
        default=False,
        description="Leave items that the query rated below label.threshold before out of its ranking and its "
        "recommendations.",
    )
    group_by: Literal["query", "event"] = Field(
        default="query",
        description="`query`: one ranking per query, at its first held-out event; `event`: one per held-out event.",
    )
    slices: list[str] = Field(default=[], description="Categorical query features to slice the report by.")
    cluster_by: Optional[str] = Field(
        default=None,
        description="Categorical item feature whose values the report holds against clusters of the items' embeddings.",
    )

    @model_serializer(mode="wrap")
    def _leave_out_cluster_by(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what nobody asked for, so that outputs of before are found again."""
        return {name: value for name, value in write(self).items() if name != "cluster_by" or value is not None}

    @property
    def masks(self) -> bool:
        """Whether rankings leave out any item for what the query did before."""
        return self.mask_seen or self.mask_disliked


class FeatureSpec(StrictModel):
    """Everything the stages need to know about one data set."""

    version: Annotated[Literal[1], BeforeValidator(_is_whole)] = SPEC_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
    description: str = ""
    events: Events
    items: Items
    queries: Queries = Queries()
    split: Split = Split()
    evaluation: Evaluation = Evaluation()
    max_rejected_share: _Share = Field(default=0.01, description="A run with more rejected records fails.")

    @property
    def query_features(self) -> tuple[Feature, ...]:
        """The features of the query tower: its table's and the event's own."""
        return (*self.queries.features, *self.events.features)

    @property
    def has_order(self) -> bool:
        """Whether what a query did is in an order of its own: that of time, of given splits, or of both."""
        return self.events.timestamp is not None or self.split.kind == "given"

    @property
    def event_features(self) -> tuple[TableFeature, ...]:
        # Neither items nor events have item sequences, see `_is_consistent`.
        return tuple(f for f in self.events.features if isinstance(f, ColumnFeature))

    @property
    def item_features(self) -> tuple[TableFeature, ...]:
        return tuple(f for f in self.items.features if isinstance(f, ColumnFeature))

    @property
    def content_kinds(self) -> tuple[str, ...]:
        """The kinds of content that items have, each once."""
        return tuple(dict.fromkeys(f.kind for f in self.item_features if f.is_content))

    @property
    def item_sequences(self) -> tuple[ItemSequenceFeature, ...]:
        return tuple(f for f in self.query_features if isinstance(f, ItemSequenceFeature))

    @property
    def item_id_feature(self) -> Optional[IdFeature]:
        """The id feature that reads the catalogue's own id column, if the spec has one."""
        ids = (f for f in self.item_features if isinstance(f, IdFeature))
        return next((f for f in ids if f.source_column == self.items.id), None)

    @property
    def sequence_id_feature(self) -> IdFeature:
        """The same, whose vocabulary item sequences take: with any of these, a spec has it."""
        if self.item_id_feature is None:
            raise ValueError(
                f"an item_sequence needs an item feature of kind id on column {self.items.id!r}. Add it to items."
            )
        return self.item_id_feature

    @model_validator(mode="after")
    def _is_consistent(self):
        for side, features in (("query", self.query_features), ("item", self.items.features)):
            names = [feature.name for feature in features]
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{side} feature names must be unique. Received twice: {repeated}.")
            as_query = side == "query" or self.queries.same_as_items
            reserved = sorted(set(names) & (RESERVED_NAMES | (INPUTS_OF_RECOMMEND if as_query else {"self"})))
            if reserved:
                message = f"{side} feature names {reserved} are reserved. Rename them and set their column."
                raise PlacedError(self._keys_of(side, reserved[0]), message)
            if len({name.lower() for name in names}) < len(names):  # each names the file of its vocabulary
                alike = sorted({name for name in names if [other.lower() for other in names].count(name.lower()) > 1})
                message = f"{side} feature names must differ in more than case. Received: {alike}. Rename one."
                raise PlacedError(self._keys_of(side, alike[0]), message)
        if any(isinstance(f, ItemSequenceFeature) for f in (*self.items.features, *self.events.features)):
            raise ValueError("an item_sequence is a feature of queries. Move it to queries.features.")
        for feature in self.query_features:
            if feature.is_content:
                raise ValueError(f"content of kind {feature.kind} is a feature of items. Move it to items.features.")
        if self.item_sequences and self.events.timestamp is None:
            raise ValueError("an item_sequence needs events.timestamp. Name the column or remove the sequence.")
        if self.item_sequences:
            _ = self.sequence_id_feature  # raises without one
        if self.queries.same_as_items and (self.query_features or self.queries.table):
            raise ValueError("same_as_items takes the items' features. Remove the other query features and the table.")
        if not self.queries.same_as_items and not self.query_features:
            raise ValueError("the query needs at least one feature. Add queries.features or same_as_items: true.")
        known = all(f.source_column == self.items.id and not f.is_content for f in self.item_features)
        if self.items.table is not None and self.items.from_events:
            raise ValueError("items come from a table or from the events. Remove one of items.table and from_events.")
        if self.items.table is None and not self.items.from_events and not known:
            raise ValueError(
                "without items.table only the id column is known. Add the table, set items.from_events: true when the "
                "columns are of the log, or drop other features."
            )
        if self.items.from_events and self.items.id != self.events.item_id:
            raise ValueError(f"items from the events have their id. Set items.id: {self.events.item_id}.")
        if self.items.from_events and self.queries.same_as_items:
            raise ValueError("queries that are items need a table of both. Give items.table or remove from_events.")
        if self.evaluation.mask_disliked and self.events.label.column is None:
            raise ValueError("mask_disliked needs ratings. Give label.column and threshold, or remove mask_disliked.")
        own_columns = {self.queries.id, *(f.name for f in self.item_sequences)}
        if self.queries.table is None:
            for feature in self.queries.features:
                if isinstance(feature, ColumnFeature) and feature.source_column not in own_columns:
                    raise ValueError(
                        f"query feature {feature.name!r} reads column {feature.source_column!r}, but there is no "
                        "queries.table. Add the table or move the feature to events.features."
                    )
        if self.split.kind == "time" and self.events.timestamp is None:
            raise ValueError("a time split needs events.timestamp. Name the column or set split.kind: random.")
        if self.split.kind not in ("time", "given") and self.events.timestamp is not None:
            raise ValueError(
                f"a log with time is split by time, or the test leaks. Remove split.kind: {self.split.kind}."
            )
        if self.split.kind == "item_group" and self.items.table is None:
            raise ValueError("an item_group split needs items.table, which has its column. Add the table.")
        if self.split.kind == "item_group" and self.queries.same_as_items:
            raise ValueError("an item_group split needs queries that are no items, or training sees the test items.")
        sliceable = {f.name for f in self.query_features if f.kind in ("id", "categorical")}
        if self.queries.same_as_items:
            sliceable = {f.name for f in self.item_features if f.kind in ("id", "categorical")}
        unknown = sorted(set(self.evaluation.slices) - sliceable)
        if unknown:
            raise ValueError(f"evaluation.slices must be categorical query features. Received: {unknown}.")
        if len(set(self.evaluation.slices)) < len(self.evaluation.slices):
            raise ValueError("evaluation.slices names each feature once. Remove what comes twice.")
        categorical = {f.name for f in self.item_features if isinstance(f, CategoricalFeature)}
        if self.evaluation.cluster_by not in {None, *categorical}:
            raise ValueError(
                f"evaluation.cluster_by must be a categorical item feature. Received: {self.evaluation.cluster_by!r}."
            )
        readable = {f.name for f in self.item_features if not f.is_content and not f.is_number}
        if self.items.title is not None and self.items.title not in readable:
            raise ValueError(f"items.title must name an item feature that is text. Received: {self.items.title!r}.")
        for feature in self.item_features:
            if isinstance(feature, IdFeature) and feature.source_column == self.items.id and feature.min_count > 1:
                raise PlacedError(
                    [*self._keys_of("item", feature.name)[:-1], "min_count"],
                    "each item is once in the catalogue: min_count would make all of them unknown. Remove it.",
                )
        self._check_id_columns()
        for keys, files, columns in self._list_reads():
            if files is not None and files.explode is not None and not files.explode.serves(columns):
                raise PlacedError(
                    [*keys, "explode", "column"],
                    f"explode makes a record of each element of {files.explode.column!r}, of which nothing is read: "
                    "each record would only be repeated. Read the column or one of `into`, or remove explode.",
                )
        return self

    def _check_id_columns(self) -> None:
        """Ids are taken as they are: what reads them as something else needs a column of a table."""
        of_queries = [f for f in self.queries.features if isinstance(f, ColumnFeature)]
        of_items = self.item_features if self.items.table is None and not self.items.from_events else []
        for side, own, features in (("query", self.queries.id, of_queries), ("item", self.items.id, of_items)):
            is_table = side == "query" and self.queries.table is not None
            for feature in features:
                if feature.source_column != own:
                    continue
                is_split = isinstance(feature, CategoricalFeature) and feature.multi_valued
                if is_split or (feature.is_number and not is_table):
                    raise PlacedError(
                        self._keys_of(side, feature.name)[:-1],
                        f"{feature.name!r} reads the {side}'s id, which is one text. Make it an id or a text, or give "
                        "it a column of a table.",
                    )

    def _list_reads(self) -> list[tuple[list[str], Optional[Files], set[str]]]:
        """Files of the spec: the keys that lead there, the files, and the columns that are read of them."""
        events, items, queries = self.events, self.items, self.queries
        label = (events.label.column, events.label.event_type)
        of_log = [events.query_id, events.item_id, *label, events.weight]
        of_log += [events.timestamp.column] if events.timestamp else []
        of_log += [feature.source_column for feature in self.event_features]
        of_items = [feature.source_column for feature in self.item_features]
        of_queries = [feature.source_column for feature in queries.features if isinstance(feature, ColumnFeature)]
        reads: list[tuple[list[str], Optional[Files], list[Optional[str]]]] = [
            (["events"], events, [*of_log, *(of_items if items.from_events else [])]),
            (["items", "table"], items.table, [items.id, self.split.column, *of_items]),
            (["queries", "table"], queries.table, [queries.id, *of_queries]),
        ]
        return [(keys, files, {column for column in columns if column}) for keys, files, columns in reads]

    def _keys_of(self, side: str, name: str) -> list[str | int]:
        """The keys that lead to the name of a feature."""
        parts = ("queries", "events") if side == "query" else ("items",)
        return next(
            [part, "features", place, "name"]
            for part in parts
            for place, feature in enumerate(getattr(self, part).features)
            if feature.name == name
        )

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        return cls.model_validate_json(text)
