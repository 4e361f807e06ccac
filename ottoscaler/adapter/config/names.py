"""What can be the name of a queue, a metric, a namespace, an address; refused here in words for people."""

import re
from collections.abc import Mapping, Sequence

from ottoscaler.apiservice.label_names import key_error, value_error

RESERVED_LABELS = frozenset({"queue", "kind", "fallback"})
"""Set by the adapter on what it serves."""

NAME_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
METRIC_PATTERN = r"^[a-z][a-z0-9_]*$"

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_name(name: str) -> None:
    """Raises `ValueError` unless people can select by `name`."""
    if not name or value_error("queue", name) is not None:
        raise ValueError(
            f"name {_short(name)} is no Kubernetes label value: "
            "use up to 63 letters, digits, - _ and ., a letter or digit first and last"
        )


def check_metric(name: str) -> None:
    """Raises `ValueError` unless a metric can have that `name`."""
    if not _METRIC.fullmatch(name):
        raise ValueError(f"name {_short(name)} is no metric: use up to 63 of a-z, 0-9 and _, a letter first")


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises `ValueError` when Kubernetes, or the adapter itself, has no room for one of them."""
    for key, value in labels.items():
        if key in RESERVED_LABELS:
            raise ValueError(f"labels.{key} is set by the adapter: choose another key")
        if key_error(key) is not None:
            raise ValueError(f"labels: {_short(key)} is no Kubernetes label key")
        if value_error(key, value) is not None:
            raise ValueError(f"labels.{key}: {_short(value)} is no Kubernetes label value")


def check_namespaces(namespaces: Sequence[str] | None) -> None:
    """Raises `ValueError` when the list cannot be meant."""
    if namespaces is None:
        return
    if not namespaces:
        raise ValueError("namespaces is empty, so nobody could see it; leave it out to show it to all")
    for name in namespaces:
        if not _NAMESPACE.fullmatch(name):
            raise ValueError(f"namespaces: {_short(name)} is no name of a namespace")


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
