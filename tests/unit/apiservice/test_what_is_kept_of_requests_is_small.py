"""Whoever may ask chooses the words: what outlives their request is small, however large that was.

What an HPA asks is kept, or each of its requests would be read anew.
"""

import pytest
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ottoscaler.apiservice.identity import Connection
from ottoscaler.apiservice.request_info import NO_QUERY
from tests.fuzz.serving import Service

_GROUP_VERSION = "/apis/external.metrics.k8s.io/v1beta1"
_METRIC = f"{_GROUP_VERSION}/namespaces/default/m"
_ORDINARY = f"{_METRIC}?labelSelector=queue%3Da"


class Asked:
    """A server that allows everything, and what it remembers."""

    def __init__(self) -> None:
        self._handler = Service()._handler
        self.routes = self._handler._routes

    def __call__(self, target: str, method: str = "GET") -> int:
        no_headers = CIMultiDictProxy(CIMultiDict[str]())
        message = RawRequestMessage(
            method, target, HttpVersion11, no_headers, (), False, None, False, False, URL("/")
        )
        response = self._handler.answer(Connection(), message)
        assert response is not None
        return response.status


def test_what_an_hpa_asks_is_remembered_without_its_query() -> None:
    asked = Asked()
    longest = (
        f"{_GROUP_VERSION}/namespaces/{'n' * 63}/{'m' * 63}?labelSelector=queue%3D{'q' * 63}&timeout=10s"
    )
    assert asked(_ORDINARY) == 200
    assert asked(longest) == 404
    assert list(asked.routes) == [_ORDINARY, longest]
    assert all(route.target.query is NO_QUERY for route in asked.routes.values())
    remembered = dict(asked.routes)
    assert asked(_ORDINARY) == 200
    assert dict(asked.routes) == remembered


def test_a_remembered_request_is_answered_as_the_first_was() -> None:
    asked = Asked()
    target = f"{_ORDINARY}&pretty=1&pretty=0&x=y"
    assert [asked(target), asked(target)] == [200, 200]
    assert asked.routes[target].target.query == {"pretty": ("1",)}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (_GROUP_VERSION, 200),
        (f"{_GROUP_VERSION}?x=1", 200),
        ("/version?x=1", 200),
        ("/nope", 404),
        (f"{_METRIC}?watch=1", 405),
        (f"{_METRIC}?x=%zz", 400),
        (f"{_METRIC}?labelSelector=a&labelSelector=b", 400),
        (f"{_METRIC}?labelSelector=%3D", 400),
        (f"{_METRIC}?x={'y' * 512}", 200),
        (f"{_METRIC}?labelSelector={','.join(f'!k{n}' for n in range(17))}", 200),
        (f"{_METRIC}?labelSelector=queue+in+(a,{','.join(f'v{n}' for n in range(16))})", 200),
    ],
)
def test_nothing_else_is_remembered(target: str, status: int) -> None:
    asked = Asked()
    assert asked(target) == status
    assert asked(target) == status
    assert not asked.routes


def test_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ottoscaler.apiservice.handler._ROUTES_KEPT", 3)
    asked = Asked()
    targets = [f"{_ORDINARY}&x={n}" for n in range(5)]
    for target in targets:
        asked(target)
    assert list(asked.routes) == targets[2:]
