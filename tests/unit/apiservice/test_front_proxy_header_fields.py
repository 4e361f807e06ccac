"""The caller in a front proxy's header fields, as k8s.io/apiserver reads them.

Contract: external-metrics-api.md, "Who may ask", item 1.
"""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from ottoscaler.apiservice.identity import User
from ottoscaler.apiservice.request_header import ProxyFieldReader, extra_key, with_general_group
from ottoscaler.apiservice.trust import RequestHeaders

NAMES = RequestHeaders(
    username=("X-Remote-User", "X-Forwarded-User"),
    uid=("X-Remote-Uid",),
    group=("X-Remote-Group", "X-Other-Group"),
    extra_prefixes=("X-Remote-Extra-", "X-More-"),
)


def user(*fields: tuple[str, str], names: RequestHeaders = NAMES) -> User | None:
    reader = ProxyFieldReader(names)
    found = reader.fields_of(CIMultiDictProxy(CIMultiDict(fields)))
    return None if found is None else reader.user_of(found)


@pytest.mark.parametrize("fields", [(), (("X-Remote-Group", "a"),), (("X-Remote-User", ""),)])
def test_without_a_user_name_nobody_is_named(fields: tuple[tuple[str, str], ...]) -> None:
    assert user(*fields) is None


def test_user_name_headers_count_in_their_order_and_empty_ones_do_not() -> None:
    assert user(("X-Forwarded-User", "second"), ("X-Remote-User", "first")) == User(
        name="first", groups=("system:authenticated",)
    )
    found = user(("X-Forwarded-User", "second"), ("X-Remote-User", ""))
    assert found is not None
    assert found.name == "second"


def test_groups_keep_the_order_of_headers_then_of_fields_and_empty_ones_go() -> None:
    found = user(
        ("X-Other-Group", "z"),
        ("X-Remote-Group", "b"),
        ("x-remote-group", ""),
        ("X-REMOTE-GROUP", "a"),
        ("X-Remote-User", "jane"),
    )
    assert found is not None
    assert found.groups == ("b", "a", "z", "system:authenticated")


def test_extra_keys_are_lower_cased_unescaped_and_gather_their_values() -> None:
    found = user(
        ("X-Remote-User", "jane"),
        ("X-Remote-Extra-Example.com%2fScopes", "one"),
        ("x-remote-extra-example.com%2Fscopes", "two"),
        ("X-More-Example.Com%2fscopes", "three"),
        ("X-Remote-Extra-", "nameless"),
        ("X-Remote-Extra-Acme%", "malformed"),
    )
    assert found is not None
    assert dict(found.extra) == {
        "example.com/scopes": ("one", "two", "three"),
        "": ("nameless",),
        "acme%": ("malformed",),
    }


@pytest.mark.parametrize(
    ("name", "groups", "expected"),
    [
        ("jane", (), ("system:authenticated",)),
        ("jane", ("a", "system:authenticated"), ("a", "system:authenticated")),
        ("jane", ("system:unauthenticated",), ("system:unauthenticated",)),
        ("system:anonymous", ("a",), ("a",)),
    ],
)
def test_the_general_group_is_added_as_kubernetes_adds_it(
    name: str, groups: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert with_general_group(User(name=name, groups=groups)).groups == expected


def test_the_fields_of_two_callers_never_look_the_same() -> None:
    reader = ProxyFieldReader(NAMES)

    def fields(*given: tuple[str, str]) -> object:
        return reader.fields_of(CIMultiDictProxy(CIMultiDict(given)))

    jane = ("X-Remote-User", "jane")
    different = [
        fields(jane),
        fields(("X-Remote-User", "june")),
        fields(jane, ("X-Remote-Uid", "1")),
        fields(jane, ("X-Remote-Group", "a")),
        fields(jane, ("X-Remote-Group", "a"), ("X-Remote-Group", "b")),
        fields(jane, ("X-Remote-Group", "b"), ("X-Remote-Group", "a")),
        fields(jane, ("X-Remote-Extra-A", "1")),
        fields(jane, ("X-Remote-Extra-B", "1")),
        fields(jane, ("X-Remote-Extra-A", "2")),
        fields(jane, ("X-Remote-Extra-A", "1"), ("X-Remote-Extra-A", "2")),
    ]
    assert len(set(different)) == len(different)
    assert fields(jane, ("User-Agent", "x"), ("Audit-Id", "1")) == fields(jane, ("Audit-Id", "2"))


TOKEN = st.text("abcXYZ019-._~%/", min_size=0, max_size=12)
VALUE = st.text(max_size=12)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["X-Remote-User", "x-forwarded-user", "X-Remote-Uid", "X-Remote-Group", "X-OTHER-GROUP", "Accept"]
        )
        | TOKEN.map("X-Remote-Extra-".__add__)
        | TOKEN.map("x-more-".__add__),
        VALUE,
    ),
    max_size=12,
)


def expected_user(fields: list[tuple[str, str]]) -> User | None:
    """The Go code of requestheader.go, written down field by field."""

    def values(name: str) -> list[str]:
        return [value for key, value in fields if key.lower() == name.lower()]

    username = next((values(name)[0] for name in NAMES.username if values(name) and values(name)[0]), "")
    if not username:
        return None
    groups = [value for name in NAMES.group for value in values(name) if value]
    extra: dict[str, list[str]] = {}
    for prefix in NAMES.extra_prefixes:
        names = dict.fromkeys(key.lower() for key, _ in fields if key.lower().startswith(prefix.lower()))
        for name in names:
            extra.setdefault(extra_key(name[len(prefix) :]), []).extend(values(name))
    uids = values("X-Remote-Uid")
    return with_general_group(
        User(
            name=username,
            groups=tuple(groups),
            uid=uids[0] if uids else "",
            extra=tuple((key, tuple(extra[key])) for key in sorted(extra)),
        )
    )


@given(st.lists(FIELDS, min_size=1, max_size=4))
def test_any_fields_are_read_as_kubernetes_reads_them(requests: list[list[tuple[str, str]]]) -> None:
    reader = ProxyFieldReader(NAMES)
    for request in requests:  # one reader for all: what it remembers of one request must not colour the next
        found = reader.fields_of(CIMultiDictProxy(CIMultiDict(request)))
        assert (None if found is None else reader.user_of(found)) == expected_user(request)


@given(st.text(max_size=30))
def test_every_key_survives_the_escaping_that_kubernetes_applies(key: str) -> None:
    """client-go's headerKeyEscape percent-encodes all but token characters; case is lost on the way."""
    escaped = quote(key.lower(), safe="!#$&'*+-.^_`|~")
    assert extra_key(escaped) == key.lower()


@given(st.text(max_size=30))
def test_no_key_is_too_malformed_to_be_read(text: str) -> None:
    assert isinstance(extra_key(text), str)


def test_callers_cannot_fill_the_memory_with_header_names() -> None:
    reader = ProxyFieldReader(NAMES)
    for number in range(5000):
        reader.fields_of(CIMultiDictProxy(CIMultiDict([("X-Remote-User", "a"), (f"X-{number}", "")])))
    assert len(reader._is_extra) <= 512
