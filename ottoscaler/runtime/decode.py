"""From a tree with lines to typed settings, all problems at once.

msgspec checks one value well but stops at the first fault of a document, and knows no lines. So structs
and lists of structs are walked here, and each single field is left to msgspec; what it says is put
into words for people, at the line where the value stands.
"""

import builtins
import re
import types
from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from ottoscaler.runtime.document import Node, Problem
from ottoscaler.runtime.values import decode_value


class _Invalid:
    """The result of a value that has problems; those are in the list."""

    __slots__ = ()


INVALID: Final = _Invalid()

_STEP = re.compile(r"\[(\d+)\]|\.([^.\[\]]+)|\[\.\.\.\]")
_FIRST_WORD = re.compile(r"(\w+)(:? |(?=[.\[]))")
_EXPECTED = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?")
_WORDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def decode(node: Node, kind: Any, path: str, problems: list[Problem]) -> Any:
    """`node` as `kind`, or `INVALID` after adding to `problems`."""
    inner = _without_none(kind)
    if inner is not kind and node.value is None:
        return None
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        return decode_struct(node, inner, path, problems)
    element = _struct_element(inner)
    if element is not None and isinstance(node.value, list):
        before = len(problems)
        _check_length(node, inner, path, problems)
        items = [decode(item, element, f"{path}[{index}]", problems) for index, item in enumerate(node.value)]
        return INVALID if len(problems) > before else tuple(items)
    return _leaf(node, kind, path, problems)


def decode_struct(
    node: Node,
    kind: type[msgspec.Struct],
    path: str,
    problems: list[Problem],
    *,
    handled: Collection[str] = (),
) -> Any:
    """`node`, a mapping, as the struct `kind`; keys in `handled` are known, and somebody else's business."""
    if not isinstance(node.value, dict):
        problems.append(Problem(node.place, path, f"expected a mapping, got {_describe(node.value)}"))
        return INVALID
    fields = _fields(kind)
    before = len(problems)
    _refuse_strangers(node, [*fields, *handled], path, problems)
    values: dict[str, Any] = {}
    for key, field in fields.items():
        if key in node.value:
            values[field.name] = decode(node.value[key], field.type, join(path, key), problems)
        elif field.required:
            problems.append(Problem(node.place, path, f"{key} is missing"))
    if len(problems) > before:
        return INVALID
    try:
        return kind(**values)
    except ValueError as error:
        problems.append(_placed(str(error), node, path))
        return INVALID


def _placed(message: str, node: Node, path: str) -> Problem:
    """What a struct's own check says, at the key that it begins with, else at the whole mapping."""
    word = _FIRST_WORD.match(message)
    if word is None or word[1] not in node.keys:
        return Problem(node.place, path, message)
    if not word[2]:  # it speaks of something inside that key
        return Problem(node.keys[word[1]], path, message)
    return Problem(node.keys[word[1]], join(path, word[1]), message[word.end() :])


def join(path: str, key: str) -> str:
    """The path of `key` in the mapping at `path`."""
    return f"{path}.{key}" if path else key


def suggestion(word: str, known: Collection[str]) -> str:
    """`, did you mean "stream"?`, or nothing."""
    from difflib import get_close_matches

    plain = {name.replace("_", "").replace("-", "").lower(): name for name in known}
    close = get_close_matches(word.replace("_", "").replace("-", "").lower(), plain, n=1)
    return f', did you mean "{plain[close[0]]}"?' if close else ""


def _refuse_strangers(node: Node, known: Collection[str], path: str, problems: list[Problem]) -> None:
    for key, place in node.duplicates:
        first = node.keys[key].rpartition(":")[2]
        problems.append(Problem(place, join(path, key), f"given twice (first in line {first})"))
    for key in node.value:
        if key not in known:
            hint = suggestion(key, known) or f"; known: {', '.join(sorted(known))}"
            problems.append(Problem(node.keys[key], join(path, key[:60]), f"unknown key{hint}"))


