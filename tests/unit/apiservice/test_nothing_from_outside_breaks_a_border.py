"""The fuzz targets, briefly, with hypothesis; `make proof-fuzz` runs them for ten minutes with atheris."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

_WORDS = (
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"/apis/external.metrics.k8s.io/v1beta1",
    b"/namespaces/default/m",
    b" HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"\r\n",
    b"Accept: ",
    b"*/*",
    b"application/vnd.kubernetes.protobuf",
    b";q=0.5",
    b"?labelSelector=",
    b"%3D",
    b"%",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"a in (b,",
    b")",
    b"!",
    b"=",
    b",",
    b"Ki",
    b"e9",
    b".",
    b"-",
    b"1500m",
    b"\xff",
    b"\n",
    b"\x00",
    b"q",
    b"\xc3\xa9",
)
_INPUTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(st.sampled_from(_WORDS), st.binary(max_size=3)), max_size=24).map(b"".join),
)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=150)
@given(data=_INPUTS)
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_mutated_seeds(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[name]))
    at = data.draw(st.integers(0, len(seed)))
    removed = data.draw(st.integers(0, 8))
    TARGETS[name](seed[:at] + data.draw(_INPUTS) + seed[at + removed :])
