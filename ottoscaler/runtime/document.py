"""YAML with the line of everything in it.

A configuration error is only useful with its place, so text becomes a tree of nodes that know their
lines before anything looks at what they mean. The dialect is YAML 1.2's core schema without anchors,
tags and merge keys: `no` and `on` are words, a key appears once, and what a person reads in the file is
what is there. JSON is a subset of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

_MAX_DEPTH = 32
_MAX_BYTES = 16 * 1024 * 1024
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")

Scalar = str | int | float | bool | None


class Problem(NamedTuple):
    """One thing that is wrong, where it is."""

    place: str
    """`config.yaml:12`, or the name of an environment variable."""
    path: str
    """`queues[1].redis.stream`; empty for the document as a whole."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.path}: {self.message}" if self.path else f"{self.place}: {self.message}"


class DocumentError(Exception):
    """The text is no document at all."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(slots=True)
class Node:
    """A value and where it stands."""

    value: Any
    """A scalar, a list of `Node`, or a dict of key to `Node`."""
    place: str
    keys: dict[str, str] = field(default_factory=dict)
    """For a mapping: key to the place of the key itself."""
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    """For a mapping: (key, place) of each key that had been there before."""

    def plain(self) -> Any:
        """The value without places, for the decoder of one field."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def parse(content: bytes, *, name: str) -> Node:
    """The tree of `content`; `name` is what errors call it. Raises `DocumentError`."""
    if len(content) > _MAX_BYTES:
        raise DocumentError(Problem(name, "", f"larger than {_MAX_BYTES // 1024 // 1024} MiB"))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(Problem(f"{name}:{line}", "", "not UTF-8")) from None
    events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
    try:
        return _Composer(events, name).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        message = error.problem or error.context or "not YAML"
        raise DocumentError(Problem(place, "", f"not YAML: {message}")) from None
    except yaml.YAMLError as error:
        reason = str(getattr(error, "reason", "")) or "unreadable"
        raise DocumentError(Problem(name, "", f"not YAML: {reason}")) from None


class _Composer:
    """Turns parser events into nodes; refuses what the dialect leaves out."""

    def __init__(self, events: Iterator[Any], name: str) -> None:
        self._events = events
        self._name = name

    def document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._error(event, "more than one document (`---`): write one")
                root = self._node(next(self._events), 0)
        return root or Node(None, f"{self._name}:1")

    def _node(self, event: Any, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise self._error(event, f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._error(event, "anchors and aliases are not part of this format: write the value out")
        if event.tag not in {None, "!"}:
            raise self._error(event, f"tags such as {event.tag[:40]} are not part of this format")
        if isinstance(event, yaml.ScalarEvent):
            return Node(self._scalar(event), self._place(event))
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, depth)
        return self._mapping(event, depth)

    def _sequence(self, start: Any, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Node(items, self._place(start))

    def _mapping(self, start: Any, depth: int) -> Node:
        node = Node({}, self._place(start))
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(event, "a key must be a word")
            if event.anchor is not None or event.tag not in {None, "!"}:
                raise self._error(event, "anchors and tags are not part of this format")
            key, place = str(event.value), self._place(event)
            value = self._node(next(self._events), depth + 1)
            if key in node.value:
                node.duplicates.append((key, place))
                continue
            node.value[key] = value
            node.keys[key] = place
        return node

    def _scalar(self, event: Any) -> Scalar:
        text = str(event.value)
        if event.style is not None and event.style != "":
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        return text

    def _place(self, event: Any) -> str:
        return f"{self._name}:{event.start_mark.line + 1}"

    def _error(self, event: Any, message: str) -> DocumentError:
        return DocumentError(Problem(self._place(event), "", message))
