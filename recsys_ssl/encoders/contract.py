"""What every kind of content offers; `kinds` loads it by these names.

Nothing outside of a kind's own folder knows more of it than this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Optional, Protocol

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.evaluation.prediction import Split, Task


class ColumnConfig(Protocol):
    """`reading.ColumnConfig` of a kind: a frozen dataclass, whose fields a spec may name as keys of a feature."""

    reads_bytes: ClassVar[bool]
    """Whether a cell of a binary column is the content itself; else it is text."""

    @property
    def file_paths(self) -> tuple[str, ...]:
        """Files and directories of the data directory that cells lead to, as far as the settings tell.

        Ingestion is repeated when one of their files changes.
        """


class ColumnModule(Protocol):
    """`column` of a kind."""

    def read(
        self, cells: pa.LargeListArray, config: Any = None, data_dir: str = "."
    ) -> tuple[pa.LargeListArray, dict[str, np.ndarray]]:
        """Packs raw cells.

        Args:
            cells: [num_records] lists of at most one cell, text or, with `reads_bytes`, large_binary; an empty list is
                a missing value.
            config: the kind's ColumnConfig as the spec has it, or None for a kind without.
            data_dir: where the paths of the spec begin, on this machine or an address such as gs://bucket; for cells
                that name files.

        Returns:
            [num_records] lists of at most one large_binary; and reason -> [num_records] bool, the records whose cell
            gives no content for it.
        """


class GuessModule(Protocol):
    """`guess` of a kind, for drafts of specs."""

    def tell(self, texts: Sequence[str], words: Sequence[str]) -> Optional[str]:
        """What makes texts of a column look like raw cells, e.g. "the texts are SMILES"; None: nothing.

        Args:
            texts: some distinct values, at least one.
            words: of the column's name, in lower case.
        """


class Picture(NamedTuple):
    """What people are shown of content."""

    media_type: str
    """E.g. image/png."""
    data: bytes


class PictureModule(Protocol):
    """`picture` of a kind, for pages; it may need what a server lacks, which then shows none."""

    def draw(self, packed: bytes) -> Picture:
        """What `column.read` packed, as people see it."""


class Mask(NamedTuple):
    """Which parts of the content a masked view hides: a share of each record's, drawn from a seed."""

    rate: float
    """In (0, 1)."""
    seed: tf.Tensor
    """[2] int64."""


class Pass(NamedTuple):
    """How a call encodes content; by default whole and without dropout, as at serving."""

    training_seed: Optional[tf.Tensor] = None
    """[2] int64, of what the encoder draws in training, for which dropout is active; None: no training."""
    mask: Optional[Mask] = None
    """Hides parts, in each view others; None: all views show the same content, which is encoded once."""


WHOLE = Pass()


class Content(Protocol):
    """The content of some records, in tensors: a NamedTuple, so that it passes through a tf.function."""

    def present(self) -> tf.Tensor:
        """[num_records] bool, whether the record has content."""

    def gather(self, records: tf.Tensor) -> Content:
        """The content of the records at these places, [num_chosen] int64; nothing is copied before it is encoded."""


class Encoder(Protocol):
    """A Keras model that turns content into vectors; all of its weights are there once it is made."""

    dim: int
    """Length of a vector."""
    trainable: bool
    trainable_variables: Sequence[tf.Variable]

    def encode(self, content: Content, how: Pass = WHOLE) -> tf.Tensor:
        """[num_records, dim] float32, the vectors of content that is all present."""


class EncoderModule(Protocol):
    """`encoder` of a kind."""

    def make(self, config: Any) -> Encoder:
        """An encoder by the kind's EncoderConfig: from scratch, or with the weights of `config.pretrained`."""

    def unpack(self, packed: tf.Tensor) -> Content:
        """The content that `column.read` packed: [num_records] string, "" where a record has none."""

    def concat(self, contents: Sequence[Content]) -> Content:
        """All of the contents, one after the other."""

    def restore(self, settings: dict[str, Any]) -> Encoder:
        """An encoder with the settings that `store.save` wrote; its weights are set afterwards."""


class PretrainData(Protocol):
    """Prepared content: batches are functions of the seed and the step, so that a run can begin at any of them."""

    name: str
    """Changes with the content and with the settings that decide what is prepared of it."""
    summary: Any
    """A dataclass with num_train, num_validation and rejected (reason -> number)."""
    files: dict[str, str]
    """Name -> text of what is kept beside the encoder, e.g. vocabularies."""

    def train_batch(self, config: Any, step: int) -> Any:
        """The batch of a step, counted from 0."""

    def validation_batches(self, config: Any) -> list[Any]:
        """The batches of every validation."""


