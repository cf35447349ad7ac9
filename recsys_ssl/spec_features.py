"""The kinds of features that a spec can name, each with its own settings and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Optional, Union

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys_ssl.kinds import KINDS


class StrictModel(BaseModel):
    """A part of a spec: what it does not know is an error, and it never changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


_Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=100, description="Name of the feature in every artifact."),
]
_Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
_Buckets = Annotated[int, Field(ge=1, le=1_000_000)]
_VocabularySize = Annotated[int, Field(ge=1, le=100_000_000)]


class _AnyFeature(StrictModel):
    """What the stages ask of a feature, whatever its kind."""

    is_content: ClassVar[bool] = False
    """Whether values are content for an encoder, packed at ingestion."""
    is_coded: ClassVar[bool] = True
    """Whether values become codes of a vocabulary or buckets."""
    is_number: ClassVar[bool] = False
    """Whether raw values are float32; those of the other kinds are bytes."""

    @property
    def is_list(self) -> bool:
        """Whether a raw record may hold several values."""
        return False


class ColumnFeature(_AnyFeature):
    """A feature that a column of a log or table holds."""

    name: _Name
    column: Optional[str] = Field(default=None, description="Column of the table; the feature's name when absent.")
    min_presence: Optional[Annotated[float, Field(ge=0.0, le=1.0)]] = Field(
        default=None, description="Least share of records with a value; fewer is a data anomaly that stops the run."
    )

    @property
    def source_column(self) -> str:
        return self.name if self.column is None else self.column


class IdFeature(ColumnFeature):
    """A (nearly) unique identifier, one value a record."""

    kind: Literal["id"]
    min_count: _Count = Field(default=1, description="Rarer values share the out-of-vocabulary buckets.")
    oov_buckets: _Buckets = 1


class CategoricalFeature(ColumnFeature):
    """One value, or several when `multi_valued`."""

    kind: Literal["categorical"]
    multi_valued: bool = False
    separator: Optional[Annotated[str, Field(min_length=1)]] = Field(
        default=None, description="Separates the values of a multi-valued feature in a CSV cell."
    )
    min_count: _Count = 1
    vocabulary_size: Optional[_VocabularySize] = Field(default=None, description="Keep the most frequent values only.")
    oov_buckets: _Buckets = 1

    @model_validator(mode="after")
    def _separator_needs_multi_valued(self):
        if self.separator is not None and not self.multi_valued:
            raise ValueError("a separator needs multi_valued: true. Add it or remove the separator.")
        return self

    @property
    def is_list(self) -> bool:
        return self.multi_valued


class TextFeature(ColumnFeature):
    """Free text as a bag of lower-cased word n-grams."""

    kind: Literal["text"]
    ngrams: Annotated[int, Field(ge=1, le=4)] = Field(default=1, description="Longest n-gram, in words.")
    max_words: int = Field(default=64, ge=1, le=10_000, description="Words beyond this are not read.")
    min_count: _Count = 1
    vocabulary_size: _VocabularySize = 20_000
    oov_buckets: _Buckets = 1


class NumericFeature(ColumnFeature):
    """A number, used as its quantile bucket."""

    is_number: ClassVar[bool] = True

    kind: Literal["numeric"]
    buckets: Annotated[int, Field(ge=2, le=1000)] = 10


class DenseFeature(ColumnFeature):
    """A vector of fixed length, standardised per element."""

    is_coded: ClassVar[bool] = False
    is_number: ClassVar[bool] = True

    kind: Literal["dense"]
    dim: Annotated[int, Field(ge=1, le=65_536)]
    separator: Annotated[str, Field(min_length=1)] = Field(
        default=" ", description="Separates the elements in a CSV cell."
    )

    @property
    def is_list(self) -> bool:
        return True


class ItemSequenceFeature(_AnyFeature):
    """The query's last `length` positive items strictly before the event."""

    kind: Literal["item_sequence"]
    name: _Name
    length: Annotated[int, Field(ge=1, le=10_000)] = 20

    @property
    def is_list(self) -> bool:
        return True


if TYPE_CHECKING:  # which cannot read names out of `kinds`
    _ContentKind = str
else:
    _ContentKind = Literal[tuple(KINDS)]


class ContentFeature(ColumnFeature):
    """Content of an item that an encoder turns into a vector, see docs/new_encoder.md; a `molecule` is a SMILES."""

    is_content: ClassVar[bool] = True
    is_coded: ClassVar[bool] = False

    kind: _ContentKind


Feature = Annotated[
    Union[
        IdFeature,
        CategoricalFeature,
        TextFeature,
        NumericFeature,
        DenseFeature,
        ItemSequenceFeature,
        ContentFeature,
    ],
    Field(discriminator="kind"),
]
TableFeature = Union[IdFeature, CategoricalFeature, TextFeature, NumericFeature, DenseFeature, ContentFeature]
"""All kinds of `ColumnFeature`."""
VOCABULARY_FEATURES = (IdFeature, CategoricalFeature, TextFeature)
"""The kinds whose values are looked up in a vocabulary."""

FEATURE_KINDS = ("id", "categorical", "text", "numeric", "dense", "item_sequence", *KINDS)
