"""One version of a model in memory: what clients of TensorFlow Serving call, what people ask, and its smoke test."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from recsys_ssl import artifacts
from recsys_ssl.index import raw_inputs
from recsys_ssl.serving.eager import to_tensor
from recsys_ssl.serving.errors import Code, RequestError, invalid, not_found
from recsys_ssl.serving.recommender import Answer, Recommender
from recsys_ssl.serving.tensors import Arrays, Specs

DEFAULT_SIGNATURE = "serving_default"
RECOMMEND = "recommend"
_SMOKE_K = 10
_LARGEST_DIFFERENCE = 1e-4


class Question(NamedTuple):
    """What one person asks: a query by its features or by its id."""

    query: dict[str, Any] | None = None
    """Feature -> value."""
    query_id: str | None = None
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None


class SmokeTestError(ValueError):
    """A model gives answers that no client should see."""


class ServedModel:
    """A recommender of `export`; threads may share it.

    Attributes:
        name: as clients call it.
        version: as clients call it.
        num_items: of the catalogue.
    """

    def __init__(self, name: str, version: int, model_dir: str | Path, live_path: str | Path | None = None):
        """Loads and tries a model.

        Args:
            live_path: file of a live catalogue, see `Recommender`.

        Raises:
            SmokeTestError: its answers are wrong.
            FileNotFoundError, ValueError, ImportError: it cannot be loaded, see `Recommender`.
        """
        self.name, self.version, self._directory = name, version, Path(model_dir)
        self.recommender = Recommender(model_dir, live_path)
        self.num_items = self.recommender.num_items
        self._signatures = self.recommender.model.signatures
        self._specs = {
            signature: raw_inputs.input_specs(self.recommender.model, signature) for signature in self._signatures
        }
        missing = {RECOMMEND, DEFAULT_SIGNATURE} - set(self._signatures)
        if missing:
            raise ValueError(f"{model_dir} lacks the signatures {sorted(missing)}. Export it with this version.")
        self._try()

    # --- TensorFlow Serving ------------------------------------------------------------------------------

    def specs(self, signature: str) -> Specs:
        """Name, dtype and shape of the inputs of a signature; "" is the default one.

        Raises:
            RequestError: there is no such signature.
        """
        name = signature or DEFAULT_SIGNATURE
        if name not in self._specs:
            raise invalid(
                f'Serving signature name: "{name}" not found in signature def. It has {", ".join(sorted(self._specs))}.'
            )
        return self._specs[name]

    def check(self, signature: str, arrays: Mapping[str, np.ndarray]) -> int:
        """The number of rows of the inputs of a signature.

        Raises:
            RequestError: an input is missing or unknown, or has another dtype or shape.
        """
        specs = self.specs(signature)
        if arrays.keys() != specs.keys():
            given, wanted = set(arrays), set(specs)
            raise invalid(
                f"input size does not match signature: {len(given)}!={len(wanted)} len({{{','.join(sorted(given))}}}) "
                f"!= len({{{','.join(sorted(wanted))}}}). Sent extra: {{{','.join(sorted(given - wanted))}}}. Missing "
                f"but required: {{{','.join(sorted(wanted - given))}}}."
            )
        for name, spec in specs.items():
            array, dtype = arrays[name], tf.as_dtype(arrays[name].dtype)
            if dtype != spec.dtype:
                raise invalid(f"input {name!r} must be {spec.dtype.name}. Received: {dtype.name}.")
            if not spec.shape.is_compatible_with(array.shape):
                raise invalid(f"input {name!r} must have the shape {spec.shape}. Received: {list(array.shape)}.")
        rows = {name: len(arrays[name]) for name in specs}
        if len(set(rows.values())) > 1:
            raise invalid(f"every input must have one row per query. Received: {rows}.")
        return next(iter(rows.values()))

    def predict(self, signature: str, requests: Sequence[Arrays]) -> list:
        """The outputs of a signature for each of some requests, or the `RequestError` that tells what is wrong.

        Args:
            requests: checked inputs, which agree in all but the number of rows.
        """
        try:
            return list(self._predict(signature, requests))
        except tf.errors.InvalidArgumentError as error:
            if len(requests) == 1:
                return [invalid(_to_line(error.message))]
        # One that cannot be answered must not spoil the others.
        return [self.predict(signature, [request])[0] for request in requests]

    def _predict(self, signature: str, requests: Sequence[Arrays]) -> list[Arrays]:
        specs = self.specs(signature)
        arrays = requests[0]
        if len(requests) > 1:
            arrays = {name: np.concatenate([request[name] for request in requests]) for name in specs}
        tensors = {name: to_tensor(arrays[name]) for name in specs}
        found = self._signatures[signature or DEFAULT_SIGNATURE](**tensors)
        outputs = {name: output.numpy() for name, output in found.items()}
        answers, first = [], 0
        for request in requests:
            end = first + len(next(iter(request.values())))
            answer = {name: output[first:end] for name, output in outputs.items()}
            if "k" in specs:  # no request sees that another one wanted more
                most = int(request["k"].max(initial=0))
                answer = {name: output[:, :most] for name, output in answer.items()}
            answers.append(answer)
            first = end
        return answers

    @functools.cached_property
    def metadata(self) -> get_model_metadata_pb2.SignatureDefMap:
        """The signatures as TensorFlow Serving tells of them."""
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((self._directory / "saved_model.pb").read_bytes())
        return get_model_metadata_pb2.SignatureDefMap(signature_def=saved.meta_graphs[0].signature_def)

    # --- People ------------------------------------------------------------------------------------------

    def answer(self, questions: Sequence[Question], k: int, filters: Mapping[str, Any] | None) -> list:
        """An `Answer` to each of some questions, or the `RequestError` that tells what is wrong with it.

        Args:
            questions: all by features, or all by id.
            filters: of all of them.
        """
        try:
            return list(self._answer(questions, k, filters))
        except (ValueError, TypeError) as error:
            if isinstance(error, artifacts.DamagedError):
                raise
            if len(questions) == 1:
                return [invalid(str(error))]
        # One that cannot be answered must not spoil the others.
        return [self.answer([question], k, filters)[0] for question in questions]

    def _answer(self, questions: Sequence[Question], k: int, filters: Mapping[str, Any] | None) -> list[Answer]:
        exclude = [list(question.exclude) for question in questions]
        allow = [None if question.allow is None else list(question.allow) for question in questions]
        if questions[0].query is None:
            ids = [question.query_id or "" for question in questions]
            return self.recommender.recommend_ids(ids, k, exclude, allow, filters)
        given = [question.query or {} for question in questions]
        names = sorted({name for query in given for name in query})
        features = {name: [query.get(name) for query in given] for name in names}
        return self.recommender.recommend(features, k, exclude, allow, filters)

    # --- The smoke test ----------------------------------------------------------------------------------

    def _try(self) -> None:
        """Asks its own sample requests and queries that nothing is known of, which also makes TensorFlow ready.

        Raises:
            SmokeTestError: an answer is wrong.
        """
        count, difference = self.recommender.replay_samples()
        if count and not difference <= _LARGEST_DIFFERENCE:
            raise SmokeTestError(
                f"{self._directory} must answer its {count} sample requests as it did when it was made. Received: "
                f"scores that differ by up to {difference:.3g}."
            )
        k = min(_SMOKE_K, self.num_items)
        for num_rows in (1, 2):
            arrays = _missing(self.specs(RECOMMEND), num_rows, k)
            (outputs,) = self._predict(RECOMMEND, [arrays])
            for ids, scores in zip(outputs["item_ids"].tolist(), outputs["scores"], strict=True):
                found = [item_id.decode("utf-8", "replace") for item_id in ids]
                if not all(found) or len(set(found)) < k:
                    raise SmokeTestError(f"{self._directory} must recommend {k} items. Received: {found}.")
                if not np.isfinite(scores).all() or (np.diff(scores) > 0).any():
                    raise SmokeTestError(f"{self._directory} must score its best first. Received: {scores.tolist()}.")
        for question in (Question(query={}), Question(query_id="")):
            (answer,) = self.answer([question], k, None)
            if isinstance(answer, Exception) or len(answer.item_ids) < k:
                raise SmokeTestError(f"{self._directory} must recommend {k} items to anyone. Received: {answer}.")


def _missing(specs: Specs, num_rows: int, k: int) -> Arrays:
    """Inputs of queries that nothing is known of."""
    arrays = {}
    for name, spec in specs.items():
        shape = [num_rows, *(8 if size is None else size for size in spec.shape[1:])]
        if name == "k":
            arrays[name] = np.full(shape, k, np.int32)
        elif spec.dtype == tf.string:
            arrays[name] = np.full(shape, b"", object)
        elif spec.dtype == tf.int64:
            arrays[name] = np.full(shape, -1, np.int64)
        else:
            arrays[name] = np.full(shape, np.nan, spec.dtype.as_numpy_dtype)
    return arrays


def _to_line(message: str) -> str:
    """What TensorFlow says of a request, without where in the graph."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith(("Graph execution", "Detected at"))), "wrong inputs")


def no_model(name: str, version: int | None) -> RequestError:
    """As TensorFlow Serving says it."""
    which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {which}")


def unimplemented(method: str) -> RequestError:
    return RequestError(Code.UNIMPLEMENTED, f"{method} is not served: a recommender has predict only.")