def _leaf(node: Node, kind: Any, path: str, problems: list[Problem]) -> Any:
    before = len(problems)
    _refuse_duplicates(node, path, problems)
    try:
        value = msgspec.convert(node.plain(), kind, dec_hook=decode_value)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        culprit, suffix = _follow(node, where.rstrip("`"))
        problems.append(Problem(culprit.place, path + suffix, _in_words(message, culprit.value, kind)))
        return INVALID
    return INVALID if len(problems) > before else value


def _refuse_duplicates(node: Node, path: str, problems: list[Problem]) -> None:
    if isinstance(node.value, dict):
        problems.extend(Problem(place, join(path, key), "given twice") for key, place in node.duplicates)
        for key, child in node.value.items():
            _refuse_duplicates(child, join(path, key), problems)
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            _refuse_duplicates(child, f"{path}[{index}]", problems)


def _follow(node: Node, where: str) -> tuple[Node, str]:
    """The node that msgspec's path means, as far as it can be followed, and that path in our spelling."""
    suffix = ""
    for match in _STEP.finditer(where):
        index, key = match.groups()
        if index is not None and isinstance(node.value, list):
            node, suffix = node.value[int(index)], f"{suffix}[{index}]"
        elif key is not None and isinstance(node.value, dict) and key in node.value:
            node, suffix = node.value[key], f"{suffix}.{key}"
        elif match.group() == "[...]" and isinstance(node.value, dict):
            # msgspec does not say which entry of a dict: the first that is not a string, as values are
            wrong = next((k for k, v in node.value.items() if not isinstance(v.value, str)), None)
            if wrong is None:
                break
            node, suffix = node.value[wrong], f"{suffix}.{wrong}"
    return node, suffix


def _in_words(message: str, value: Any, kind: Any) -> str:
    choices = _choices(kind)
    if message.startswith("Invalid enum value") and choices:
        return f"expected one of {', '.join(choices)}, got {value!r}"
    match = _EXPECTED.match(message)
    if match is None:
        return message[:1].lower() + message[1:]
    wanted = " or ".join(_WORDS.get(word.strip(), word.strip()) for word in match.group(1).split("|"))
    rest = message[match.end() :].strip()
    got = f", got {_describe(value)}" if match.group(2) or not rest else ""
    quote = " (quote it)" if "a string" in wanted and isinstance(value, int | float) else ""
    return f"expected {wanted}{' ' + rest if rest else ''}{got}{quote}"


def _describe(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return "a string"
        case _:
            return f"the number {value}"


def _choices(kind: Any) -> tuple[str, ...]:
    """The strings of a `Literal`, optional or not."""
    kind = _without_none(kind)
    return tuple(str(choice) for choice in get_args(kind)) if get_origin(kind) is Literal else ()


class _Field(NamedTuple):
    name: str
    type: Any
    required: bool


@cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, _Field]:
    return {
        field.encode_name: _Field(field.name, field.type, field.required)
        for field in msgspec.structs.fields(kind)
    }


@cache
def _without_none(kind: Any) -> Any:
    """`X` of `X | None`; `kind` itself when it is anything else."""
    if get_origin(kind) in {Union, types.UnionType}:
        rest = [part for part in get_args(kind) if part is not types.NoneType]
        if len(rest) == 1 and len(get_args(kind)) == 2:
            return rest[0]
    return kind


@cache
def _struct_element(kind: Any) -> Any:
    """`S` of `tuple[S, ...]`, annotated or not, where S is a struct; else None."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    match get_origin(kind), get_args(kind):
        case builtins.tuple, (type() as element, builtins.Ellipsis) if issubclass(element, msgspec.Struct):
            return element
    return None


def _check_length(node: Node, kind: Any, path: str, problems: list[Problem]) -> None:
    for meta in getattr(kind, "__metadata__", ()):
        if meta.min_length is not None and len(node.value) < meta.min_length:
            least = "is empty" if meta.min_length == 1 else f"expected at least {meta.min_length} items"
            problems.append(Problem(node.place, path, least))
        if meta.max_length is not None and len(node.value) > meta.max_length:
            problems.append(
                Problem(node.place, path, f"expected at most {meta.max_length} items, got {len(node.value)}")
            )
