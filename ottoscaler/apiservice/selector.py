"""Label selectors: which of a metric's values a caller wants summed.

A `Selector` is parsed once (ottoscaler/apiservice/selector_grammar.py has the grammar) and is hashable,
so a provider can remember what it selects.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

Operator = Literal["=", "==", "!=", "in", "notin", ">", "<", "exists", "!"]

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


class Requirement(msgspec.Struct, frozen=True):
    """One clause. `values` are sorted and distinct: none for `exists` and `!`, one unless `in`/`notin`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Kubernetes' meaning: an absent label satisfies `!=`, `notin` and `!`, and nothing else."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        have, bound = integer(value), integer(self.values[0])
        if have is None or bound is None:
            return False
        return have > bound if self.operator == ">" else have < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


class Selector(msgspec.Struct, frozen=True, cache_hash=True):
    """Clauses that must all hold, ordered by key; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a value with these labels is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def size(self) -> int:
        """How many clauses and values it has."""
        return sum(1 + len(requirement.values) for requirement in self.requirements)

    def exact(self, key: str) -> str | None:
        """The only value that the first clause on `key` lets through, where it names one; else None."""
        for requirement in self.requirements:
            if requirement.key == key:
                named = requirement.operator in ("=", "==", "in") and len(requirement.values) == 1
                return requirement.values[0] if named else None
        return None

    def __str__(self) -> str:
        """The canonical text, as apimachinery's `Selector.String`."""
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()


def integer(text: str) -> int | None:
    """`text` as Go's ParseInt reads it into 64 bits, or None."""
    if len(text) > 64 or not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 63 else None
