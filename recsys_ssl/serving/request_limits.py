"""How much one request may ask for, so that none hurts the others."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limits of a server; beyond one a request gets an error that names it."""

    max_bytes: int = 1 << 20
    """Of a request's body."""
    max_queries: int = 1024
    """Rows of one request."""
    max_k: int = 1000
    """Items recommended for one query; a model has its own limit, 10,000, too."""
    max_list: int = 4096
    """Values in one list of one query."""
    max_waiting: int = 4096
    """Rows that wait for the model; then a server says that it is busy."""
    timeout_s: float = 10.0
    """From the first byte of the body to the answer, each."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise ValueError(f"{field.name} must be positive. Received: {value}.")