class Pretext(Protocol):
    """`pretext.PRETEXT` of a kind: self-supervised losses, the heads they need and what they read."""

    batch_spec: Any
    """Signature of a batch; a function of it is traced once."""
    noun: str
    """What is counted, in the plural."""

    def prepare(
        self, source: Path, directory: Path, config: Any, workers: int, tell: Callable, column: Optional[str] = None
    ) -> PretrainData:
        """Reads raw content; goes on where an earlier call was killed. `tell(phase, done, most)` hears of it.

        `column` names the content in a file of several columns, and is an error where a file has none; None: the kind
        finds it.
        """

    def make_model(self, config: Any, data: PretrainData) -> keras.Model:
        """The encoder, as attribute `encoder`, and its heads; all weights are made."""

    def losses(self, model: keras.Model, batch: Any, config: Any, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scalars in training, `loss` among them."""

    def follow(self, model: keras.Model, step: tf.Tensor) -> None:
        """Moves what follows the trained weights without a gradient, e.g. their moving average, after each step.

        What moves are weights of the model, so that a checkpoint holds them; `step` is a scalar int64, counted from 0.
        """

    def evaluate(self, model: keras.Model, batch: Any) -> dict[str, tf.Tensor]:
        """Scalars that add up over batches."""

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """Figures of the sums, `loss` among them."""

    def describe(self, validation: Sequence[Any]) -> dict[str, float]:
        """Figures of the validation batches themselves, e.g. what always guessing the majority gets right."""


class Predictor(Protocol):
    """A Keras model of an encoder and heads that predict properties."""

    encoder: keras.Model
    task: Task
    num_tasks: int
    head_variables: Sequence[tf.Variable]
    """What is trained besides the encoder."""

    def standardise(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Sets the unit of a regression: targets are scale * output + mean; both [num_tasks]."""

    def to_outputs(self, targets: tf.Tensor) -> tf.Tensor:
        """Targets in the unit of the heads."""

    def loss(self, batch: Any, targets: tf.Tensor, config: Any, seed: tf.Tensor) -> tf.Tensor:
        """Scalar in training; targets, [num_records, num_tasks], are in the unit of the heads, NaN where unknown."""

    def predict_targets(self, batch: Any) -> tf.Tensor:
        """[num_records, num_tasks] float32 probabilities, or values in the unit of the targets."""


class Table(Protocol):
    """Content with measured properties, in the order of its file."""

    rows: np.ndarray
    """[num_records] int64 row of the file, its first one below the header 0."""
    texts: list[str]
    """[num_records] what stands for each record in tables."""
    contents: list[Any]
    targets: np.ndarray
    """[num_records, num_tasks] float32, NaN where the file has nothing."""
    names: list[str]
    """[num_tasks]."""
    rejections: list[Any]
    """NamedTuples with row, reason and the text."""


class PredictModule(Protocol):
    """`predict` of a kind."""

    BATCH_SPEC: Any
    SPLITS: dict[str, Callable[[Sequence[str], int], Split]]

    def read_table(
        self, path: Path, column: str, targets: Sequence[str] | None, workers: int = 1, encoder: Any = None
    ) -> Table:
        """Reads a table for an encoder, whose sizes may decide how; no targets where none are named."""

    def batch(self, contents: Sequence[Any]) -> Any:
        """What the predictor takes, of `BATCH_SPEC`."""

    def make(self, encoder: Any, num_tasks: int, task: Task, config: Any) -> Predictor:
        """A predictor on a copy of the encoder, or on one from scratch of the given sizes."""

    def restore(self, encoder: dict[str, Any], num_tasks: int, task: Task, config: Any) -> Predictor:
        """A predictor whose weights are read afterwards."""


class Embedded(NamedTuple):
    """Some records of a stream and their vectors."""

    rows: np.ndarray
    """[num_records] int64 place of each record among those given."""
    vectors: np.ndarray
    """[num_records, dim] float32."""


class Embedder(Protocol):
    """`embed.Embedder` of a kind, made of an encoder; `embed.read(source, column)` streams the raw content of a file.

    The text of a record in tables is `str` of its raw content. What a kind rejects is a NamedTuple of row, reason and,
    last, the text. For `column` see `Pretext.prepare`.
    """

    dim: int

    def embed(self, contents: Any, rejected: list | None = None, workers: int = 1) -> np.ndarray:
        """[num_records, dim] float32; NaN for what is rejected, which is an error without a list to name it in."""

    def embed_stream(self, contents: Any, rejected: list, workers: int = 1) -> Iterator[Embedded]:
        """Batch by batch; a row that comes in no batch was rejected."""
