"""Requests of both doors, HTTP and gRPC, through limits and batches to a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from recsys_ssl.index import raw_inputs
from recsys_ssl.serving.batching import Batcher
from recsys_ssl.serving.errors import invalid
from recsys_ssl.serving.request_limits import Limits
from recsys_ssl.serving.served_model import Question, ServedModel
from recsys_ssl.serving.tensors import Arrays

_LARGEST = float(np.finfo(np.float32).max)


class _Predict(NamedTuple):
    """What requests have in common that go through a signature at once."""

    model: ServedModel
    signature: str
    shapes: tuple
    """Of the inputs, without the number of rows."""


class _Ask(NamedTuple):
    """What questions of people have in common that are answered at once."""

    model: ServedModel
    by_id: bool
    k: int
    filters: str
    """As JSON."""


class Engine:
    """Checks requests and batches them; threads share it."""

    def __init__(
        self,
        limits: Limits,
        max_batch: int = 64,
        num_workers: int = 1,
        observe: Callable[[int, int], None] = lambda rows, requests: None,
    ):
        """Args:
        max_batch, num_workers, observe: see `Batcher`.
        """
        self.limits = limits
        self._batcher = Batcher(_run, max_batch, limits.max_waiting, num_workers, observe)

    def predict(self, model: ServedModel, signature: str, arrays: Arrays) -> Future:
        """The future outputs of a signature.

        Raises:
            RequestError: inputs are wrong or too large, or the server is busy.
        """
        rows = model.check(signature, arrays)
        self._limit("queries", rows, self.limits.max_queries)
        arrays = {name: self._check_input(name, array) for name, array in arrays.items()}
        shapes = tuple((name, array.shape[1:]) for name, array in sorted(arrays.items()))
        return self._batcher.submit(_Predict(model, signature, shapes), arrays, rows, self.limits.timeout_s)

    def ask(self, model: ServedModel, question: Question, k: int, filters: Mapping[str, Any] | None) -> Future:
        """The future `Answer` to a question.

        Raises:
            RequestError: it asks for too much, or the server is busy.
        """
        _require_positive(k)
        self._limit("k", k, self.limits.max_k)
        for name, value in (question.query or {}).items():
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, (int, float)) and not abs(number) <= _LARGEST:
                    raise invalid(f"{name!r} must be a finite float32 or null. Received: {number!s:.40}.")
            if isinstance(value, list):
                self._limit(f"values of {name!r}", len(value), self.limits.max_list)
        key = _Ask(model, question.query is None, k, json.dumps(filters, sort_keys=True))
        return self._batcher.submit(key, question, 1, self.limits.timeout_s)

    def close(self) -> None:
        """Ends when all that waits is answered."""
        self._batcher.close()

    def _check_input(self, name: str, array: np.ndarray) -> np.ndarray:
        """An input within the limits; lists are padded, so that many agree in their shape."""
        if name == "k":
            _require_positive(int(array.min(initial=1)))
            self._limit("k", int(array.max(initial=0)), self.limits.max_k)
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise invalid(f"input {name!r} must be finite, or NaN where it is missing. Received: infinity.")
        if array.ndim < 2 or array.dtype.kind == "f":
            return array
        self._limit(f"values of {name!r}", array.shape[1], self.limits.max_list)
        missing = b"" if array.dtype == object else -1
        padded = np.full((len(array), raw_inputs.bucket_size(array.shape[1])), missing, array.dtype)
        padded[:, : array.shape[1]] = array
        return padded

    def _limit(self, what: str, count: int, most: int) -> None:
        if count > most:
            raise invalid(f"{what} must be at most {most}. Received: {count}. Ask for less at once.")


def _require_positive(k: int) -> None:
    if k < 1:
        raise invalid(f"k must be positive. Received: k={k}.")


def _run(key: _Predict | _Ask, payloads: Sequence) -> Sequence:
    if isinstance(key, _Predict):
        return key.model.predict(key.signature, payloads)
    return key.model.answer(payloads, key.k, json.loads(key.filters))
