"""JSON of a queue's node, reduced while it arrives to the fields that count.

Ten thousand jobs with 20 KiB of inputs are 205 MB on the wire and a few MB once reduced, so nothing is
ever held whole: bytes go into ijson's push parser, its tokens into a coroutine that descends three
levels (node, job, field) and skips the rest. What comes out are *writes*: pairs of a path and a reduced
value, ready for `firebase_table`.

A reduced value is None (nothing there), a scalar, a `Mark`, or a dictionary of reduced values. Arrays,
which the database makes of objects with dense integer keys, become dictionaries again.
"""

import sys
from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any, Generic, TypeVar

import ijson

from ottoscaler.adapter.sources.firebase_jobs import COUNTED, Mark

Token = tuple[str, Any]
"""ijson's event and value."""
Path = tuple[str, ...]
Write = tuple[Path, Any]
"""A path below the queue's node, and the reduced value that it now has."""

T = TypeVar("T")
_Steps = Generator[None, Token, T]
_CONTAINERS = frozenset({"start_map", "start_array"})
_LONGEST_TEXT = 1024
"""Characters; a pod's name has 253 at most, so a longer text is no value of a counted field."""


_BLOCK = 1024
_DIGITS = frozenset(b"0123456789")
_MOST_DIGITS = 2 * _BLOCK
"""In one piece, of whole blocks; so it has less than two blocks more. Python converts no more than 4300 digits, and
the C code of ijson crashes on what Python refuses. A number or a text that is cut to this, or a block shorter, is
still one that no counted field can have."""


class Malformed(Exception):
    """Not the JSON that the protocol promises; the message is for the log."""


