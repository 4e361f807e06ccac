"""What an instant query answered: an untrusted body in, samples out, or an error in words for people.

Whatever cannot be a number of jobs is refused here, so that none is served: NaN, infinity, values below
zero, histograms, range vectors, strings, and answers with warnings, by which servers say that parts are
missing.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ottoscaler.adapter.reading import FailureCode
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.apiservice.label_names import value_error

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_LARGEST = 2.0**53
"""Beyond it a float64, which is what Prometheus computes with, cannot count."""
_DETAIL_CHARACTERS = 300

_REFUSALS: dict[int, tuple[str, FailureCode]] = {
    401: ("Prometheus refuses the credentials, or wants some", "unauthorized"),
    403: ("its credentials may not query Prometheus", "forbidden"),
    404: ("there is no Prometheus API at its url", "invalid"),
    429: ("Prometheus limits queries for now", "limited"),
}


Labels = tuple[tuple[str, str], ...]
"""Kept labels of a sample: those that it has, in the order of the settings."""


class Samples(NamedTuple):
    """The values of a query at one moment."""

    values: tuple[float, ...]
    """Finite and not negative."""
    is_scalar: bool
    labels: tuple[Labels, ...] = ()
    """Of each value."""

    def jobs(self) -> int:
        """The sum of all."""
        return whole(self.values)

    def same_as(self, other: "Samples") -> bool:
        """Whether both say the same; the order of samples says nothing."""
        return self.is_scalar == other.is_scalar and self._in_order() == other._in_order()

    def _in_order(self) -> list[tuple[Labels, float]]:
        return sorted(zip(self.labels or ((),) * len(self.values), self.values, strict=True))

    def by_labels(self) -> dict[Labels, list[float]]:
        """The values that have the same kept labels."""
        groups: dict[Labels, list[float]] = {}
        for labels, value in zip(self.labels, self.values, strict=True):
            groups.setdefault(labels, []).append(value)
        return groups


def whole(values: Iterable[float]) -> int:
    """The sum, rounded up to whole jobs: half a job is work for somebody."""
    return math.ceil(math.fsum(values))


class _Sample(msgspec.Struct):
    value: tuple[float, str] | None = None
    """Absent where the sample is a histogram. The time is that of the evaluation, so nobody needs it."""


class _LabelledSample(_Sample):
    metric: dict[str, str] = {}


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _Answer(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] | None = None


def parse(status: int, body: bytes, *, what: str, keep: Sequence[str] = ()) -> Samples:
    """The samples of an answer with HTTP status `status`, with the labels that are to be kept. `what` names
    the query. Raises `SourceError`."""
    answer = _decode(body, _Answer)
    if status != 200 or answer is None or answer.status != "success" or answer.data is None:
        raise _refusal(status, body, answer, what)
    if answer.warnings:
        detail = "; ".join(answer.warnings)[:_DETAIL_CHARACTERS]
        raise SourceError(f"its {what} query was answered only in part", detail=detail, code="invalid")
    data = answer.data
    match data.result_type:
        case "vector":
            vector = _decode(data.result, list[_LabelledSample] if keep else list[_Sample])
            if vector is None:
                raise _no_prometheus(body)
            values = tuple([_value(sample, what) for sample in vector])
            labels = tuple([_kept(sample.metric, keep, what) for sample in vector]) if keep else ()
            return Samples(values, is_scalar=False, labels=labels)
        case "scalar":
            sample = _decode(data.result, tuple[float, str])
            if sample is None:
                raise _no_prometheus(body)
            return Samples(
                (_value(_Sample(value=sample), what),), is_scalar=True, labels=((),) if keep else ()
            )
        case "matrix" | "string":
            raise SourceError(
                f"its {what} query gives neither an instant vector nor a scalar", code="invalid"
            )
    raise _no_prometheus(body)


def _value(sample: _Sample, what: str) -> float:
    if sample.value is None:
        raise SourceError(f"its {what} query gives a histogram, which is no count", code="invalid")
    text = sample.value[1]
    if not _NUMBER.fullmatch(text):
        raise SourceError(
            f"its {what} query gives NaN, infinity or no number", detail=text[:40], code="invalid"
        )
    value = float(text)
    if not 0 <= value <= _LARGEST:
        raise SourceError(f"its {what} query gives a value that cannot be", detail=text[:40], code="invalid")
    return value


def _kept(labels: Mapping[str, str], keep: Sequence[str], what: str) -> Labels:
    """An empty label is none, as Prometheus has it."""
    kept = tuple((name, value) for name in keep if (value := labels.get(name)))
    for name, value in kept:
        if value_error(name, value) is not None:
            raise SourceError(
                f"its {what} query gives a value of the label {name} that Kubernetes cannot select by",
                detail=value[:_DETAIL_CHARACTERS],
                code="invalid",
            )
    return kept


def _refusal(status: int, body: bytes, answer: _Answer | None, what: str) -> SourceError:
    detail = f"HTTP {status}: {body[:_DETAIL_CHARACTERS].decode(errors='replace')}"
    if status in _REFUSALS:
        reason, code = _REFUSALS[status]
        return SourceError(reason, detail=detail, code=code)
    if answer is not None and answer.status == "error":
        if answer.error_type in ("timeout", "canceled"):
            return SourceError("Prometheus does not answer in time", detail=detail, code="unreachable")
        if answer.error_type == "bad_data":
            return SourceError(f"its {what} query is no PromQL", detail=detail, code="invalid")
        if answer.error_type == "execution":
            return SourceError(f"its {what} query cannot be evaluated", detail=detail, code="invalid")
    if status >= 500:
        return SourceError("Prometheus failed", detail=detail, code="unreachable")
    return _no_prometheus(body)


def _no_prometheus(body: bytes) -> SourceError:
    detail = body[:_DETAIL_CHARACTERS].decode(errors="replace")
    return SourceError("what answers is no Prometheus, or garbles its answers", detail=detail, code="invalid")


def _decode(body: bytes | msgspec.Raw, kind: Any) -> Any:
    """None for anything else than a `kind`; nesting without end is among it."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
