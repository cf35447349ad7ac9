"""YAML as people write it, and as nobody should: plain values and the line of each, in bounded time and memory.

Read are mappings, lists, texts, numbers, booleans and null, with anchors, aliases and merge keys. A date is a text.
Refused, each by one line, are other tags, a key given twice, several documents, and what is too large, too deep or
grows too far once its aliases are written out.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Optional

import yaml

MAX_BYTES = 256 << 10
MAX_DEPTH = 30
MAX_VALUES = 10_000

_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset(_TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge"))
# What YAML 1.1 takes for a number in base 8 or 60: 010 and 1:30.
_OF_OTHER_BASE = re.compile(r"[-+]?(?:0[0-9_]+$|[0-9][0-9_]*:)")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_MOST_SHOWN = 80


class YamlError(ValueError):
    """A text that is no plain YAML document."""

    def __init__(self, line: int, message: str):
        super().__init__(line, message)
        self.line = line
        """The line of the fault, the first one 1."""

    def __str__(self) -> str:
        return self.args[1]


class Document(NamedTuple):
    """The values of a document, and its tree, which knows their lines."""

    values: Any
    root: Optional[yaml.Node]

    def line_of(self, keys: Sequence[str | int]) -> int:
        """The line of the deepest value on the path of `keys` that the document has."""
        node, line = self.root, 1
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                # What a merge brings comes before the mapping's own keys, which go before it.
                found = next(((k, v) for k, v in reversed(node.value) if k.value == str(key)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
            else:
                break
        else:
            return line if keys or node is None else node.start_mark.line + 1
        return line


def read(path: str | os.PathLike) -> Document:
    """The document of a file: UTF-8, or UTF-16 and UTF-32 with their mark.

    Raises:
        OSError: the file cannot be read.
        YamlError: it is no plain YAML document.
    """
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise YamlError(1, f"a file of YAML has at most {MAX_BYTES >> 10} kB. Is it the right file?")
    try:
        text = content.decode(_find_encoding(content))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlError(line, f"the text cannot be read as {error.encoding}. Save it as UTF-8.") from error
    return parse(text)


def _find_encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def parse(text: str) -> Document:
    """The document of a text; one without any is None.

    Raises:
        YamlError: it is no plain YAML document.

    Examples:
        >>> document = parse("name: shop\\nevents:\\n  paths: [log.csv]\\n")
        >>> document.values
        {'name': 'shop', 'events': {'paths': ['log.csv']}}
        >>> document.line_of(["events", "paths", 0])
        3
    """
    if len(text) > MAX_BYTES:
        raise YamlError(1, f"a text of YAML has at most {MAX_BYTES >> 10} kB. Shorten it.")
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return Document(None if root is None else loader.construct_document(root), root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"this is not valid YAML: character #x{int(error.character):04x} is not allowed. Remove it."
        raise YamlError(line, message) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = printable(", ".join(part for part in (error.context, error.problem) if part))
        if not isinstance(error, _Fault):
            message = f"this is not valid YAML: {message}. Mend the syntax."
        raise YamlError(mark.line + 1 if mark else 1, message) from error


def show(value: Any) -> str:
    """A value for a message: one line without control characters, cut where it is long."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]!r}…"
    return printable(f"{value!r}", _MOST_SHOWN)


def printable(text: str, most: int = 600) -> str:
    """A message on one line without control characters; of a long one a part before its end is left out."""
    if len(text) > most:
        text = f"{text[: most * 3 // 4]} … {text[-(most // 4) :]}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class _Fault(yaml.MarkedYAMLError):
    """A fault that has its own message."""

    def __init__(self, place: yaml.Node | yaml.Event, message: str):
        super().__init__(problem=message, problem_mark=place.start_mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds, for the types that the module names."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str):
        super().__init__(text)
        self._open: list[Optional[str]] = []  # anchors of the nodes that are being read
        self._sizes: dict[str, int] = {}  # anchor -> values that its aliases stand for
        self._num_values = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self._open:
                raise _Fault(event, f"*{event.anchor} stands within what it stands for. Write out what is meant.")
            self._count(event, self._sizes.get(event.anchor, 1))
            return super().compose_node(parent, index)
        if len(self._open) == MAX_DEPTH:
            raise _Fault(event, f"lists and mappings may lie {MAX_DEPTH} deep. Received: more. Write it flatter.")
        if event.tag not in (None, "!", *_TAGS):
            tag = show(event.tag.replace(_TAG, "!!"))
            raise _Fault(event, f"a tag must be one of texts, numbers, lists and mappings. Received: {tag}. Remove it.")
        before = self._num_values
        self._count(event, 1)
        self._open.append(event.anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        if event.anchor is not None:
            self._sizes[event.anchor] = self._num_values - before
        return node

    def _count(self, event: yaml.Event, num_values: int) -> None:
        self._num_values += num_values
        if self._num_values > MAX_VALUES:
            raise _Fault(event, f"a document may have {MAX_VALUES:,} values, aliases written out. Received: more.")

    def compose_scalar_node(self, anchor):
        node = super().compose_scalar_node(anchor)
        if node.style is None and node.tag.endswith((":int", ":float")) and _OF_OTHER_BASE.match(node.value):
            raise _Fault(
                node, f"YAML reads this in base 8 or 60. Received: {node.value[:50]}. Write it in base 10, or quote it."
            )
        if _NO_TEXT.search(node.value):
            raise _Fault(
                node,
                f"a text must be without NUL and halves of characters. Received: {show(node.value)}. Remove them, or "
                "write the character itself.",
            )
        return node

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Fault(key, "a key must be a text or a number. Received: a list or mapping. Quote it.")
            if key.value in seen:  # YAML readers silently take the last one
                raise _Fault(key, f"a key may be given once. Received twice: {show(key.value)}. Remove one.")
            seen.add(key.value)
        return node

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError) as error:  # of Python's int, or of what a tag makes of a text
            kind = node.tag.replace(_TAG, "")
            message = f"this cannot be read as {kind}. Received: {show(node.value)}. Shorten or quote it."
            raise _Fault(node, message) from error
