"""Whatever a server answers is samples or an error of ours, and nothing that cannot be counted passes."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.prometheus_answer import Samples, parse
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings
from ottoscaler.runtime.values import decode_value


def success(kind: str, result: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


def vector(*values: str) -> bytes:
    return success("vector", [{"metric": {"a": "b"}, "value": [1.5, value]} for value in values])


def refusal(body: bytes, status: int = 200) -> SourceError:
    with pytest.raises(SourceError) as raised:
        parse(status, body, what="waiting")
    return raised.value


def test_samples_of_vectors_and_scalars() -> None:
    assert parse(200, vector(), what="waiting") == Samples((), is_scalar=False)
    assert parse(200, vector("1", "2.5e+00"), what="waiting") == Samples((1.0, 2.5), is_scalar=False)
    assert parse(200, success("scalar", [1, "4"]), what="waiting") == Samples((4.0,), is_scalar=True)


@pytest.mark.parametrize(("values", "count"), [((), 0), ((0.1,), 1), ((0.5, 0.5), 1), ((2.0, 0.01), 3)])
def test_parts_of_jobs_are_whole_jobs(values: tuple[float, ...], count: int) -> None:
    assert Samples(values, is_scalar=False).jobs() == count


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "1_0", " 1", "", "1e400", "1e17", "0x1"])
def test_what_cannot_be_a_count_is_refused(value: str) -> None:
    assert refusal(vector("1", value)).code == "invalid"


def test_a_partial_answer_is_refused() -> None:
    partly = success("vector", [{"value": [1, "3"]}], warnings=["store 10.0.0.7 is away"])
    assert str(refusal(partly)) == "its waiting query was answered only in part"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "invalid"),
        (429, "limited"),
        (503, "unreachable"),
        (302, "invalid"),
    ],
)
def test_a_status_says_what_is_wrong(status: int, code: str) -> None:
    assert refusal(b"<html>http://secret.example</html>", status).code == code
    assert "secret" not in str(refusal(b"http://secret.example", status))


def test_a_histogram_is_no_count() -> None:
    assert "histogram" in str(refusal(success("vector", [{"metric": {}, "histogram": [1, {"count": "5"}]}])))


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["value", "metric", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def judge(status: int, body: bytes) -> None:
    try:
        samples = parse(status, body, what="waiting")
    except SourceError:
        return
    assert all(math.isfinite(value) and value >= 0 for value in samples.values)
    assert samples.jobs() >= 0


@given(st.sampled_from([200, 400, 503]), st.binary())
def test_any_bytes_are_judged(status: int, body: bytes) -> None:
    judge(status, body)


@given(st.sampled_from(["vector", "scalar", "matrix", "other"]), _json, _json)
def test_any_json_is_judged(kind: str, result: Any, warnings: Any) -> None:
    judge(200, success(kind, result))
    judge(200, success(kind, result, warnings=warnings))


@given(st.lists(st.text(max_size=6) | st.floats().map(str)))
def test_any_value_is_judged(values: list[str]) -> None:
    judge(200, vector(*values))


def test_nesting_without_end_is_judged() -> None:
    refusal(b'{"status":"success","data":{"resultType":"vector","result":' + b"[" * 200_000)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"url": "prometheus:9090"}, "no URL"),
        ({"url": "http://user:word@prometheus"}, "basicAuth"),
        ({"url": "http://prometheus?x=1"}, "parameters"),
        ({"url": "http://prometheus", "tls": {}}, "http://"),
        ({"url": "https://prometheus", "tls": {"certFile": "/a"}}, "keyFile"),
        (
            {
                "url": "http://p",
                "bearerTokenFile": "/a",
                "basicAuth": {"username": "u", "passwordFile": "/b"},
            },
            "exclude",
        ),
        ({"url": "http://p", "query": "x"}, "query"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert({"waiting": "jobs"} | settings, PrometheusSettings, dec_hook=decode_value)
