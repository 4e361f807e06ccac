"""The downward API: fields of a pod and resources of its containers as text."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.cluster.kubelet.errors import ConfigurationProblem
from tests.cluster.kubelet.podobject import PodObject
from tests.cluster.kubelet.quantity import divide

Json = dict[str, Any]
_MAP_FIELD = re.compile(r"metadata\.(labels|annotations)(?:\['(.+)'\])?")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")


def field(pod: PodObject, path: str, *, address: str, node_ip: str) -> str:
    """The text of `fieldRef.fieldPath`. Raises `ConfigurationProblem` for a path that is none.

    `address` and `node_ip` are what the API server may not have been told yet.
    """
    if match := _MAP_FIELD.fullmatch(path):
        entries: Mapping[str, str] = pod.metadata.get(match[1]) or {}
        if match[2]:
            return entries.get(match[2], "")
        return "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(entries.items()))
    known = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": str(pod.spec.get("nodeName", "")),
        "spec.serviceAccountName": pod.service_account,
        "status.podIP": address,
        "status.podIPs": address,
        "status.hostIP": node_ip,
        "status.hostIPs": node_ip,
    }
    if path not in known:
        raise ConfigurationProblem(f"unsupported fieldPath: {path}")
    return known[path]


def resource(pod: PodObject, reference: Json, container: Json, *, capacity: Mapping[str, str]) -> str:
    """The text of a `resourceFieldRef`; the node's own size where the container sets none."""
    if name := reference.get("containerName"):
        named = [c for c in (*pod.containers, *pod.init_containers) if c["name"] == name]
        if not named:
            raise ConfigurationProblem(f"container {name} not found")
        container = named[0]
    kind, _, what = reference["resource"].partition(".")
    amounts: Json = container.get("resources") or {}
    amount = (amounts.get(kind) or {}).get(what) or (capacity.get(what, "0") if kind == "limits" else "0")
    return str(divide(str(amount), str(reference.get("divisor") or "1")))


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known, `$$` by `$`: `third_party/forked/golang/expansion`."""

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)
