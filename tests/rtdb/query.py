"""`orderBy` and its companions: which children of a node a filtered read or stream shows."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.rtdb.database import Database, split_path
from tests.rtdb.values import key_order, value_order

_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equalTo": lambda order, bound: bool(order == bound),
    "startAt": lambda order, bound: bool(order >= bound),
    "startAfter": lambda order, bound: bool(order > bound),
    "endAt": lambda order, bound: bool(order <= bound),
    "endBefore": lambda order, bound: bool(order < bound),
}
_LIMITS = ("limitToFirst", "limitToLast")
_NO_PRIMITIVE = "Constraint index field must be a JSON primitive"
_EXTREME_KEYS = {"[MIN_NAME]": (-1, 0, ""), "[MAX_NAME]": (2, 0, "")}
"""Before and after every key; the clients send them in a bound's second part."""
PARAMETERS = ("orderBy", *_BOUNDS, *_LIMITS)


class Bound(NamedTuple):
    """`startAt=5` or `startAt=5,"key"`: a value, and a key among children of the same value."""

    value: Any
    key: str | None = None


class BadQuery(Exception):
    """A 400 with the message that the database gives."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed filter."""

    order_by: str
    """`$key`, `$value`, `$priority`, or the path of a child."""
    bounds: Mapping[str, Bound]
    first: int | None = None
    last: int | None = None

    def select(self, database: Database, path: Sequence[str]) -> Any:
        """The matching children as stored, in order; a value without children as it is."""
        self._check_index(database, path)
        node = database.get(path)
        if not isinstance(node, dict):
            return node
        order = self._order(node)
        keys = sorted(
            node, key=order if self.order_by == "$key" else lambda key: (order(key), key_order(key))
        )
        for name, bound in self.bounds.items():
            limit = key_order(str(bound.value)) if self.order_by == "$key" else value_order(bound.value)
            if bound.key is None:
                keys = [key for key in keys if _BOUNDS[name](order(key), limit)]
            else:
                place = (limit, _EXTREME_KEYS.get(bound.key) or key_order(bound.key))
                keys = [key for key in keys if _BOUNDS[name]((order(key), key_order(key)), place)]
        if self.first is not None:
            keys = keys[: self.first]
        if self.last is not None:
            keys = keys[-self.last :]
        return {key: node[key] for key in keys} or None

    def _order(self, node: Mapping[str, Any]) -> Callable[[str], Any]:
        match self.order_by:
            case "$key":
                return key_order
            case "$value":
                return lambda key: value_order(node[key])
            case "$priority":
                return lambda key: value_order(None)  # priorities are not kept
        steps = split_path(self.order_by)

        def child(key: str) -> Any:
            value = node[key]
            for step in steps:
                value = value.get(step) if isinstance(value, dict) else None
            return value_order(value)

        return child

    def _check_index(self, database: Database, path: Sequence[str]) -> None:
        if self.order_by in ("$key", "$priority"):
            return
        needed = ".value" if self.order_by == "$value" else self.order_by
        if not database.is_indexed(path, needed):
            where = "/" + "/".join(path)
            raise BadQuery(f'Index not defined, add ".indexOn": "{needed}", for path "{where}", to the rules')


def parse_query(parameters: Mapping[str, str]) -> Query | None:
    """The filter of a request, None when it has none. Raises `BadQuery`."""
    if not any(name in parameters for name in PARAMETERS):
        return None
    if parameters.get("shallow") == "true":
        raise BadQuery("Mixing 'shallow' and querying parameters is not supported")
    if "orderBy" not in parameters:
        raise BadQuery("orderBy must be defined when other query parameters are defined")
    order_by = _json(parameters["orderBy"], "orderBy must be a valid JSON encoded path")
    if not isinstance(order_by, str) or not order_by:
        raise BadQuery("orderBy must be a valid JSON encoded path")
    first, last = (_limit(parameters, name) for name in _LIMITS)
    if first is not None and last is not None:
        raise BadQuery("Only one of limitToFirst and limitToLast may be specified")
    return Query(order_by, _bounds(parameters, order_by), first, last)


def _bounds(parameters: Mapping[str, str], order_by: str) -> dict[str, Bound]:
    bounds: dict[str, Bound] = {}
    for name in _BOUNDS:
        if name in parameters:
            value, *key = _json(f"[{parameters[name]}]", _NO_PRIMITIVE) or [{}]
            if (
                isinstance(value, dict | list)
                or len(key) > 1
                or not all(isinstance(each, str) for each in key)
            ):
                raise BadQuery(_NO_PRIMITIVE)
            if order_by == "$key" and not isinstance(value, str):
                raise BadQuery("Constraint key field type must be string")
            bounds[name] = Bound(value, *key)
    return bounds


def _limit(parameters: Mapping[str, str], name: str) -> int | None:
    if name not in parameters:
        return None
    text = parameters[name]
    if not text.isdecimal() or int(text) < 1:
        raise BadQuery(f"{name} must be an integer")
    return int(text)


def _json(text: str, otherwise: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadQuery(otherwise) from None
