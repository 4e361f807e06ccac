"""The caller that a front proxy passes on in header fields.

Pure reading of header fields, after k8s.io/apiserver/pkg/authentication/request/headerrequest: whether
they may be believed is decided elsewhere, by the connection's certificate. The read is split in two,
because kube-aggregator repeats the same few callers for ever: `fields_of` picks the relevant raw values,
cheaply, and they key a cache of what `user_of` makes of them.
"""

from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ottoscaler.apiservice.identity import Headers, User, extra_of
from ottoscaler.apiservice.trust import RequestHeaders

AUTHENTICATED = "system:authenticated"
_NAMES_KEPT = 512
_GENERAL_GROUPS = frozenset({AUTHENTICATED, "system:unauthenticated"})


class ProxyFields(NamedTuple):
    """The raw values of one request: hashable, and equal only when they name the same caller."""

    username: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, str], ...]
    """Field names as they were sent, with one value each."""


class ProxyFieldReader:
    """Picks a front proxy's fields from requests."""

    __slots__ = ("_groups", "_is_extra", "_prefixes", "_uid", "_username")

    def __init__(self, names: RequestHeaders) -> None:
        self._username = names.username
        self._uid = names.uid
        self._groups = tuple(dict.fromkeys(name.lower() for name in names.group))
        self._prefixes = tuple(prefix.lower() for prefix in names.extra_prefixes)
        self._is_extra: dict[str, bool] = {}
        """By field name as sent. The same dozen names come for ever, and a look-up costs a third of a test."""

    def fields_of(self, headers: Headers) -> ProxyFields | None:
        """The caller's raw fields; None when no field names a user."""
        username = _first(headers, self._username)
        if not username:
            return None
        groups: list[str] = []
        for name in self._groups:
            groups += headers.getall(name, ())
        return ProxyFields(username, _first(headers, self._uid), tuple(groups), self._extra(headers))

    def _extra(self, headers: Headers) -> tuple[tuple[str, str], ...]:
        is_extra = self._is_extra
        try:
            names = [name for name in headers if is_extra[name]]
        except KeyError:
            if len(is_extra) + len(headers) > _NAMES_KEPT:
                is_extra.clear()  # callers choose these names, so they must not fill the memory
            for name in headers:
                is_extra[name] = name.lower().startswith(self._prefixes)
            names = [name for name in headers if is_extra[name]]
        # Iteration gives each name once, in the case of its first field; `getall` gives all of its values.
        return tuple([(name, value) for name in names for value in headers.getall(name)]) if names else ()

    def user_of(self, fields: ProxyFields) -> User:
        """The user whom `fields` name."""
        extra: dict[str, list[str]] = {}
        for prefix in self._prefixes:
            for name, value in fields.extra:
                if name.lower().startswith(prefix):
                    extra.setdefault(extra_key(name[len(prefix) :]), []).append(value)
        return with_general_group(
            User(
                name=fields.username,
                uid=fields.uid,
                groups=tuple([group for group in fields.groups if group]),
                extra=extra_of(extra),
            )
        )


def extra_key(escaped: str) -> str:
    """The key that a header field's suffix stands for: lower case, then percent-decoded as UTF-8.

    What is no valid escape stays as it is ("always record extra strings, even if malformed").
    """
    lowered = escaped.lower()
    if "%" not in lowered:
        return lowered
    if any(len(part) < 2 or not _is_hex(part[:2]) for part in lowered.split("%")[1:]):
        return lowered
    return unquote_to_bytes(lowered).decode(errors="replace")


def with_general_group(user: User) -> User:
    """`user` in `system:authenticated`, unless it is anonymous or in one of the two general groups.

    k8s.io/apiserver/pkg/authentication/group/authenticated_group_adder.go: front-proxy users included.
    """
    if user.name == "system:anonymous" or not _GENERAL_GROUPS.isdisjoint(user.groups):
        return user
    return User(name=user.name, uid=user.uid, groups=(*user.groups, AUTHENTICATED), extra=user.extra)


def _first(headers: Headers, names: tuple[str, ...]) -> str:
    for name in names:
        if value := headers.get(name):
            return value
    return ""


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdef" for character in text)
