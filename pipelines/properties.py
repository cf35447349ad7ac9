"""Settings as properties of components."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from recsys_ssl import artifacts


def to_json(config: Any) -> str:
    """One stage's settings as JSON, to travel in the properties of a component."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def from_json(kind: type, text: str) -> Any:
    """The settings that `to_json` wrote, as the dataclass `kind`."""
    return artifacts.from_json(kind, text)
