"""What a person wants to see first when a test on a cluster fails."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.kubectl import Kubectl

_LOG_LINES = 12
_LINE_LENGTH = 240


def of_namespaces(kubectl: Kubectl, namespaces: Iterable[str]) -> str:
    """Objects, events and logs of the namespaces, and the aggregated APIs that do not answer."""
    parts = [_titled("aggregated APIs", kubectl("get", "apiservices", "--no-headers", check=False), "False")]
    for namespace in namespaces:
        within = ("--namespace", namespace)
        objects = kubectl("get", "pods,deployments,services,hpa", *within, "-o", "wide", check=False)
        events = kubectl("get", "events", *within, "--sort-by=.lastTimestamp", check=False)
        parts += [_titled(f"objects in {namespace}", objects), _titled(f"events in {namespace}", events)]
        for pod in kubectl("get", "pods", *within, "-o", "name", check=False).split():
            logs = kubectl("logs", pod, *within, "--all-containers", "--prefix", "--tail=40", check=False)
            parts.append(_titled(f"{pod} in {namespace}", logs))
    return "".join(parts)


def of_services(kubectl: Kubectl) -> str:
    """Whether the pods' way to the API server is there: its endpoint, and what kube-proxy made of it."""
    slices = kubectl("get", "endpointslices,services", "--namespace", "default", "-o", "wide", check=False)
    rules = [
        subprocess.run(
            ["nft", "list", "map", "ip", "kube-proxy", name], capture_output=True, text=True, check=False
        ).stdout
        for name in ("service-ips", "no-endpoint-services")
    ]
    return _titled("the API server as pods see it", slices) + _titled("rules", "".join(rules), "default/")


def of_components(logs: Path) -> str:
    """The last lines of each component's log."""
    return "".join(
        _titled(log.stem, "\n".join(_last_lines(log)))
        for log in sorted(logs.glob("*.log"))
        if log.stat().st_size
    )


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_LINES * 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return [line[:_LINE_LENGTH] for line in lines[-_LOG_LINES:]]


def _titled(title: str, text: str, only: str = "") -> str:
    """Nothing when there is nothing to show; `only` picks the lines that have that word."""
    lines = [line for line in text.strip().splitlines() if only in line]
    return f"── {title}\n" + "\n".join(lines) + "\n" if lines else ""
