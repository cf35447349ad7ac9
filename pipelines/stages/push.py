"""Laying a blessed model where servers look for it, as the next version of its name."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from recsys_ssl import artifacts


@dataclass(frozen=True)
class PushConfig:
    """What stays of pushed models."""

    keep: int = 3
    """Versions that stay on disk, the last ones. A server needs two while it takes a new one; to roll back further
    takes more."""

    def __post_init__(self):
        if self.keep < 2:
            raise ValueError(
                f"keep must be at least 2, the version that answers and the next. Received: keep={self.keep}."
            )


def push_model(model_dir: str | os.PathLike, versions_dir: str | os.PathLike, keep: int, now_s: int) -> Path:
    """Copies a model, whole or not at all, and removes the versions before the last ones.

    Its number is the time, or one more than the last version's where that is no less: servers answer with the largest,
    whatever the clock says.

    Args:
        model_dir: a SavedModel.
        versions_dir: receives `VERSION/saved_model.pb` and all else of it.
        keep: how many versions stay, this one among them.
        now_s: seconds since 1970.

    Returns:
        The directory of the version.
    """
    last = max(list_versions(versions_dir), default=-1)
    target = Path(versions_dir, str(max(now_s, last + 1)))
    artifacts.copy_dir(model_dir, target)
    for version in list_versions(versions_dir)[:-keep]:
        # Whoever lists versions meanwhile finds this one whole or not at all.
        leaving = artifacts.unfinished_name(Path(versions_dir, str(version)))
        os.rename(Path(versions_dir, str(version)), leaving)
        shutil.rmtree(leaving)
    return target


def list_versions(versions_dir: str | os.PathLike) -> list[int]:
    """The numbers of the versions, ascending."""
    if not os.path.isdir(versions_dir):
        return []
    names = (path.name for path in Path(versions_dir).iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())
