"""Which versions of which models there are, in a directory that is watched, and which of them answer.

    DIR/NAME/VERSION/saved_model.pb     as TensorFlow Serving has it: the numerically last version answers
    DIR/VERSION/saved_model.pb          the same of one model, called as the directory
    DIR/saved_model.pb                  one model; its version is the time at which it was written
    DIR/NAME/saved_model.pb             several such models

A new version is loaded and tried beside the one that answers and takes its place in one step: a request keeps the
version that it began with. A version that cannot be loaded or fails its smoke test is not taken, and tried again when
its files change. The version before stays in memory, so that removing the last one's directory brings it back at once.
When nothing is left on disk the last good version goes on answering.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys_ssl import artifacts
from recsys_ssl.serving.errors import Code, RequestError, not_found
from recsys_ssl.serving.served_model import ServedModel, no_model

_LOG = logging.getLogger("recsys_ssl.serving")
_GRAPH = "saved_model.pb"
# Of TensorFlow Serving's ModelVersionStatus.
LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"

Fingerprint = tuple[tuple[str, int, int], ...]
Load = Callable[[str, int, Path], ServedModel]


@dataclass(frozen=True)
class VersionStatus:
    """Of one version, as TensorFlow Serving tells of it."""

    version: int
    state: str
    error: str = ""


@dataclass
class _Versions:
    """All that is known of one model."""

    loaded: dict[int, ServedModel] = field(default_factory=dict)
    current: ServedModel | None = None
    rejected: dict[int, tuple[Fingerprint, str]] = field(default_factory=dict)
    unsettled: dict[int, Fingerprint] = field(default_factory=dict)
    loading: int | None = None


class Models:
    """The models of a directory; threads may share it."""

    def __init__(
        self,
        root: str | Path,
        keep: int = 1,
        load: Load = ServedModel,
        tell: Callable[[str, int, str], None] = lambda name, version, event: None,
    ):
        """Args:
        root: the directory.
        keep: how many versions before the one that answers stay in memory.
        load: name, version, directory -> a model that passed its smoke test.
        tell: is told of `loaded`, `rejected`, `serving` and `unloaded`.

        Raises:
            NotADirectoryError: there is no such directory.
        """
        self._root, self._keep, self._load, self._tell = Path(root), keep, load, tell
        if not self._root.is_dir():
            raise NotADirectoryError(
                f"--models must be a directory of models. Received: {str(root)!r}. Name WORK/pushed, or a SavedModel."
            )
        self._models: dict[str, _Versions] = {}
        self._stop = threading.Event()
        self._poller: threading.Thread | None = None
        self._changes = threading.Lock()

    # --- Asking ------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Of the models that answer."""
        return sorted(name for name, versions in dict(self._models).items() if versions.current is not None)

    def get(self, name: str, version: int | None = None) -> ServedModel:
        """A model that answers; the current version of it when None.

        Raises:
            RequestError: there is none.
        """
        versions = self._models.get(name, _Versions())
        model = versions.current if version is None else versions.loaded.get(version)
        if model is None:
            raise no_model(name, version)
        return model

    def get_default(self, name: str | None = None) -> ServedModel:
        """The current version of a model, which needs no name where it is the only one.

        Raises:
            RequestError: there is none, or there are several.
        """
        if name is not None:
            return self.get(name)
        names = self.names
        if len(names) != 1:
            if not names:
                raise RequestError(Code.UNAVAILABLE, "no model is loaded yet. Try again later.")
            raise not_found(f"which model must be said: there are {', '.join(names)}. Add the field model.")
        return self.get(names[0])

    def list_status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """What became of the versions of a model, the last first.

        Raises:
            RequestError: there is no such model or version.
        """
        versions = self._models.get(name)
        found = [] if versions is None else list(_list_status(versions))
        if not found:
            raise not_found(f"Could not find any versions of model {name}")
        if version is None:
            return found
        of_version = [status for status in found if status.version == version]
        if not of_version:
            raise not_found(f"Could not find version {version} of model {name}")
        return of_version

    # --- Watching ----------------------------------------------------------------------------------------

    def start(self, poll_s: float) -> None:
        """Loads what is there and watches from then on, in a thread."""
        self.poll(is_first=True)

        def watch() -> None:
            while not self._stop.wait(poll_s):
                try:
                    self.poll()
                except Exception:  # a full disk, a drive that is gone: what is loaded goes on
                    _LOG.exception("the models in %s cannot be listed", self._root)

        self._poller = threading.Thread(target=watch, daemon=True, name="models")
        self._poller.start()

    def stop(self) -> None:
        self._stop.set()
        if self._poller is not None:
            self._poller.join(timeout=1.0)

    def poll(self, is_first: bool = False) -> None:
        """Looks at the directory once and takes what is new.

        Args:
            is_first: whether versions are loaded at once; else their files must be as they were at the last look, for
                a copy may be under way.
        """
        with self._changes:
            for name, found in _list_models(self._root).items():
                self._update(name, found, is_first)

    def _update(self, name: str, found: dict[int, Path], is_first: bool) -> None:
        versions = self._models.setdefault(name, _Versions())
        for version in sorted(found, reverse=True):
            if version in versions.loaded or self._try_to_load(name, versions, version, found[version], is_first):
                if versions.current is not versions.loaded[version]:
                    versions.current = versions.loaded[version]
                    self._tell(name, version, "serving")
                    _LOG.info("%s serves version %d", name, version)
                break
        for version in set(versions.rejected) - set(found):
            del versions.rejected[version]
        if versions.current is None:
            return
        current = versions.current.version
        older = sorted(set(versions.loaded) & set(found) - {current}, reverse=True)
        kept = {current, *older[: self._keep]}
        for version in set(versions.loaded) - kept:
            del versions.loaded[version]  # requests that it began are answered by it still
            self._tell(name, version, "unloaded")

    def _try_to_load(self, name: str, versions: _Versions, version: int, path: Path, is_first: bool) -> bool:
        fingerprint = _fingerprint(path)
        if version in versions.rejected and versions.rejected[version][0] == fingerprint:
            return False
        if not is_first and versions.unsettled.get(version) != fingerprint:
            versions.unsettled[version] = fingerprint
            return False
        versions.unsettled.pop(version, None)
        versions.loading = version
        try:
            versions.loaded[version] = self._load(name, version, path)
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            versions.rejected[version] = (fingerprint, reason)
            self._tell(name, version, "rejected")
            _LOG.error("%s version %d is not taken: %s", name, version, reason)
            return False
        finally:
            versions.loading = None
        versions.rejected.pop(version, None)
        self._tell(name, version, "loaded")
        return True


