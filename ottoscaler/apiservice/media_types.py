"""Which representation a caller gets: the `Accept` header against what is on offer.

RFC 9110 section 12.5.1 with the parameters that Kubernetes gives a meaning to
(k8s.io/apiserver/pkg/endpoints/handlers/negotiation): `as`, `g` and `v` ask for another kind of object,
`pretty=1` for white space, `sv` for another version of the server. A clause that asks for what is not
there is passed over. Where apiserver strays from the RFC (`q=0`, the order of clauses with unequal `q`),
the RFC is followed.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"

OFFERED = (JSON, YAML, PROTOBUF)
"""What every endpoint that answers with objects can write; the first is the default."""

_LONGEST = 4096
"""Characters of a header that are looked at; what follows is ignored."""


class Transform(NamedTuple):
    """Another kind of object that a clause asks for."""

    group: str
    version: str
    kind: str


class Choice(NamedTuple):
    """What was negotiated."""

    media_type: str
    pretty: bool = False
    transform: Transform | None = None

    @property
    def content_type(self) -> str:
        """The value of `Content-Type`, with the parameters by which the aggregator tells the kinds apart."""
        if self.transform is None:
            return self.media_type
        return (
            f"{self.media_type};g={self.transform.group};v={self.transform.version};as={self.transform.kind}"
        )


class _Clause(NamedTuple):
    type: str
    subtype: str
    quality: float
    pretty: bool
    transform: Transform | None

    def specificity(self, media_type: str) -> int:
        """2 when it names the type, 1 for `type/*`, 0 for `*/*`, -1 when it does not match."""
        wanted, _, subtype = media_type.partition("/")
        if self.type == "*":
            return 0 if self.subtype == "*" else -1
        if self.type != wanted:
            return -1
        return 2 if self.subtype == subtype else 1 if self.subtype == "*" else -1


def negotiate(
    accept: str, offered: tuple[str, ...] = OFFERED, transforms: frozenset[Transform] = frozenset()
) -> Choice | None:
    """The best of `offered` for an `Accept` header, None when nothing will do. Empty: the first.

    With `transforms`, only clauses that ask for one of them count; without, only those that ask for none.
    Quality decides, then how exactly the clause names the type, then the order of clauses, then ours.
    """
    return _negotiate(accept[:_LONGEST], offered, transforms)


@lru_cache(maxsize=256)
def _negotiate(accept: str, offered: tuple[str, ...], transforms: frozenset[Transform]) -> Choice | None:
    if not accept.strip():
        return None if transforms else Choice(offered[0])
    clauses = [clause for clause in _parse(accept) if _allowed(clause, transforms)]
    best: tuple[float, int, int] | None = None
    choice: Choice | None = None
    for media_type in offered:
        if (match := _most_specific(clauses, media_type)) is None:
            continue
        position, clause = match
        rank = (clause.quality, clause.specificity(media_type), -position)
        if clause.quality > 0 and (best is None or rank > best):
            best, choice = rank, Choice(media_type, clause.pretty, clause.transform)
    return choice


def _allowed(clause: _Clause, transforms: frozenset[Transform]) -> bool:
    return clause.transform in transforms if transforms else clause.transform is None


def _most_specific(clauses: Sequence[_Clause], media_type: str) -> tuple[int, _Clause] | None:
    best: tuple[int, _Clause] | None = None
    for position, clause in enumerate(clauses):
        specificity = clause.specificity(media_type)
        if specificity >= 0 and (best is None or specificity > best[1].specificity(media_type)):
            best = position, clause
    return best


def _parse(accept: str) -> Iterator[_Clause]:
    for part in accept.split(","):
        media_range, *parameters = part.split(";")
        kind, slash, subtype = media_range.strip().lower().partition("/")
        if kind == "*" and not slash:
            subtype = "*"
        if not kind or not subtype or "/" in subtype:
            continue
        known = {}
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if value.strip() and "=" not in value:
                known[name.strip().lower()] = value.strip()
        if known.get("sv"):
            continue
        yield _Clause(
            kind.strip(),
            subtype.strip(),
            _quality(known.get("q")),
            known.get("pretty") == "1",
            _transform(known),
        )


def _quality(text: str | None) -> float:
    """Between 0 and 1; what is no number means nothing and leaves 1."""
    if text is None:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return min(1.0, max(0.0, value)) if value == value else 1.0  # NaN is no number


def _transform(parameters: dict[str, str]) -> Transform | None:
    if not parameters.keys() & {"as", "g", "v"}:
        return None
    return Transform(parameters.get("g", ""), parameters.get("v", ""), parameters.get("as", ""))
