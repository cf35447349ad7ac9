"""The code that a module's work depends on, found by its imports, so that a cache knows when it has changed.

The project's own code counts by its bytes, libraries by their versions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("recsys_ssl", "pipelines")


def source_hash(module: str, *more: str) -> str:
    """A hash of all sources of a closure, of the files beside a module that it names, and of versions of libraries.

    A component carries it as a property, since TFX's cache sees neither code nor libraries change. The arguments and
    what is raised are those of `closure`.
    """
    read = _read_closure(module, *more)
    sources = {source.path for source in read}.union(*(_named_files(source) for source in read))
    digest = hashlib.sha256()
    for path in sorted(sources):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {len(source)} ".encode() + source)
    digest.update(repr(library_versions(module, *more)).encode())
    return digest.hexdigest()[:16]


def library_versions(module: str, *more: str) -> dict[str, str]:
    """Library, as it is imported -> its version, of all libraries that a closure imports; sorted by name.

    The version is "absent" where nothing is installed. The arguments and what is raised are those of `closure`.
    """
    imports = {name.partition(".")[0] for source in _read_closure(module, *more) for name in source.imports}
    return {name: _version(name) for name in sorted(imports - sys.stdlib_module_names - {*_PACKAGES})}


def closure(module: str, *more: str) -> tuple[str, ...]:
    """The modules of the project that run when a module is imported and works: itself and all that it imports.

    Imports within functions count, those of imported modules, and the packages on the way; imports for type checkers
    alone do not.

    Args:
        module: its dotted name.
        more: modules that it imports by names made at run time, which no syntax tree holds.

    Raises:
        ValueError: one of them is no module of the project.
    """
    names, found = [module, *more], set()
    for name in names:
        if _read(name) is None:
            raise ValueError(f"there must be a module of the project to look at. Received: {name!r}. Check its name.")
    while names:
        name = names.pop()
        if name not in found and (source := _read(name)):
            found.add(name)
            names += [name.rpartition(".")[0], *source.imports]
    return tuple(sorted(found))


class _Module(NamedTuple):
    """A source, what it imports (`from a import b` as a and a.b) and the texts in it."""

    path: Path
    imports: frozenset[str]
    texts: frozenset[str]


def _read(name: str) -> _Module | None:
    """A module or package; None if it is not the project's, e.g. an attribute of a module."""
    if name.partition(".")[0] not in _PACKAGES:
        return None
    path = ROOT.joinpath(*name.split("."))
    if (path / "__init__.py").is_file():
        return _Module(path / "__init__.py", *_scan(name, (path / "__init__.py").read_bytes()))
    path = path.with_suffix(".py")
    return _Module(path, *_scan(name.rpartition(".")[0], path.read_bytes())) if path.is_file() else None


def _read_closure(module: str, *more: str) -> list[_Module]:
    return [source for name in closure(module, *more) if (source := _read(name))]


@functools.cache
def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:  # it is imported by another name than that of its distribution
        owners = sorted(set(metadata.packages_distributions().get(library, ())))
        return " ".join(f"{owner} {metadata.version(owner)}" for owner in owners) or "absent"


def _named_files(module: _Module) -> set[Path]:
    """What lies beside a module and is named in it without being Python, such as the template of a page."""
    beside = [file for file in module.path.parent.iterdir() if file.suffix != ".py" and file.is_file()]
    return {file for file in beside if file.name in module.texts}


@functools.cache
def _scan(package: str, source: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Imports and texts of a module in `package`."""
    imported, texts = set(), set()
    for node in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package itself, each further one its parent.
            base = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            imported |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return frozenset(imported), frozenset(texts)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read."""
    yield node
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        children = node.orelse
    for child in children:
        yield from _walk(child)
