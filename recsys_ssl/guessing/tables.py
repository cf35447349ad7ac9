"""Which files belong together: parts of a directory, numbered files, one file per event type."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional
from urllib.parse import unquote

from recsys_ssl.guessing.columns import Column, describe
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.sample import Sample
from recsys_ssl.guessing.samples import read_sample
from recsys_ssl.guessing.words import IMPRESSION_STEMS, NEGATIVE_STEMS, POSITIVE_STEMS, stems_of, words_of

_DIGITS = re.compile(r"\d+")
_MISSING_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_NO_DATA = (".yaml", ".yml", ".md", ".py", ".bak", "~", ".tmp", ".crc")
_SHARES = {
    **dict.fromkeys(("train", "base"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "validation"),
    "test": "test",
}
"""Words of files that a split has made -> what the file is for."""
_TYPES = POSITIVE_STEMS | IMPRESSION_STEMS | NEGATIVE_STEMS


class FileSet(NamedTuple):
    """Files that are read as one."""

    patterns: list[str]
    """For `paths` of the spec: relative to the data directory, files, a glob or a directory."""
    paths: list[str]


class Table(NamedTuple):
    """A sample of files that are read as one, with its columns."""

    patterns: list[str]
    paths: list[str]
    sample: Sample
    columns: dict[str, Column]
    partitions: list[str]
    """Columns that are not in the files but in the names of their directories."""
    file_column: Optional[str] = None
    why_files: str = ""
    shares: Mapping[str, str] = {}
    """`train`, `test` and maybe `validation` -> the file of it, where a split has made the files."""

    @property
    def name(self) -> str:
        return ", ".join(self.patterns)

    @property
    def words(self) -> list[str]:
        """Of the names of its files or of its directory."""
        return [word for stem in self.stems for word in words_of(stem)]

    @property
    def stems(self) -> list[str]:
        return [stem_of(pattern.replace("*", "")) for pattern in self.patterns]

    @property
    def has_header(self) -> bool:
        return "columns" not in self.sample.facts


def stem_of(path: str) -> str:
    """The name without directories and suffixes: `data/ratings.dat.gz` -> `ratings`, `ml-1m.item` -> `ml-1m item`."""
    stem, *suffixes = os.path.basename(path.rstrip("/")).split(".")
    known = {
        "csv",
        "tsv",
        "txt",
        "dat",
        "data",
        "json",
        "jsonl",
        "ndjson",
        "parquet",
        "pq",
        "gz",
        "bz2",
        "xz",
        "zst",
        "zip",
    }
    return " ".join([stem, *(suffix for suffix in suffixes if suffix.lower() not in known)])


# --- Files to sets ---------------------------------------------------------------------------------


def find_files(given: Sequence[str]) -> tuple[str, list[FileSet]]:
    """The data directory, which is where all of the files lie, and the sets of files.

    Args:
        given: files, globs or directories. A directory that Spark or Hive left is one set; of any other one, files
            that differ by their numbers only are one.

    Raises:
        GuessError: there is no such file.
    """
    files: list[str] = []
    tops: list[str] = []
    for one in given:
        found = [one] if os.path.exists(one) else sorted(glob.glob(one, recursive=True))
        if not found:
            raise GuessError(f"no file matches {one!r}. Check the path.")
        for path in map(os.path.abspath, found):
            if os.path.isdir(path):
                inner = _walk(path)
                if not inner:
                    raise GuessError(f"{one}: the directory holds no file. Check the path.")
                files += inner
                tops.append(os.path.dirname(path) if _is_written_by_spark(path) else path)
            else:
                files.append(path)
                tops.append(os.path.dirname(path))
    data_dir = os.path.commonpath(tops)
    while "=" in os.path.basename(data_dir) or _is_written_by_spark(data_dir):
        data_dir = os.path.dirname(data_dir)
    return data_dir, _unite(sorted(set(files)), data_dir)


def _walk(directory: str) -> list[str]:
    """The files below a directory, without those that are hidden, or specs."""
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith(("_", ".")))
        shown = [name for name in sorted(names) if not name.startswith(("_", ".")) and not name.endswith(_NO_DATA)]
        found += [os.path.join(folder, name) for name in shown]
    return found


def _is_written_by_spark(directory: str) -> bool:
    """Whether a directory stands for one table: parts, a mark of success, or `key=value` directories."""
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return any(name in ("_SUCCESS", "_metadata", "_common_metadata") for name in names) or any(
        re.match(r"part[-.]\d", name) or re.match(r"[^=/]+=[^=/]*$", name) for name in names if not name.startswith(".")
    )


def _unite(files: Sequence[str], data_dir: str) -> list[FileSet]:
    sets: dict[tuple[str, str], list[str]] = {}
    for path in files:
        relative = os.path.relpath(path, data_dir)
        parts = relative.split(os.sep)
        spark = next(
            (n for n in range(1, len(parts)) if _is_written_by_spark(os.path.join(data_dir, *parts[:n]))), None
        )
        if spark:
            key = "directory", glob.escape(os.path.join(*parts[:spark]))
        else:
            folder, name = os.path.split(glob.escape(relative))
            key = "files", os.path.join(folder, _DIGITS.sub("*", name))
        sets.setdefault(key, []).append(path)
    united = []
    for (kind, pattern), paths in sets.items():
        if kind == "files" and len(paths) == 1:
            pattern = glob.escape(os.path.relpath(paths[0], data_dir))
        united.append(FileSet([pattern], paths))
    return united


def partitions_of(path: str, data_dir: str) -> dict[str, str]:
    """The columns that `key=value` directories below the data directory give to a file."""
    parts = os.path.relpath(path, data_dir).split(os.sep)[:-1]
    pairs = [part.partition("=") for part in parts if "=" in part]
    return {key: "" if value == _MISSING_PARTITION else unquote(value) for key, _, value in pairs}


# --- Sets to tables ----------------------------------------------------------------------------------


def read_tables(sets: Sequence[FileSet], data_dir: str) -> tuple[list[Table], dict[str, str]]:
    """The tables, and file -> why it is none."""
    tables: list[Table] = []
    unused: dict[str, str] = {}
    for one in sets:
        try:
            found = _read_table(one, data_dir)
        except GuessError as error:
            unused[", ".join(one.patterns)] = str(error).removeprefix(f"{one.paths[0]}: ")
            continue
        tables.append(found)
    return _unite_tables(tables), unused


def _read_table(files: FileSet, data_dir: str) -> Table:
    partitions = [partitions_of(path, data_dir) for path in files.paths]
    sample = read_sample(files.paths, partitions)
    names = list(dict.fromkeys(name for columns in partitions for name in columns))
    why = f"{len(files.paths)} files" if len(files.paths) > 1 else ""
    return Table(files.patterns, files.paths, sample, describe(sample.table, sample.own_types), names, None, why)


def _unite_tables(tables: Sequence[Table]) -> list[Table]:
    """Unites files with the same header: of one name, one per event type, or the shares of a split."""
    groups: dict[tuple, list[Table]] = {}
    for table in tables:
        alike = tuple(table.columns) if table.has_header and not table.partitions else (table.name,)
        groups.setdefault(alike, []).append(table)
    united: list[Table] = []
    for group in groups.values():
        words = [set(table.words) for table in group]
        if len(group) == 1:
            united += group
        elif len({stem_of(pattern) for table in group for pattern in table.patterns}) == 1:
            united.append(_unite_group(group, "the same name and columns", by_type=False))
        elif all(any(stems_of(stem) & _TYPES for stem in table.stems) for table in group):
            united.append(_unite_group(group, "one file per event type", by_type=True))
        elif all(some & set(_SHARES) for some in words):
            whole = _unite_group(group, "shares of a split: the run makes its own", by_type=False)
            united.append(whole._replace(shares=_name_shares(group)))
        else:
            united += group
    return united


def _name_shares(group: Sequence[Table]) -> dict[str, str]:
    """What each file of a split is for; nothing where there are several for one, or none to train on or to test."""
    shares: dict[str, str] = {}
    for table in group:
        kinds = {_SHARES[word] for word in table.words if word in _SHARES}
        if len(table.paths) > 1 or len(kinds) > 1 or kinds & set(shares):
            return {}
        shares[kinds.pop()] = table.patterns[0]
    return shares if {"train", "test"} <= set(shares) else {}


def _unite_group(group: Sequence[Table], why: str, by_type: bool) -> Table:
    paths = [path for table in group for path in table.paths]
    names = [{"event_type": os.path.basename(path).partition(".")[0]} if by_type else {} for path in paths]
    sample = read_sample(paths, names)
    patterns = [pattern for table in group for pattern in table.patterns]
    columns = describe(sample.table, sample.own_types)
    return Table(patterns, paths, sample, columns, [], "event_type" if by_type else None, why)
