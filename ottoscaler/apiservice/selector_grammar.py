"""The grammar of label selectors, with the error words of k8s.io/apimachinery/pkg/labels/selector.go.

    selector    = [ requirement { "," requirement } ]
    requirement = key | "!" key | key ("=" | "==" | "!=" | ">" | "<") [ value ] | key ("in" | "notin") "(" values ")"
    values      = [ value ] { "," [ value ] }

`in` and `notin` are words like any other where a key or a value is expected. Bytes that cannot be in a
key or a value still make a word here, so that the refusal can say which rule they break.
"""

import re
from collections.abc import Iterator
from typing import cast

from ottoscaler.apiservice.label_names import key_error, value_error
from ottoscaler.apiservice.selector import Operator, Requirement, Selector, integer

LONGEST = 64 * 1024
"""Characters in a selector; far above what fits in a URL that the control plane would send."""

MOST_REQUIREMENTS = 100
MOST_VALUES = 1000
"""In a selector, since each may have to be compared with the labels of every queue."""

_TOKEN = re.compile(r"[ \t\r\n]*(?:(?P<symbol>[=!]=|[=!(),<>])|(?P<word>[^=!(),<> \t\r\n]+)|\Z)")
_BINARY = ("=", "==", "!=", "in", "notin", ">", "<")
_EXPECTED = "in, notin, =, ==, !=, gt, lt"
_WORD, _END = "word", "end"


class SelectorError(ValueError):
    """A text that is no label selector; the message is apimachinery's own."""


def parse_selector(text: str) -> Selector:
    """The selector that `text` writes. Raises `SelectorError`."""
    if len(text) > LONGEST:
        raise SelectorError(f"the label selector is longer than {LONGEST} characters")
    if "\0" in text:
        raise SelectorError("the label selector contains a zero byte")
    requirements = _Parser(text).selector()
    return Selector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def _scan(text: str) -> Iterator[tuple[str, str]]:
    """Tokens as (kind, literal), an end last. The kind of a symbol, the longest there is, is the symbol itself.

    One pass, and only as far as somebody asks: a text is refused at its first mistake.
    """
    for match in _TOKEN.finditer(text):
        if match.lastgroup is None:
            break
        literal = match[match.lastgroup]
        yield (_WORD if match.lastgroup == "word" else literal), literal
    yield _END, ""


class _Parser:
    __slots__ = ("_ahead", "_tokens", "_values_left")

    def __init__(self, text: str) -> None:
        self._tokens = _scan(text)
        self._ahead = next(self._tokens)
        self._values_left = MOST_VALUES

    def _peek(self) -> tuple[str, str]:
        return self._ahead

    def _next(self) -> tuple[str, str]:
        token = self._ahead
        if token[0] != _END:
            self._ahead = next(self._tokens)
        return token

    def selector(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            kind, literal = self._peek()
            if kind == _END:
                return requirements
            if kind not in (_WORD, "!"):
                raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            if len(requirements) == MOST_REQUIREMENTS:
                raise SelectorError(f"the label selector has more than {MOST_REQUIREMENTS} requirements")
            try:
                requirements.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            kind, literal = self._next()
            if kind == _END:
                return requirements
            if kind != ",":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self._peek()
            if kind not in (_WORD, "!"):
                raise SelectorError(f"found '{literal}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        kind, key = self._next()
        absent = kind == "!"
        if absent:
            kind, key = self._next()
        if kind != _WORD:
            raise SelectorError(f"found '{key}', expected: identifier")
        if problem := key_error(key):
            raise SelectorError(problem)
        if absent:
            return Requirement(key, "!")
        if self._peek()[0] in (_END, ","):
            return Requirement(key, "exists")
        operator = self._operator()
        values = self._values() if operator in ("in", "notin") else {self._value()}
        self._values_left -= len(values)
        if self._values_left < 0:
            raise SelectorError(f"the label selector has more than {MOST_VALUES} values")
        ordered = tuple(sorted(values))
        _check_values(key, operator, ordered)
        return Requirement(key, operator, ordered)

    def _operator(self) -> Operator:
        _, literal = self._next()
        if literal not in _BINARY:
            raise SelectorError(f"found '{literal}', expected: {_EXPECTED}")
        return cast("Operator", literal)

    def _value(self) -> str:
        if self._peek()[0] in (_END, ","):
            return ""
        kind, literal = self._next()
        if kind != _WORD:
            raise SelectorError(f"found '{literal}', expected: identifier")
        return literal

    def _values(self) -> set[str]:
        kind, literal = self._next()
        if kind != "(":
            raise SelectorError(f"found '{literal}' expected: '('")
        kind, literal = self._peek()
        if kind == ")":
            self._next()
            return {""}
        if kind not in (_WORD, ","):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        values = self._listed()
        self._next()
        return values

    def _listed(self) -> set[str]:
        """Values up to the closing parenthesis, which stays."""
        values: set[str] = set()
        while True:
            kind, literal = self._next()
            following, found = self._peek()
            if kind == _WORD:
                values.add(literal)
                if following == ")":
                    return values
                if following != ",":
                    raise SelectorError(f"found '{found}', expected: ',' or ')'")
            elif kind == ",":
                if not values or following in (",", ")"):
                    values.add("")
                if following == ")":
                    return values
            else:
                raise SelectorError(f"found '{literal}', expected: ',', or identifier")


def _check_values(key: str, operator: Operator, values: tuple[str, ...]) -> None:
    problems = []
    if operator in (">", "<"):
        problems += [
            f"values[{index}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            for index, value in enumerate(values)
            if integer(value) is None
        ]
    problems += [
        problem
        for index, value in enumerate(values)
        if (problem := value_error(f"values[{index}][{key}]", value)) is not None
    ]
    if problems:
        # field.ErrorList.ToAggregate: one error bare, several in brackets
        raise SelectorError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