class PushParser(Generic[T]):
    """Feeds bytes through ijson into a coroutine of tokens."""

    def __init__(self, steps: _Steps[T]) -> None:
        next(steps)
        self._tokens = _Tokens(steps)
        self._parser = ijson.basic_parse_coro(self._tokens)
        self._digits = 0
        """In the blocks of nothing else that came last."""

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes. Raises `Malformed`."""
        data = self._bearable(data)
        if not data:
            return  # which would mean the end
        try:
            self._parser.send(data)
        except ijson.JSONError as error:
            raise Malformed(_in_short(error)) from None
        except (ArithmeticError, ValueError):  # 1e99999999999999999999
            raise Malformed(_NO_NUMBER) from None

    def finish(self) -> T:
        """No bytes follow: what they were. Raises `Malformed` when something is missing."""
        try:
            self._parser.close()
        except ijson.JSONError as error:
            raise Malformed(_in_short(error)) from None
        except (ArithmeticError, ValueError):
            raise Malformed(_NO_NUMBER) from None
        if not self._tokens.results:
            raise Malformed("ends too early")
        return self._tokens.results[0]

    def _bearable(self, data: bytes | memoryview) -> bytes | memoryview:
        """`data` without the digits that are too many in one piece, however they were cut."""
        too_many = set()
        for start in range(0, len(data), _BLOCK):
            # the first byte tells nearly always, and costs no copy
            if data[start] in _DIGITS and (block := bytes(data[start : start + _BLOCK])).isdigit():
                self._digits += len(block)
                if self._digits > _MOST_DIGITS:
                    too_many.add(start)
            else:
                self._digits = 0
        if not too_many:
            return data
        starts = (start for start in range(0, len(data), _BLOCK) if start not in too_many)
        return b"".join(bytes(data[start : start + _BLOCK]) for start in starts)


class _Tokens(Generic[T]):
    """Where ijson sends its tokens.

    Apart from the parser, because ijson's C object is invisible to the garbage collector: a cycle through
    it is never freed, and there is one parser an event.
    """

    def __init__(self, steps: _Steps[T]) -> None:
        self.results: list[T] = []
        self._steps: _Steps[T] | None = steps

    def send(self, token: Token) -> None:
        """Called by ijson for each token."""
        if self._steps is None:
            raise Malformed("more than one value")
        try:
            self._steps.send(token)
        except StopIteration as done:
            self.results.append(done.value)
            self._steps = None


def parse_node() -> PushParser[Any]:
    """For an answer that is the node itself."""
    return PushParser(_node())


def parse_event(*, is_patch: bool) -> PushParser[list[Write]]:
    """For the `data` of a `put` or `patch` event: `{"path": …, "data": …}`."""
    return PushParser(_event(is_patch))


def split_path(path: str) -> Path:
    """The keys of `/a/b`; `/` is the node itself."""
    return tuple([key for key in path.split("/") if key])


def _node() -> _Steps[Any]:
    return (yield from _value((), (yield)))


def _event(is_patch: bool) -> _Steps[list[Write]]:
    path: Path | None = None
    writes: list[Write] | None = None
    if (yield)[0] != "start_map":
        raise Malformed("an event that is no object")
    while (key := (yield))[0] != "end_map":
        token = yield
        if key[1] == "path":
            if token[0] != "string":
                raise Malformed("a path that is no text")
            path = split_path(token[1])
        elif key[1] == "data":
            if path is None:
                raise Malformed("data before its path")
            writes = yield from _patch(path, token) if is_patch else _put(path, token)
        else:
            yield from _skip(token)
    if writes is None:
        raise Malformed("an event without data")
    return writes


def _put(path: Path, token: Token) -> _Steps[list[Write]]:
    return [(path, (yield from _value(path, token)))]


def _patch(base: Path, token: Token) -> _Steps[list[Write]]:
    writes: list[Write] = []
    if token[0] != "start_map":
        raise Malformed("a patch that is no object")
    while (key := (yield))[0] != "end_map":
        path = base + split_path(key[1])
        writes.append((path, (yield from _value(path, (yield)))))
    return writes


def _value(path: Path, token: Token) -> _Steps[Any]:
    """The value at `path`, reduced as its depth allows."""
    match len(path):
        case 0:
            return (yield from _container(token, _job))
        case 1:
            return (yield from _job(path[0], token))
        case 2:
            return (yield from _field(path[1], token))
        case 3 if path[1] in COUNTED:
            return (yield from _inside(path[1])(path[2], token))
    return (yield from _skip(token))


def _job(_: str, token: Token) -> _Steps[Any]:
    return (yield from _container(token, _field))


def _field(name: str, token: Token) -> _Steps[Any]:
    if name in COUNTED:
        return (yield from _container(token, _inside(name)))
    return (yield from _skip(token))


def _inside(name: str) -> Callable[[str, Token], _Steps[Any]]:
    """Historic writers: `{"status": {"status": "processing"}}`."""

    def child(key: str, token: Token) -> _Steps[Any]:
        if key == name and token[0] not in _CONTAINERS:
            return _scalar(token[1])
        return (yield from _skip(token))

    return child


def _container(token: Token, child: Callable[[str, Token], _Steps[Any]]) -> _Steps[Any]:
    """An object or array as a dictionary of what `child` makes of its members; None when nothing is left."""
    members: dict[str, Any] = {}
    match token[0]:
        case "start_map":
            while (key := (yield))[0] != "end_map":
                value = yield from child(key[1], (yield))
                if value is not None:
                    members[sys.intern(key[1])] = value
        case "start_array":
            index = 0
            while (element := (yield))[0] != "end_array":
                value = yield from child(str(index), element)
                if value is not None:
                    members[str(index)] = value
                index += 1
        case _:
            return _scalar(token[1])
    return members or None


def _skip(token: Token) -> _Steps[Any]:
    """Reads past a value; says only whether anything is there."""
    if token[0] not in _CONTAINERS:
        return None if token[1] is None else Mark.SOMETHING
    depth, found = 1, False
    while depth:
        kind, value = yield
        if kind in _CONTAINERS:
            depth += 1
        elif kind in ("end_map", "end_array"):
            depth -= 1
        elif kind != "map_key" and value is not None:
            found = True
    return Mark.SOMETHING if found else None


def _scalar(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else Mark.SOMETHING
    return value


_NO_NUMBER = "a number beyond any that can be read"


def _in_short(error: Exception) -> str:
    return f"no JSON: {str(error).splitlines()[0][:120]}"