def _list_status(versions: _Versions) -> Iterator[VersionStatus]:
    known: dict[int, Any] = {version: VersionStatus(version, AVAILABLE) for version in list(versions.loaded)}
    known |= {version: VersionStatus(version, END, why) for version, (_, why) in list(versions.rejected.items())}
    if versions.loading is not None:
        known[versions.loading] = VersionStatus(versions.loading, LOADING)
    return (known[version] for version in sorted(known, reverse=True))


def _list_models(root: Path) -> dict[str, dict[int, Path]]:
    """Name -> version -> directory."""
    own = _list_versions(root)
    if own:
        return {root.resolve().name: own}
    whole = [path for path in sorted(root.iterdir()) if path.is_dir() and not artifacts.is_unfinished(path)]
    found = {path.name: _list_versions(path) for path in whole}
    return {name: versions for name, versions in found.items() if versions}


def _list_versions(directory: Path) -> dict[int, Path]:
    """Version -> directory: the model in the directory itself, else those in directories that are called by numbers."""
    found = {}
    with contextlib.suppress(OSError):
        return {int((directory / _GRAPH).stat().st_mtime): directory}
    for path in directory.iterdir():
        if path.name.isdecimal() and path.name.isascii() and not artifacts.is_unfinished(path):
            with contextlib.suppress(OSError):
                if (path / _GRAPH).is_file():
                    found[int(path.name)] = path
    return found


def _fingerprint(directory: Path) -> Fingerprint:
    """Names, sizes and times of all files; changes while a copy is under way."""
    found = []
    for path in sorted(directory.rglob("*")):
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((path.relative_to(directory).as_posix(), stat.st_size, stat.st_mtime_ns))
    return tuple(found)
